/* Receiving: a message is taken into flight, and then committed or returned to where it was.
 *
 * One in flight, with its reference, is the receiver's. Each public function takes the mailbox's lock. */
#include "mbox_settle.h"

#include <errno.h>

#include "mbox_queue.h"

static int take_locked(struct mbox *mbox, struct mbox_op *op, struct msg **ret_msg,
                       struct mbox_ready *ready)
{
    int r;

    if (mbox->removed)
        return -EIDRM;
    mbox_catch_up(mbox, ready);
    if (mbox->backend && !mbox_tells_each(mbox) && !TAILQ_EMPTY(&mbox->takers))
        r = -EAGAIN;
    else
        r = mbox_next_message(mbox, op, ret_msg);
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
    return MBOX_PARKED;
}

int mbox_take(struct mbox *mbox, struct mbox_op *op, struct msg **ret_msg, struct mbox_ready *ready)
{
    int r;

    pthread_mutex_lock(&mbox->lock);
    r = take_locked(mbox, op, ret_msg, ready);
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

void mbox_commit(struct mbox *mbox, struct msg *msg, struct mbox_ready *ready)
{
    /* Only who has it in flight changes this. */
    if (!msg->poster)
        return;
    pthread_mutex_lock(&mbox->lock);
    mbox_count_sent(mbox, msg);
    mbox_count_received(mbox);
    mbox_poster_finish(msg, 0, ready);
    pthread_mutex_unlock(&mbox->lock);
}

/* The message of a rendezvous was not delivered: its sender waits on, or learns why not. Others who
 * wait for a message get it first. */
static void return_to_poster(struct mbox *mbox, struct msg *msg, struct mbox_ready *ready)
{
    struct mbox_op *op = msg->poster;
    int r = -EAGAIN;

    msg_recharge(msg, &mbox->domain->quota, msg->sender.uid);
    if (op->cancelled)
        r = -EINTR;
    else if (!mbox_is_rendezvous(mbox))
        r = mbox_rejudge(mbox, msg);
    if (r != -EAGAIN || (op->nonblock && TAILQ_EMPTY(&mbox->takers))) {
        mbox_finish_judged(mbox, msg, r, ready);
        return;
    }
    mbox_op_move(op, MBOX_OP_WAITING);
    msgq_put_back(&mbox->pending, msg);
    mbox->stat.n_senders_waiting++;
    mbox_settle_locked(mbox, MBOX_READABLE, ready);
    r = mbox_check_wait(mbox, op);
    if (r < 0) {
        mbox_pending_remove(mbox, msg);
        mbox_finish_judged(mbox, msg, r, ready);
    }
}

/* Puts @msg back where it was, as if it had never been taken. */
static void return_to_queue(struct mbox *mbox, struct msg *msg)
{
    msg_recharge(msg, &mbox->domain->quota, msg->sender.uid);
    mbox->stat.n_received--;
    mbox_queue_put_back(mbox, msg);
    if (mbox->limits.overflow == MBOX_OVERFLOW_DROP_OLDEST && !mbox_is_rendezvous(mbox))
        mbox_drop_until_within(mbox, NULL);
}

void mbox_abort(struct mbox *mbox, struct msg *msg, struct mbox_ready *ready)
{
    pthread_mutex_lock(&mbox->lock);
    if ((mbox->removed || mbox->closed) && msg->poster) {
        mbox_poster_finish(msg, mbox->removed ? -EIDRM : -EPIPE, ready);
        mbox_discard(msg);
    } else if (mbox->removed) {
        mbox_discard(msg);
    } else if (msg->poster) {
        return_to_poster(mbox, msg, ready);
    } else {
        return_to_queue(mbox, msg);
    }
    if (!mbox->removed)
        mbox_settle_locked(mbox, MBOX_READABLE, ready);
    pthread_mutex_unlock(&mbox->lock);
}
