/* The threads that sleep on rings' wait words.
 *
 * A thread goes round its entries: it calls `look` of those that are due, announces a sleeper (G of ring_abi.h)
 * where somebody waits, and then sleeps on all words and on `asked`, a word of its own, by which others wake it.
 * A thread owns its entries until it has called `left`. A waiter's lock guards its list and what others ask of
 * it; the lock of struct ring_waiters guards the list of threads. */
#include "ring_waiter.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/lib/ring_os.h"

/* futex_waitv(2), for headers that are older than it. */
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#define WAITV_32_BITS 2U
#define WAITV_MAX 128

/* Who was looked at in vain so often in a row rests, so that it takes no more of the thread's time than others do;
 * but not for longer than this. */
#define VAIN_MAX 16
#define REST_NS_MAX 50000000

/* One sleeps at least for all of these but one. */
#define SLEEP_STEPS 4

struct waitv {
    uint64_t value;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
};

struct ring_waiter {
    pthread_mutex_t lock;
    TAILQ_HEAD(, ring_wait) waits; /* under lock, as are: */
    unsigned int n_waits;
    bool stopping;
    _Atomic uint32_t asked; /* changes when one is asked or leaves */
    bool is_single;         /* no futex_waitv */
    uid_t uid;              /* under the list's lock: whose rings it is for */
    pid_t tid;              /* under lock; 0: not running yet */
    /* Written under lock, and read by the kernel when the thread ends. */
    struct robust_list_head owned;
    pthread_t thread;
    TAILQ_ENTRY(ring_waiter) link;
};

static _Atomic uint32_t *word_of(const struct ring_wait *wait)
{
    return ring_u32(wait->memory->map, wait->at);
}

/* Sets whose word the thread is going to sleep on. Takes @memory over. */
static void ring_waiter_set_memory(struct ring_wait *wait, struct ring_memory *memory)
{
    struct ring_memory *old = wait->memory;

    pthread_mutex_lock(&wait->waiter->lock);
    wait->memory = memory;
    pthread_mutex_unlock(&wait->waiter->lock);
    ring_memory_unref(old);
}

/* Whether it is time to look: it was asked, its word has changed, or it has slept long enough. */
static bool is_due(struct ring_waiter *waiter, struct ring_wait *wait, uint64_t now)
{
    bool asked;

    if (now < wait->rest_until_ns)
        return false;
    pthread_mutex_lock(&waiter->lock);
    asked = wait->asked;
    wait->asked = false;
    pthread_mutex_unlock(&waiter->lock);
    return asked ||
           (wait->memory && (atomic_load(word_of(wait)) != wait->value || now >= wait->until_ns));
}

/* @memory is the ring's, and was looked at. Sets until when to sleep. */
static void sleep_from_now(struct ring_wait *wait, struct ring_memory *memory)
{
    uint64_t sleep_ns = wait->sleep_ns;

    if (memory != wait->memory)
        sleep_ns = 0;
    else if (ring_is_blocked(memory->map, &memory->geometry) && sleep_ns > IPCRING_JUDGE_NS)
        sleep_ns = IPCRING_JUDGE_NS;
    wait->until_ns = clock_now_ns() + sleep_ns;
    /* In steps, so that the thread looks at many rings at a time. */
    if (sleep_ns > 0)
        wait->until_ns -= wait->until_ns % (sleep_ns / SLEEP_STEPS);
}

/* Whether the sleeper that was announced in @memory still stands, so that no fence is needed again. */
static bool is_announced(const struct ring_wait *wait, const struct ring_memory *memory)
{
    return wait->memory == memory && atomic_load(word_of(wait)) == wait->value;
}

/* Announces a sleeper (G of ring_abi.h), and looks again. */
static void ring_waiter_look(struct ring_wait *wait)
{
    struct ring_memory *memory = NULL;

    /* A claim has stood for one sleep at least. */
    if (wait->memory && ring_is_blocked(wait->memory->map, &wait->memory->geometry))
        wait->judge(wait, wait->memory);
    /* The first look tells the memory, and whether anybody waits. */
    if (!wait->look(wait, &memory))
        memory = NULL;
    if (memory && is_announced(wait, memory)) {
        sleep_from_now(wait, memory);
        ring_memory_unref(memory);
        return;
    }
    ring_waiter_set_memory(wait, memory);
    if (!memory)
        return;
    wait->value = ring_announce(wait->memory->map, wait->at, &wait->sleep_ns);
    if (!wait->look(wait, &memory)) {
        ring_waiter_set_memory(wait, NULL);
        return;
    }
    sleep_from_now(wait, memory);
    ring_memory_unref(memory);
}

static void look_or_rest(struct ring_waiter *waiter, struct ring_wait *wait)
{
    uint64_t start = clock_now_ns();
    uint64_t end;
    uint64_t rest_ns;

    wait->served = false;
    ring_waiter_look(wait);
    if (wait->served)
        wait->n_vain = 0;
    else if (wait->n_vain < VAIN_MAX)
        wait->n_vain++;
    if (wait->n_vain < VAIN_MAX)
        return;
    end = clock_now_ns();
    pthread_mutex_lock(&waiter->lock);
    rest_ns = (end - start) * waiter->n_waits;
    pthread_mutex_unlock(&waiter->lock);
    wait->rest_until_ns = end + (rest_ns < REST_NS_MAX ? rest_ns : REST_NS_MAX);
}

/* Return: the entry that leaves, taken out; NULL. */
static struct ring_wait *take_leaving(struct ring_waiter *waiter)
{
    struct ring_wait *wait;

    pthread_mutex_lock(&waiter->lock);
    TAILQ_FOREACH(wait, &waiter->waits, link) {
        if (wait->leaving)
            break;
    }
    if (wait) {
        TAILQ_REMOVE(&waiter->waits, wait, link);
        waiter->n_waits--;
    }
    pthread_mutex_unlock(&waiter->lock);
    return wait;
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000U),
                              .tv_nsec = (long)(ns % 1000000000U) };
}

static void sleep_on_all(const struct waitv *words, unsigned int n, uint64_t until_ns)
{
    struct timespec until = timespec_of(until_ns);

    syscall(SYS_futex_waitv, words, n, 0, until_ns == UINT64_MAX ? NULL : &until, CLOCK_MONOTONIC);
}

/* On the one ring's word, if there is one; ring_waiter_kick() changes that too. */
static void sleep_on_last(struct ring_waiter *waiter, const struct waitv *words, unsigned int n,
                          uint64_t until_ns)
{
    struct timespec until = timespec_of(until_ns);

    if (atomic_load(&waiter->asked) != (uint32_t)words[0].value)
        return;
    syscall(SYS_futex, words[n - 1].address, FUTEX_WAIT_BITSET, (uint32_t)words[n - 1].value,
            until_ns == UINT64_MAX ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
}

static struct waitv waitv_of(_Atomic uint32_t *word, uint32_t value)
{
    return (struct waitv){ .value = value, .address = (uintptr_t)word, .flags = WAITV_32_BITS };
}

/* Collects the words to sleep on, in the round that began at @now: an entry that was passed over because it rested
 * rests here too, or who asked for it would be forgotten. Return: how many. */
static unsigned int collect(struct ring_waiter *waiter, struct waitv words[WAITV_MAX],
                            uint32_t asked, uint64_t now, uint64_t *ret_until_ns)
{
    struct ring_wait *wait;
    unsigned int n = 0;

    words[n++] = waitv_of(&waiter->asked, asked);
    *ret_until_ns = UINT64_MAX;
    pthread_mutex_lock(&waiter->lock);
    TAILQ_FOREACH(wait, &waiter->waits, link) {
        bool rests = now < wait->rest_until_ns;
        uint64_t until_ns = rests ? wait->rest_until_ns : wait->until_ns;

        if (!wait->memory && !(rests && wait->asked))
            continue;
        if (!rests)
            words[n++] = waitv_of(word_of(wait), wait->value);
        if (until_ns < *ret_until_ns)
            *ret_until_ns = until_ns;
    }
    pthread_mutex_unlock(&waiter->lock);
    return n;
}

static struct ring_wait *ring_waiter_next_of(struct ring_waiter *waiter, struct ring_wait *wait)
{
    struct ring_wait *next;

    pthread_mutex_lock(&waiter->lock);
    next = wait ? TAILQ_NEXT(wait, link) : TAILQ_FIRST(&waiter->waits);
    pthread_mutex_unlock(&waiter->lock);
    return next;
}

static void let_go(struct ring_waiter *waiter)
{
    struct ring_wait *wait;

    while ((wait = take_leaving(waiter))) {
        ring_waiter_set_memory(wait, NULL);
        wait->left(wait);
    }
}

static void ring_waiter_look_at_all(struct ring_waiter *waiter, uint64_t now)
{
    /* Only this thread takes entries out, and new ones come last. */
    for (struct ring_wait *wait = ring_waiter_next_of(waiter, NULL); wait;
         wait = ring_waiter_next_of(waiter, wait)) {
        if (is_due(waiter, wait, now))
            look_or_rest(waiter, wait);
    }
}

static bool is_over(struct ring_waiter *waiter)
{
    bool is_over;

    pthread_mutex_lock(&waiter->lock);
    is_over = waiter->stopping && waiter->n_waits == 0;
    pthread_mutex_unlock(&waiter->lock);
    return is_over;
}

/* --- Owning --- */

static void store_owner(struct ring_waiter *waiter, struct robust_list *entry)
{
    char *word = (char *)entry + waiter->owned.futex_offset;

    atomic_store((_Atomic uint32_t *)(void *)word, (uint32_t)waiter->tid);
}

/* The C library's own list of this thread, of robust mutexes, gives way: there are none. */
static void begin_to_own(struct ring_waiter *waiter)
{
    struct robust_list *entry;

    pthread_mutex_lock(&waiter->lock);
    waiter->tid = (pid_t)syscall(SYS_gettid);
    syscall(SYS_set_robust_list, &waiter->owned, sizeof(waiter->owned));
    for (entry = waiter->owned.list.next; entry != &waiter->owned.list; entry = entry->next)
        store_owner(waiter, entry);
    pthread_mutex_unlock(&waiter->lock);
}

/* The kernel may read the list between any two lines. */
void ring_wait_own(struct ring_wait *wait, struct ring_memory *memory)
{
    struct ring_waiter *waiter = wait->waiter;
    struct robust_list *entry = memory->owner_entry;

    pthread_mutex_lock(&waiter->lock);
    entry->next = waiter->owned.list.next;
    atomic_thread_fence(memory_order_seq_cst);
    waiter->owned.list.next = entry;
    if (waiter->tid != 0)
        store_owner(waiter, entry);
    pthread_mutex_unlock(&waiter->lock);
}

void ring_wait_disown(struct ring_wait *wait, struct ring_memory *memory)
{
    struct ring_waiter *waiter = wait->waiter;
    struct robust_list *before = &waiter->owned.list;

    pthread_mutex_lock(&waiter->lock);
    while (before->next != memory->owner_entry)
        before = before->next;
    before->next = memory->owner_entry->next;
    pthread_mutex_unlock(&waiter->lock);
}

static void *ring_waiter_run(void *arg)
{
    struct ring_waiter *waiter = arg;
    struct waitv words[WAITV_MAX];

    begin_to_own(waiter);
    while (!is_over(waiter)) {
        uint32_t asked = atomic_load(&waiter->asked);
        uint64_t now;
        uint64_t until_ns;
        unsigned int n;

        let_go(waiter);
        if (is_over(waiter))
            break;
        now = clock_now_ns();
        ring_waiter_look_at_all(waiter, now);
        n = collect(waiter, words, asked, now, &until_ns);
        if (waiter->is_single)
            sleep_on_last(waiter, words, n, until_ns);
        else
            sleep_on_all(words, n, until_ns);
    }
    return NULL;
}

/* Makes the thread look. Under the waiter's lock. */
static void ring_waiter_kick(struct ring_waiter *waiter)
{
    struct ring_wait *wait = TAILQ_FIRST(&waiter->waits);

    atomic_fetch_add(&waiter->asked, 1);
    syscall(SYS_futex, &waiter->asked, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    if (waiter->is_single && wait && wait->memory)
        ipcring_os_wake(word_of(wait));
}

static bool has_waitv(void)
{
    return syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) == 0 || errno != ENOSYS;
}

void ring_waiters_init(struct ring_waiters *waiters, unsigned int words_per_thread)
{
    pthread_mutex_init(&waiters->lock, NULL);
    TAILQ_INIT(&waiters->list);
    waiters->words_per_thread = words_per_thread;
    waiters->judges = ring_judges_new();
}

static void stop(struct ring_waiter *waiter)
{
    pthread_mutex_lock(&waiter->lock);
    waiter->stopping = true;
    ring_waiter_kick(waiter);
    pthread_mutex_unlock(&waiter->lock);
    pthread_join(waiter->thread, NULL);
    pthread_mutex_destroy(&waiter->lock);
    free(waiter);
}

void ring_waiters_deinit(struct ring_waiters *waiters)
{
    struct ring_waiter *waiter;

    while ((waiter = TAILQ_FIRST(&waiters->list))) {
        TAILQ_REMOVE(&waiters->list, waiter, link);
        stop(waiter);
    }
    ring_judges_free(waiters->judges);
    pthread_mutex_destroy(&waiters->lock);
}

/* Under the list's lock. Takes a place in a thread's list for @uid, if there is one; in one that is another's only
 * if @anybodys. */
static bool take_place(struct ring_waiters *waiters, struct ring_waiter *waiter, uid_t uid,
                       bool anybodys)
{
    bool has_place;

    pthread_mutex_lock(&waiter->lock);
    has_place = waiter->n_waits < waiters->words_per_thread &&
                (anybodys || waiter->uid == uid || waiter->n_waits == 0);
    if (has_place && waiter->n_waits++ == 0)
        waiter->uid = uid;
    pthread_mutex_unlock(&waiter->lock);
    return has_place;
}

static void give_place_back(struct ring_waiter *waiter)
{
    pthread_mutex_lock(&waiter->lock);
    waiter->n_waits--;
    pthread_mutex_unlock(&waiter->lock);
}

/* Under the list's lock. Return: a new thread, in which a place is taken; NULL: it can't be had. */
static struct ring_waiter *ring_waiter_start(struct ring_waiters *waiters, uid_t uid)
{
    struct ring_waiter *waiter = calloc(1, sizeof(*waiter));

    if (!waiter)
        return NULL;
    pthread_mutex_init(&waiter->lock, NULL);
    TAILQ_INIT(&waiter->waits);
    waiter->is_single = waiters->words_per_thread == 1;
    waiter->n_waits = 1;
    waiter->uid = uid;
    waiter->owned.list.next = &waiter->owned.list;
    waiter->owned.futex_offset = (long)ring_memory_owner_offset();
    if (pthread_create(&waiter->thread, NULL, ring_waiter_run, waiter) != 0) {
        pthread_mutex_destroy(&waiter->lock);
        free(waiter);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&waiters->list, waiter, link);
    waiters->n_threads++;
    return waiter;
}

/* Under the list's lock. Return: a thread, in which a place is taken; NULL: it can't be had. */
static struct ring_waiter *find_place(struct ring_waiters *waiters, uid_t uid)
{
    struct ring_waiter *waiter;

    TAILQ_FOREACH(waiter, &waiters->list, link) {
        if (take_place(waiters, waiter, uid, false))
            return waiter;
    }
    TAILQ_FOREACH(waiter, &waiters->list, link) {
        if (waiters->n_threads >= RING_WAITERS_APART && take_place(waiters, waiter, uid, true))
            return waiter;
    }
    return ring_waiter_start(waiters, uid);
}

static void ring_waiter_give(struct ring_waiter *waiter, struct ring_wait *wait)
{
    wait->waiter = waiter;
    pthread_mutex_lock(&waiter->lock);
    TAILQ_INSERT_TAIL(&waiter->waits, wait, link);
    pthread_mutex_unlock(&waiter->lock);
}

int ring_waiters_add(struct ring_waiters *waiters, uid_t uid, struct ring_wait *a,
                     struct ring_wait *b)
{
    struct ring_waiter *of_a;
    struct ring_waiter *of_b = NULL;

    pthread_mutex_lock(&waiters->lock);
    if (waiters->words_per_thread == 0)
        waiters->words_per_thread = has_waitv() ? WAITV_MAX - 1 : 1;
    of_a = find_place(waiters, uid);
    if (of_a)
        of_b = find_place(waiters, uid);
    pthread_mutex_unlock(&waiters->lock);
    if (of_a && !of_b)
        give_place_back(of_a);
    if (!of_b)
        return -ENOMEM;
    ring_waiter_give(of_a, a);
    ring_waiter_give(of_b, b);
    return 0;
}

void ring_wait_ask(struct ring_wait *wait)
{
    struct ring_waiter *waiter = wait->waiter;

    pthread_mutex_lock(&waiter->lock);
    if (!wait->asked) {
        wait->asked = true;
        ring_waiter_kick(waiter);
    }
    pthread_mutex_unlock(&waiter->lock);
}

void ring_wait_leave(struct ring_wait *wait)
{
    struct ring_waiter *waiter = wait->waiter;

    pthread_mutex_lock(&waiter->lock);
    wait->leaving = true;
    ring_waiter_kick(waiter);
    pthread_mutex_unlock(&waiter->lock);
}
