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
 * Context: functions that take a place are called under its mailbox's lock; the lock in here is a leaf. */
#ifndef IPCFS_CORE_EXPIRY_H
#define IPCFS_CORE_EXPIRY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A mailbox's place, embedded in it. Zeroed: it has not joined. */
struct expiry_place {
    bool has_joined;
    _Atomic uint64_t due_ns; /* 0: it is not in the heap */
    size_t at;               /* where in the heap */
};

struct expiry {
    /* Takes a reference to @place's mailbox. Called under lock. Return: false: its last one is being given back, and nobody
     * needs to look at it. */
    bool (*hold)(struct expiry_place *place);
    /* Looks at @place's mailbox, whose time has come, and gives the reference back. Called by the thread, without a
     * lock. */
    void (*look)(struct expiry_place *place);
    pthread_mutex_t lock;
    /* Under lock: */
    struct expiry_place **heap;
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

void expiry_init(struct expiry *expiry, bool (*hold)(struct expiry_place *place),
                 void (*look)(struct expiry_place *place));

/* Ends the thread; nothing is looked at any more. May be called again. Context: no lock held. */
void expiry_stop(struct expiry *expiry);

/* All have left. */
void expiry_deinit(struct expiry *expiry);

/* From now on @place can be put in, which never fails. Return: 0; -ENOMEM; another negative errno: there is no timer, or
 * no thread. */
int expiry_join(struct expiry *expiry, struct expiry_place *place);

/* @place's mailbox is not looked at any more, unless that has begun. */
void expiry_leave(struct expiry *expiry, struct expiry_place *place);

/* @place, which has joined, is to be looked at by @due_ns, which is not 0, or earlier if it is to be already. */
void expiry_put(struct expiry *expiry, struct expiry_place *place, uint64_t due_ns);

#endif
