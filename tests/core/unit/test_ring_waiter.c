/* The threads that sleep for rings, with entries that are no ring's. */
#include "core/ring/ring_waiter.h"

#include <criterion/criterion.h>
#include <semaphore.h>
#include <time.h>

#define WAIT_SECONDS 20

/* A rest lasts some microseconds here, so that each point of a round is where one ends, many times over. */
#define N_ASKED 20000

struct entry {
    struct ring_wait wait;
    sem_t looked;
    sem_t left;
};

static struct entry *entry_of(struct ring_wait *wait)
{
    return (struct entry *)((char *)wait - offsetof(struct entry, wait));
}

static bool look_in_vain(struct ring_wait *wait, struct ring_memory **ret_memory)
{
    (void)ret_memory;
    sem_post(&entry_of(wait)->looked);
    return false;
}

static void judge(struct ring_wait *wait, struct ring_memory *memory)
{
    (void)wait;
    (void)memory;
}

static void leave(struct ring_wait *wait)
{
    sem_post(&entry_of(wait)->left);
}

static void entry_init(struct entry *entry)
{
    *entry = (struct entry){ .wait = { .look = look_in_vain, .judge = judge, .left = leave } };
    sem_init(&entry->looked, 0, 0);
    sem_init(&entry->left, 0, 0);
}

static void await(sem_t *sem, const char *what)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    cr_assert_eq(sem_timedwait(sem, &until), 0, "%s: never", what);
}

Test(ring_waiter, who_asks_of_one_that_rests_is_heard)
{
    struct ring_waiters waiters;
    struct entry entries[2];

    ring_waiters_init(&waiters, 0);
    for (int i = 0; i < 2; i++)
        entry_init(&entries[i]);
    cr_assert_eq(ring_waiters_add(&waiters, 1, &entries[0].wait, &entries[1].wait), 0);
    for (int i = 0; i < N_ASKED; i++) {
        ring_wait_ask(&entries[0].wait);
        await(&entries[0].looked, "looked at");
    }
    for (int i = 0; i < 2; i++) {
        ring_wait_leave(&entries[i].wait);
        await(&entries[i].left, "left");
    }
    ring_waiters_deinit(&waiters);
}
