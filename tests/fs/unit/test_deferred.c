#include "fs/kernel/deferred.h"

#include <criterion/criterion.h>
#include <time.h>

#define N_OPS 4096

struct counted {
    struct mbox_op op;
    pthread_t by;
    unsigned int order;
    unsigned int n_more; /* that it makes ready */
};

static struct deferred deferred;
static struct counted counted[N_OPS];
static atomic_uint n_completed;
static uint64_t busy_ns;

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct counted *self = (struct counted *)op;
    uint64_t began = now_ns();

    for (unsigned int i = 1; i <= self->n_more; i++)
        TAILQ_INSERT_TAIL(ready, &self[i].op, link);
    self->by = pthread_self();
    while (now_ns() - began < busy_ns)
        ;
    self->order = ++n_completed;
}

/* Makes ready the first @n, of which the last makes ready the rest of @n_all. */
static void make_ready(struct mbox_ready *ready, unsigned int n, unsigned int n_all)
{
    for (unsigned int i = 0; i < n_all; i++)
        counted[i] = (struct counted){ .op = { .complete = complete } };
    counted[n - 1].n_more = n_all - n;
    for (unsigned int i = 0; i < n; i++)
        TAILQ_INSERT_TAIL(ready, &counted[i].op, link);
    deferred_init(&deferred);
}

static void expect_completed_in_order(unsigned int n)
{
    cr_assert_eq(n_completed, n);
    for (unsigned int i = 0; i < n; i++)
        cr_assert_eq(counted[i].order, i + 1);
    deferred_deinit(&deferred);
}

Test(deferred, a_few_that_are_ready_are_completed_at_once)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    make_ready(&ready, 2, 10);
    cr_assert_eq(deferred_start(&deferred), 0);
    deferred_run_ready(&deferred, &ready);
    cr_assert(TAILQ_EMPTY(&ready));
    for (unsigned int i = 0; i < 10; i++)
        cr_assert(pthread_equal(counted[i].by, pthread_self()));
    deferred_stop(&deferred);
    expect_completed_in_order(10);
}

Test(deferred, what_takes_long_is_left_to_its_thread)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    /* More than a thread may, in any case. */
    busy_ns = 10000;
    make_ready(&ready, 40, N_OPS);
    cr_assert_eq(deferred_start(&deferred), 0);
    deferred_run_ready(&deferred, &ready);
    cr_assert(TAILQ_EMPTY(&ready));
    deferred_stop(&deferred);
    cr_assert(pthread_equal(counted[0].by, pthread_self()));
    cr_assert_not(pthread_equal(counted[N_OPS - 1].by, pthread_self()));
    expect_completed_in_order(N_OPS);
}

Test(deferred, without_its_thread_all_is_completed_at_once)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    busy_ns = 1000;
    make_ready(&ready, N_OPS, N_OPS);
    deferred_run_ready(&deferred, &ready);
    cr_assert(TAILQ_EMPTY(&ready));
    expect_completed_in_order(N_OPS);
}
