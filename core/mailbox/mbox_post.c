/* Sending: a message is posted, or a place for one is reserved and then filled.
 *
 * The caller keeps its reference to the message; the mailbox takes one of its own. Each function takes the
 * mailbox's lock, save what its name says is locked. */
#include "mbox_settle.h"

#include <assert.h>
#include <errno.h>

#include "mbox_queue.h"

static int check_sender(const struct mbox *mbox, const struct msg *msg)
{
    if (mbox->removed)
        return -EIDRM;
    if (mbox->closed)
        return -EPIPE;
    if (mbox->stat.owner_pid && msg->sender.pid == mbox->stat.owner_pid)
        return -EPERM;
    return 0;
}

static int check_size(const struct mbox *mbox, const struct msg *msg)
{
    if (msg->size_bytes > mbox->limits.message_bytes || msg->size_bytes > mbox->limits.bytes)
        return -EMSGSIZE;
    return 0;
}

/* Leaves @op behind with @msg. Return: MBOX_PARKED; -EINTR. */
static int park_post(struct mbox *mbox, struct msg *msg, struct mbox_op *op)
{
    if (op->cancelled)
        return -EINTR;
    mbox_stamp(mbox, msg);
    mbox_op_move(op, MBOX_OP_WAITING);
    op->msg = msg;
    msg->poster = op;
    msgq_push(&mbox->pending, msg);
    mbox->stat.n_senders_waiting++;
    mbox_want(mbox, MBOX_WRITABLE);
    return MBOX_PARKED;
}

/* Undoes park_post. */
static void unpark_post(struct mbox *mbox, struct mbox_op *op)
{
    struct msg *msg = op->msg;

    mbox_pending_remove(mbox, msg);
    msg->poster = NULL;
    op->msg = NULL;
    mbox_op_move(op, MBOX_OP_IDLE);
    mbox_discard(msg);
}

/* A rendezvous: mbox_settle_locked() will hand @msg to the receiver that waits, if there is one. There is
 * nothing to drop, so with drop-oldest too a sender waits. */
static int post_rendezvous(struct mbox *mbox, struct msg *msg, struct mbox_op *op)
{
    bool meets = !TAILQ_EMPTY(&mbox->takers);

    if (msg->is_place) {
        mbox_let_in(mbox, msg, 0);
        return 0;
    }
    if (!meets && mbox->limits.overflow == MBOX_OVERFLOW_REJECT) {
        mbox->stat.n_rejected++;
        return -ENOBUFS;
    }
    if (!op || (op->nonblock && !meets))
        return -EAGAIN;
    return park_post(mbox, msg, op);
}

static int post_queue(struct mbox *mbox, struct msg *msg, struct mbox_op *op)
{
    int r = -EAGAIN;

    /* Behind those who wait already, unless it is more urgent. */
    if (!mbox_is_behind_others(mbox, msg->prio))
        r = mbox_make_room(mbox, msg);
    if (r == -EAGAIN && op && !op->nonblock)
        return park_post(mbox, msg, op);
    if (r < 0)
        return r;
    mbox_let_in(mbox, msg, r);
    return 0;
}

/* Posts @msg, which is charged to its sender. Return: as mbox_post. */
static int post_charged(struct mbox *mbox, struct msg *msg, struct mbox_op *op)
{
    int r = msg_charge(msg, &mbox->domain->quota);

    if (r < 0)
        return r;
    msg_ref(msg);
    if (mbox->backend)
        r = park_post(mbox, msg, op);
    else
        r = mbox_is_rendezvous(mbox) ? post_rendezvous(mbox, msg, op) : post_queue(mbox, msg, op);
    if (r < 0)
        mbox_discard(msg);
    return r;
}

/* What is in a backend is charged to whoever the backend belongs to; only who waits is charged here. */
static int post_to_backend(struct mbox *mbox, struct msg *msg, struct mbox_op *op)
{
    int r = mbox->pending.occupied ? -EAGAIN : mbox->backend->ops->put(mbox->backend, msg);

    if (r == 0) {
        msg->arrived = mbox_now();
        mbox_count_sent(mbox, msg);
    }
    return r == -EAGAIN && op && !op->nonblock ? post_charged(mbox, msg, op) : r;
}

int mbox_post(struct mbox *mbox, struct msg *msg, struct mbox_op *op, struct mbox_ready *ready)
{
    int r;

    pthread_mutex_lock(&mbox->lock);
    if (op)
        op->has_place = false;
    r = check_sender(mbox, msg);
    if (r == 0)
        r = check_size(mbox, msg);
    if (r == 0)
        mbox_catch_up(mbox, ready);
    if (r == 0)
        r = mbox->backend ? post_to_backend(mbox, msg, op) : post_charged(mbox, msg, op);
    if (r >= 0)
        mbox_settle_locked(mbox, MBOX_READABLE, ready);
    if (r == MBOX_PARKED && op) {
        int refused = mbox_check_wait(mbox, op);

        if (refused < 0) {
            unpark_post(mbox, op);
            r = refused;
        }
    }
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

int mbox_reserve(struct mbox *mbox, struct msg_sender sender, struct mbox_op *op,
                 struct mbox_ready *ready)
{
    struct msg *place = msg_alloc(0, 0, sender);
    int r;

    if (!place)
        return -ENOMEM;
    place->is_place = true;
    r = mbox_post(mbox, place, op, ready);
    msg_unref(place);
    return r;
}

static int post_reserved_locked(struct mbox *mbox, struct msg *msg, struct mbox_op *op)
{
    int r = 0;

    if (mbox->removed)
        return -EIDRM;
    if (mbox->closed)
        return -EPIPE;
    if (mbox_is_rendezvous(mbox)) {
        op->has_place = true;
        return park_post(mbox, msg, op);
    }
    if (mbox->limits.overflow == MBOX_OVERFLOW_DROP_OLDEST)
        r = mbox_drop_until_within(mbox, msg);
    mbox_let_in(mbox, msg, r);
    return 0;
}

int mbox_post_reserved(struct mbox *mbox, struct msg *msg, struct mbox_op *op,
                       struct mbox_ready *ready)
{
    int r;

    assert(op);
    pthread_mutex_lock(&mbox->lock);
    places_give_back(&mbox->places, msg->sender.uid);
    msg_adopt_charge(msg_ref(msg), &mbox->domain->quota);
    r = post_reserved_locked(mbox, msg, op);
    if (r < 0)
        mbox_discard(msg);
    if (!mbox->removed)
        mbox_settle_locked(mbox, MBOX_READABLE, ready);
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

void mbox_unreserve(struct mbox *mbox, struct msg_sender sender, struct mbox_ready *ready)
{
    pthread_mutex_lock(&mbox->lock);
    places_give_back(&mbox->places, sender.uid);
    quota_release(&mbox->domain->quota, sender.uid, MSG_MIN_CHARGE_BYTES);
    if (!mbox->removed)
        mbox_settle_locked(mbox, MBOX_WRITABLE, ready);
    pthread_mutex_unlock(&mbox->lock);
}
