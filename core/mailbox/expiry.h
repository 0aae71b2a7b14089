/* When messages have waited long enough: one timer for all mailboxes of a mount.
 *
 * A mailbox with a bound on waiting (limits.ttl_ns) has a place in a heap, by the time at which it is to be looked
 * at next; the timer is set for the first of all. That time is never later than its first message's end, and may be
 * earlier: then the look finds nothing to do. So a mailbox asks for the timer once in that while, however many
 * messages go through it.
 *
 * Time is CLOCK_BOOTTIME: it goes on while the machine sleeps, and nobody can set it.
 *
 * The thread is started when the first mailbox joins. It holds a reference to a mailbox only while it looks at it;
 * a mailbox leaves before its last reference goes.
 *
 * Context: functions that take a mailbox are called under its lock; the lock in here is a leaf. */
#ifndef IPCFS_CORE_EXPIRY_H
#define IPCFS_CORE_EXPIRY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mbox;

/* A mailbox's place. Zeroed: it has not joined. */
struct expiry_place {
    bool has_joined;
    _Atomic uint64_t due_ns; /* 0: it is not in the heap */
    size_t at;               /* where in the heap */
};

struct expiry {
    /* Looks at @mbox, whose time has come. Called by the thread, without a lock. */
    void (*look)(struct mbox *mbox);
    pthread_mutex_t lock;
    /* Under lock: */
    struct mbox **heap;
    size_t n;
    size_t n_joined; /* for so many there is room */
    size_t n_allocated;
    int timer_fd; /* -1: there is none */
    bool is_stopping;
    bool has_thread;
    pthread_t thread;
};

/* Return: the time, in ns. */
uint64_t expiry_now(void);

void expiry_init(struct expiry *expiry, void (*look)(struct mbox *mbox));

/* Ends the thread; nothing is looked at any more. May be called again. Context: no lock held. */
void expiry_stop(struct expiry *expiry);

/* All have left. */
void expiry_deinit(struct expiry *expiry);

/* From now on @mbox can be put in, which never fails. Return: 0; -ENOMEM; another negative errno: there is no timer, or
 * no thread. */
int expiry_join(struct expiry *expiry, struct mbox *mbox);

/* @mbox is not looked at any more, unless that has begun. */
void expiry_leave(struct expiry *expiry, struct mbox *mbox);

/* @mbox, which has joined, is to be looked at by @due_ns, which is not 0, or earlier if it is to be already. */
void expiry_put(struct expiry *expiry, struct mbox *mbox, uint64_t due_ns);

#endif
