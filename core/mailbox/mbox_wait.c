/* Waiting: an op is cancelled or completed, a mailbox watched, and what a backend tells passed on.
 *
 * An op that waits is the mailbox's until it is in the list of those that are ready; then it is
 * whoever's that runs the list, without a lock. Each other function takes the mailbox's lock. */
#include "mbox_settle.h"

#include <errno.h>
#include <limits.h>

#include "mbox_queue.h"

static void cancel_waiting(struct mbox *mbox, struct mbox_op *op, struct mbox_ready *ready)
{
    struct mbox_entry *entry = op->entry;

    if (entry) {
        mbox_pending_remove(mbox, entry);
        mbox_poster_finish(entry, -EINTR, ready);
        mbox_entry_free(entry);
        /* It may have held up others, for whom there is room. */
        mbox_settle_locked(mbox, MBOX_READABLE | MBOX_WRITABLE, ready);
    } else {
        mbox_taker_finish(mbox, op, -EINTR, ready);
    }
}

void mbox_cancel(struct mbox *mbox, struct mbox_op *op, struct mbox_ready *ready)
{
    pthread_mutex_lock(&mbox->lock);
    if (op->state == MBOX_OP_WAITING)
        cancel_waiting(mbox, op, ready);
    else if (op->state == MBOX_OP_STORING)
        mbox_cancel_storing(mbox, op, ready);
    else
        op->cancelled = true;
    pthread_mutex_unlock(&mbox->lock);
}

unsigned int mbox_poll_at(struct mbox *mbox, unsigned int prio, struct mbox_watch *watch)
{
    unsigned int ready_for;

    pthread_mutex_lock(&mbox->lock);
    ready_for = mbox_readiness(mbox, prio);
    if (watch && !watch->armed && !mbox->removed) {
        watch->armed = true;
        TAILQ_INSERT_TAIL(&mbox->watches, watch, link);
        mbox_want(mbox, watch->events);
    }
    pthread_mutex_unlock(&mbox->lock);
    return ready_for;
}

unsigned int mbox_poll(struct mbox *mbox, struct mbox_watch *watch)
{
    return mbox_poll_at(mbox, 0, watch);
}

void mbox_let_expire(struct mbox *mbox, struct mbox_ready *ready)
{
    pthread_mutex_lock(&mbox->lock);
    if (!mbox->removed && mbox_has_expired(mbox))
        mbox_catch_up(mbox, ready);
    pthread_mutex_unlock(&mbox->lock);
}

bool mbox_has_for(struct mbox *mbox, uint64_t seen)
{
    bool has = false;

    pthread_mutex_lock(&mbox->lock);
    if (!mbox->removed && mbox_tells_each(mbox) && mbox->backend->ops->has_for)
        has = mbox->backend->ops->has_for(mbox->backend, seen);
    pthread_mutex_unlock(&mbox->lock);
    return has;
}

bool mbox_asks_seen(struct mbox *mbox)
{
    bool asks;

    pthread_mutex_lock(&mbox->lock);
    asks = mbox_tells_each(mbox);
    pthread_mutex_unlock(&mbox->lock);
    return asks;
}

uint64_t mbox_begin(struct mbox *mbox)
{
    uint64_t seen = 0;

    pthread_mutex_lock(&mbox->lock);
    if (!mbox->removed && mbox_tells_each(mbox) && mbox->backend->ops->begin)
        seen = mbox->backend->ops->begin(mbox->backend);
    pthread_mutex_unlock(&mbox->lock);
    return seen;
}

void mbox_unwatch(struct mbox *mbox, struct mbox_watch *watch)
{
    pthread_mutex_lock(&mbox->lock);
    if (watch->armed)
        TAILQ_REMOVE(&mbox->watches, watch, link);
    watch->armed = false;
    pthread_mutex_unlock(&mbox->lock);
}

/* Return: what those who wait or watch wait for. */
static unsigned int waited_for(const struct mbox *mbox)
{
    unsigned int events = 0;
    const struct mbox_watch *watch;

    if (!TAILQ_EMPTY(&mbox->takers))
        events |= MBOX_READABLE;
    if (mbox_has_pending(mbox))
        events |= MBOX_WRITABLE;
    TAILQ_FOREACH(watch, &mbox->watches, link) {
        if (events == (MBOX_READABLE | MBOX_WRITABLE))
            break;
        events |= watch->events;
    }
    return events;
}

unsigned int mbox_settle(struct mbox *mbox, unsigned int events, struct mbox_ready *ready)
{
    unsigned int still = 0;

    pthread_mutex_lock(&mbox->lock);
    if (!mbox->removed) {
        mbox_settle_locked(mbox, MBOX_READABLE | MBOX_WRITABLE, ready);
        mbox_wake(mbox, events);
        still = waited_for(mbox);
    }
    pthread_mutex_unlock(&mbox->lock);
    return still;
}

unsigned int mbox_ready_run_some(struct mbox_ready *ready, unsigned int n_max)
{
    struct mbox_op *op;
    unsigned int n;

    for (n = 0; n < n_max && (op = TAILQ_FIRST(ready)); n++) {
        TAILQ_REMOVE(ready, op, link);
        op->complete(op, ready);
    }
    return n;
}

void mbox_ready_run(struct mbox_ready *ready)
{
    while (mbox_ready_run_some(ready, UINT_MAX) == UINT_MAX)
        ;
}
