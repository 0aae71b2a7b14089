/* Threads that sleep on the wait words of rings for those who wait in the daemon.
 *
 * One thread sleeps on as many words as futex_waitv(2) takes (Linux 5.16); where there is none it sleeps
 * on one. So threads are counted by rings and not by waiters, and nobody who waits has one. Users don't share
 * a thread, up to RING_WAITERS_APART: one can write into his rings' words without end. A ring that is looked
 * at in vain over and over rests in between, so that each has its part of the thread's time.
 *
 * The threads own the rings as robust futexes are owned: when this process ends by whatever death, the kernel
 * tells those who map a ring (IPCRING_AT_OWNER in ring_abi.h).
 *
 * Ownership: an entry is embedded in what waits, and is a thread's from ring_waiters_add() until its
 * `left` is called.
 *
 * Context: any thread. The lock is a leaf. */
#ifndef IPCFS_CORE_RING_WAITER_H
#define IPCFS_CORE_RING_WAITER_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "ring_judges.h"
#include "ring_memory.h"

struct ring_waiter;

#define RING_WAITERS_APART 64

struct ring_wait {
    /* Called in the thread: looks, serves who can be served. Return: whether to sleep; then *ret_memory
     * is the ring's, with a reference. */
    bool (*look)(struct ring_wait *wait, struct ring_memory **ret_memory);
    /* A claim has been in the way for a while. Called in the thread. */
    void (*judge)(struct ring_wait *wait, struct ring_memory *memory);
    /* The thread is done with the entry: it may be freed. */
    void (*left)(struct ring_wait *wait);
    bool served; /* set by look: it was not in vain */
    size_t at;   /* IPCRING_AT_WAIT_DATA or IPCRING_AT_WAIT_SPACE */

    struct ring_waiter *waiter;
    /* Under its lock: */
    bool asked;
    bool leaving;
    TAILQ_ENTRY(ring_wait) link;
    /* The thread's: */
    struct ring_memory *memory; /* whose word it sleeps on; NULL: on none */
    uint32_t value;
    uint64_t sleep_ns; /* at most, at a time */
    uint64_t until_ns;
    unsigned int n_vain;
    uint64_t rest_until_ns; /* it is not looked at before */
};

struct ring_waiters {
    struct ring_judges *judges; /* for those who use the rings; NULL: there is no memory for them */
    pthread_mutex_t lock;
    /* Under lock: */
    TAILQ_HEAD(, ring_waiter) list;
    unsigned int n_threads;
    unsigned int words_per_thread; /* 0: not known before there is a ring */
};

/* @words_per_thread: 0 for as many as the kernel takes. */
void ring_waiters_init(struct ring_waiters *waiters, unsigned int words_per_thread);

/* All entries have been told to leave. Waits until they have. */
void ring_waiters_deinit(struct ring_waiters *waiters);

/* Gives both, which are of a ring of @uid's, to threads, which are started if need be.
 * Return: 0; -ENOMEM, and neither is given. */
int ring_waiters_add(struct ring_waiters *waiters, uid_t uid, struct ring_wait *a,
                     struct ring_wait *b);

/* The thread of @wait owns @memory, until ring_wait_disown() and no longer than @memory is there. */
void ring_wait_own(struct ring_wait *wait, struct ring_memory *memory);
void ring_wait_disown(struct ring_wait *wait, struct ring_memory *memory);

/* Somebody has begun to wait: the thread is to look, and then to sleep on the word. */
void ring_wait_ask(struct ring_wait *wait);

/* The thread is to call left(). */
void ring_wait_leave(struct ring_wait *wait);

#endif
