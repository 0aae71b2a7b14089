/* The threads behind io_uring (transport_uring.h), and what they share.
 *
 * A worker is a thread with a ring. One worker, the shared one, has all queues at first; when the first request
 * comes from a processor that we may run on, that processor's queue gets a worker of its own, which runs there and
 * nowhere else. So a machine of 256 processors has as many threads as it has processors that use the mount.
 *
 * States of an entry, and who moves it:
 *
 *     FREE -> BUSY            its worker, when the kernel has filled it
 *     BUSY -> ANSWERED        the thread that answers; its worker without the lock, others under it
 *     BUSY -> PARKED          its worker, when the handler has returned, under the lock
 *     PARKED -> ANSWERED      the thread that answers, under the lock
 *     ANSWERED -> FREE        its worker
 *
 * Context: the thread that begins and ends serving, and waits for threads, where it does not say otherwise. */
#ifndef IPCFS_FS_URING_WORKER_H
#define IPCFS_FS_URING_WORKER_H

#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "uring_entry.h"

struct fuse_session;

/* One of the kernel's, for the callers on one processor. */
struct uring_queue {
    uint16_t id;                 /* the processor's number */
    struct uring_worker *worker; /* changes once, while the shared worker waits for it */
    bool is_settled;             /* it will not change again */
    /* Its worker's: */
    unsigned int n_free;
    bool wants_kick;    /* requests may wait in the kernel, though entries are free */
    struct entry *kick; /* whose answer has just made the kernel look; NULL: none */
};

enum worker_progress {
    WORKER_STARTING,
    WORKER_HAS_RING,
    WORKER_RUNS,
    WORKER_FAILED,
};

struct uring_worker {
    struct uring *uring;
    int cpu; /* that it runs on; -1: wherever, for it is the shared one */
    pthread_t thread;
    /* Its thread's: */
    struct io_uring ring; /* others use its number alone */
    struct entries entries;
    struct entry_stack dirty; /* entries that are free and have memory, the last used first */
    size_t n_dirty;
    size_t n_dirty_bytes;
    bool wants_kicks; /* one of its queues does, or has had one */
    pthread_mutex_t lock;
    /* Under lock: */
    struct entry_list handed;      /* answered by others */
    struct entry *parked;          /* by unique */
    struct entry_set fresh;        /* parked since the watcher came by */
    struct entry_set aged;         /* parked before that, and not looked at yet */
    struct entry_set parked_files; /* parked in a file that the kernel knows for as long */
    /* Under the uring's lock: */
    enum worker_progress progress;
    int error;
    bool is_quiet; /* no handler runs, nor will */
    struct uring_worker *next;
};

struct uring {
    struct fuse_session *session;
    int fd; /* the session's */
    size_t payload_bytes;
    struct uring_queue *queues;
    unsigned int n_queues;
    cpu_set_t *cpus; /* that we may run on */
    size_t cpus_bytes;
    struct uring_worker *shared;
    pthread_t watcher;
    bool has_watcher;
    _Atomic bool is_quiesced;
    _Atomic bool is_ended;
    _Atomic bool has_fresh; /* the watcher has something to do */
    _Atomic uint64_t
        file_node; /* the last in which somebody waited; the kernel may know it still */
    pthread_mutex_t lock;
    pthread_cond_t progressed;
    pthread_cond_t watch;
    /* Under lock: */
    struct uring_worker *workers;
    bool may_start;
};

/* Starts a worker for @cpu, -1: the shared one. Return: 0: it serves its queue, or, shared, has a ring; a
 * negative errno. Context: waits for it. */
int worker_start(struct uring *uring, int cpu, struct uring_worker **ret_worker);

/* Waits until @worker has come so far, or has failed. Return: 0; a negative errno. */
int worker_wait_for(struct uring_worker *worker, enum worker_progress progress);

/* Has @worker look at what has changed. Context: any thread; never waits. */
void worker_wake(struct uring_worker *worker);

/* Waits until the thread of @worker, which was told to end, has, and frees. */
void worker_free(struct uring_worker *worker);

/* Writes libfuse's answer into @entry and sends it. Context: any thread; never waits. */
void worker_answer(struct entry *entry, const struct iovec *iov, int count);

/* Starts the thread that looks after what is parked (uring_watch.c). Return: 0; a negative errno. */
int watcher_start(struct uring *uring);

/* Ends it; @uring is ended. */
void watcher_stop(struct uring *uring);

/* Interrupts the request that libfuse knows as @id, if it is still unanswered, as the kernel would.
 * Context: no lock is held. */
void uring_interrupt(struct uring *uring, uint64_t id);

/* An entry was parked since there was nothing for the watcher to do. */
void watcher_wake(struct uring *uring);

#endif
