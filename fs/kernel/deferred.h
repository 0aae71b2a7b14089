/* Work that must not be done where it comes up: ends of waiting that an interrupt brought (libfuse
 * holds the request's lock then), and wake-ups of pollers (they come up under a mailbox's lock).
 * One thread does it, in the order it came.
 *
 * Context: adding takes a leaf lock and never fails nor waits. */
#ifndef IPCFS_FS_DEFERRED_H
#define IPCFS_FS_DEFERRED_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "core/mailbox/mbox.h"

/* Embedded in what wants to be worked on later; it can wait once at a time. */
struct deferred_work {
    void (*run)(struct deferred_work *work);
    bool queued; /* under the lock */
    TAILQ_ENTRY(deferred_work) link;
};

struct deferred {
    pthread_mutex_t lock;
    pthread_cond_t added;
    /* Under lock: */
    TAILQ_HEAD(, deferred_work) works;
    struct mbox_ready ready;
    bool stopping;
    pthread_t thread;
    bool started;
};

void deferred_init(struct deferred *deferred);

/* Starts the thread. Return: 0; a negative errno. */
int deferred_start(struct deferred *deferred);

/* Does what is left and ends the thread. */
void deferred_stop(struct deferred *deferred);

void deferred_deinit(struct deferred *deferred);

/* Return: true: @work will run; false: it was waiting to run already. */
bool deferred_add(struct deferred *deferred, struct deferred_work *work);

/* Takes over the ops in @ready, which is empty then; they will be completed. */
void deferred_complete(struct deferred *deferred, struct mbox_ready *ready);

/* As mbox_ready_run, for half a millisecond: what is left of @ready then is @deferred's, so that those who have nothing
 * to do with it are served in between. Context: while requests are answered, no lock is held. */
void deferred_run_ready(struct deferred *deferred, struct mbox_ready *ready);

#endif
