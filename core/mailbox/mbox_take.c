/* Receiving: a message is taken into flight, and then committed or returned to where it was.
 *
 * An entry in flight is the receiver's. Each public function takes the mailbox's lock. */
#include "mbox_settle.h"

#include <errno.h>

#include "mbox_feed_tell.h"
#include "journal.h"
#include "mbox_queue.h"

static int take_locked(struct mbox *mbox, struct mbox_op *op, struct mbox_entry **ret_entry,
                       struct mbox_ready *ready)
{
    int r;

    if (mbox->removed)
        return -EIDRM;
    if (mbox->failure) {
        r = mbox->failure;
        mbox->failure = 0;
        return r;
    }
    mbox_catch_up(mbox, ready);
    if (mbox->backend && !mbox_tells_each(mbox) && !TAILQ_EMPTY(&mbox->takers))
        r = -EAGAIN;
    else
        r = mbox_next_message(mbox, op, ret_entry);
    if (r == 0)
        mbox_settle_locked(mbox, MBOX_WRITABLE, ready);
    if (r == -EAGAIN && mbox->closed)
        return -EPIPE;
    if (r != -EAGAIN || op->nonblock)
        return r;
    if (op->cancelled)
        return -EINTR;
    mbox_op_move(op, MBOX_OP_WAITING);
    TAILQ_INSERT_TAIL(&mbox->takers, op, link);
    mbox->stat.n_receivers_waiting++;
    mbox_want(mbox, MBOX_READABLE);
    if (mbox_is_rendezvous(mbox))
        mbox_wake(mbox, MBOX_WRITABLE);
    if (mbox->feed)
        mbox_feed_tell(mbox, ready);
    return MBOX_PARKED;
}

int mbox_take(struct mbox *mbox, struct mbox_op *op, struct mbox_entry **ret_entry,
              struct mbox_ready *ready)
{
    int r;

    pthread_mutex_lock(&mbox->lock);
    r = take_locked(mbox, op, ret_entry, ready);
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

size_t mbox_take_many(struct mbox *mbox, mbox_entry_cost *cost, size_t room,
                      struct mbox_entries *entries, struct mbox_ready *ready)
{
    size_t n = 0;

    pthread_mutex_lock(&mbox->lock);
    if (!mbox->removed && !mbox->failure && !mbox->backend && !mbox_has_pending(mbox))
        n = mbox_next_messages(mbox, cost, room, entries);
    if (n > 0)
        mbox_settle_locked(mbox, MBOX_WRITABLE, ready);
    pthread_mutex_unlock(&mbox->lock);
    return n;
}

void mbox_commit(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready)
{
    /* Only who has it in flight changes these. */
    if (entry->note && !entry->leases) {
        entry->journal->ops->forget(entry->journal, entry->note, ready);
        entry->note = NULL;
    }
    if (!entry->poster)
        return;
    pthread_mutex_lock(&mbox->lock);
    mbox_count_sent(mbox, entry);
    mbox_count_received(mbox, 1);
    mbox_poster_finish(entry, 0, ready);
    pthread_mutex_unlock(&mbox->lock);
}

/* The message of a rendezvous was not delivered: its sender waits on, or learns why not. Others who
 * wait for a message get it first. */
static void return_to_poster(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready)
{
    struct mbox_op *op = entry->poster;
    int r = -EAGAIN;

    mbox_entry_recharge(entry, &mbox->domain->quota, entry->msg->sender.uid);
    if (op->cancelled)
        r = -EINTR;
    else if (!mbox_is_rendezvous(mbox))
        r = mbox_rejudge(mbox, entry);
    if (r != -EAGAIN || (op->nonblock && TAILQ_EMPTY(&mbox->takers))) {
        mbox_finish_judged(mbox, entry, r, ready);
        return;
    }
    mbox_op_move(op, MBOX_OP_WAITING);
    msgq_put_back(&mbox->pending, entry);
    mbox->stat.n_senders_waiting++;
    mbox_settle_locked(mbox, MBOX_READABLE, ready);
    r = mbox_check_wait(mbox, op);
    if (r < 0) {
        mbox_pending_remove(mbox, entry);
        mbox_finish_judged(mbox, entry, r, ready);
    }
}

/* Puts @entry back where it was, as if it had never been taken. */
static void return_to_queue(struct mbox *mbox, struct mbox_entry *entry)
{
    mbox->stat.n_received--;
    /* Its receiver has not seen it: it is told again. */
    if (mbox_tells_each(mbox)) {
        mbox_entry_free(entry);
        return;
    }
    mbox_entry_recharge(entry, &mbox->domain->quota, entry->msg->sender.uid);
    if (mbox->feed)
        mbox_feed_land(mbox, entry);
    mbox_queue_put_back(mbox, entry);
    if (mbox->limits.overflow == MBOX_OVERFLOW_DROP_OLDEST && !mbox_is_rendezvous(mbox))
        mbox_drop_until_within(mbox, NULL);
}

void mbox_abort(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready)
{
    pthread_mutex_lock(&mbox->lock);
    if (entry->is_leased)
        mbox_lease_unlink(mbox, entry);
    if ((mbox->removed || mbox->closed) && entry->poster) {
        mbox_poster_finish(entry, mbox->removed ? -EIDRM : -EPIPE, ready);
        mbox_entry_free(entry);
    } else if (mbox->removed) {
        mbox_entry_free(entry);
    } else if (entry->poster) {
        return_to_poster(mbox, entry, ready);
    } else {
        return_to_queue(mbox, entry);
    }
    if (!mbox->removed)
        mbox_settle_locked(mbox, MBOX_READABLE, ready);
    pthread_mutex_unlock(&mbox->lock);
}
