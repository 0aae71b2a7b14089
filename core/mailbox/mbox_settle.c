/* How a message moves.
 *
 *   post ──room──> queue ──take──> in flight ──commit──> gone
 *     │              ^                │
 *     └─no room─> pending             └──abort──> queue, where it was
 *
 * A place that is reserved goes the same way as an empty message does, up to the queue, where it
 * becomes a count; the message that fills it goes straight into the queue.
 *
 * In a rendezvous (capacity 0) nothing is queued: pending ──take──> in flight ──commit──> gone, and
 * the sender waits until the end; abort returns the message to pending.
 *
 * Invariants, between calls, while the mailbox is not removed:
 *   - while receivers wait, no message that they could have is in the queue;
 *   - while senders wait, the first of them finds no room (so a later one never overtakes it, save
 *     by priority, or where only places leave it no room: places.h);
 *   - each message in queue or pending is charged to its sender, and one reference; so is one in
 *     flight, unless its receiver has given the charge back (msg_discharge).
 * mbox_settle_locked() restores the first two after any change.
 *
 * With a backend, the ways are: post ──> backend ──> in flight, and back to the queue, which goes first.
 *
 * This file is below all others that change a mailbox; it knows the queue (mbox_queue.c) and none of them.
 * All under the mailbox's lock. */
#include "mbox_settle.h"

#include <assert.h>
#include <errno.h>

#include "mbox_queue.h"

/* The moves that stand at enum mbox_op_state: a bit for each state that may follow. */
__attribute__((unused)) static const unsigned int moves[] = {
    [MBOX_OP_IDLE] = 1U << MBOX_OP_WAITING,
    [MBOX_OP_WAITING] = 1U << MBOX_OP_IN_FLIGHT | 1U << MBOX_OP_DONE | 1U << MBOX_OP_IDLE,
    [MBOX_OP_IN_FLIGHT] = 1U << MBOX_OP_WAITING | 1U << MBOX_OP_DONE,
    [MBOX_OP_DONE] = 1U << MBOX_OP_WAITING,
};

void mbox_op_move(struct mbox_op *op, enum mbox_op_state to)
{
    assert(moves[op->state] & 1U << to);
    op->state = to;
}

static void op_finish(struct mbox_op *op, int result, struct mbox_ready *ready)
{
    mbox_op_move(op, MBOX_OP_DONE);
    op->result = result;
    TAILQ_INSERT_TAIL(ready, op, link);
}

void mbox_poster_finish(struct msg *msg, int result, struct mbox_ready *ready)
{
    struct mbox_op *op = msg->poster;

    if (!op)
        return;
    msg->poster = NULL;
    op->msg = NULL;
    op_finish(op, result, ready);
}

void mbox_taker_finish(struct mbox *mbox, struct mbox_op *op, int result, struct mbox_ready *ready)
{
    TAILQ_REMOVE(&mbox->takers, op, link);
    mbox->stat.n_receivers_waiting--;
    op_finish(op, result, ready);
}

void mbox_wake(struct mbox *mbox, unsigned int events)
{
    struct mbox_watch *watch = TAILQ_FIRST(&mbox->watches);

    while (watch) {
        struct mbox_watch *next = TAILQ_NEXT(watch, link);

        if ((watch->events | MBOX_REMOVED) & events) {
            TAILQ_REMOVE(&mbox->watches, watch, link);
            watch->armed = false;
            watch->fire(watch);
        }
        watch = next;
    }
}

/* Return: the queue that the next message to be delivered is in. */
static struct msgq *source(struct mbox *mbox)
{
    return mbox->queue.occupied || !mbox_is_rendezvous(mbox) ? &mbox->queue : &mbox->pending;
}

bool mbox_has_pending(const struct mbox *mbox)
{
    return mbox->pending.occupied || !TAILQ_EMPTY(&mbox->behind_places);
}

void mbox_pending_remove(struct mbox *mbox, struct msg *msg)
{
    if (msg->is_behind_places)
        TAILQ_REMOVE(&mbox->behind_places, msg, link);
    else
        msgq_remove(&mbox->pending, msg);
    msg->is_behind_places = false;
    mbox->stat.n_senders_waiting--;
}

/* Takes @msg, the first of source(), out of it and into flight. */
static void launch(struct mbox *mbox, struct msg *msg)
{
    if (source(mbox) == &mbox->queue)
        mbox_queue_remove(mbox, msg);
    else
        mbox_pending_remove(mbox, msg);
    if (msg->poster)
        mbox_op_move(msg->poster, MBOX_OP_IN_FLIGHT);
    else
        mbox_count_received(mbox);
}

void mbox_want(struct mbox *mbox, unsigned int events)
{
    if (mbox->backend)
        mbox->backend->ops->want(mbox->backend, events);
}

int mbox_next_message(struct mbox *mbox, const struct mbox_op *op, struct msg **ret_msg)
{
    struct msg *msg = msgq_first(source(mbox));
    int r = 0;

    if (msg && msg->size_bytes > op->max_bytes)
        return -EMSGSIZE;
    if (msg) {
        launch(mbox, msg);
    } else if (mbox->backend) {
        r = mbox->backend->ops->get(mbox->backend, op, &msg);
        if (r == 0 && msg->id == 0)
            mbox_stamp(mbox, msg);
        if (r == 0)
            mbox_count_received(mbox);
    } else {
        r = -EAGAIN;
    }
    if (r == 0)
        *ret_msg = msg;
    return r;
}

bool mbox_tells_each(const struct mbox *mbox)
{
    return mbox->backend && mbox->backend->ops->tells_each;
}

/* Gives waiting receivers what there is, in the order they came. Return: whether there was. */
static bool serve_takers(struct mbox *mbox, struct mbox_ready *ready)
{
    struct mbox_op *op;
    struct mbox_op *next;
    bool served = false;

    for (op = TAILQ_FIRST(&mbox->takers); op; op = next) {
        struct msg *msg = NULL;
        int r = mbox_next_message(mbox, op, &msg);

        next = TAILQ_NEXT(op, link);
        if (r == -EAGAIN && mbox_tells_each(mbox))
            continue;
        if (r == -EAGAIN)
            break;
        op->msg = msg;
        mbox_taker_finish(mbox, op, r, ready);
        served = served || r == 0;
    }
    return served;
}

/* Return: 0: @msg, which waits first, goes in now, and its charge is over where it is copied elsewhere;
 * -EAGAIN: it waits on; what a backend says. */
static int admit_first(struct mbox *mbox, struct msg *msg)
{
    if (mbox->backend)
        return mbox->backend->ops->put(mbox->backend, msg);
    return mbox_finds_room(mbox, msg) ? 0 : -EAGAIN;
}

/* Whether only places leave @msg no room. */
static bool is_held_up_by_places(const struct mbox *mbox, const struct msg *msg)
{
    return mbox_fits(mbox, msg->size_bytes) && !mbox_finds_room(mbox, msg);
}

/* @msg, which waits first, need not hold up those behind it. */
static void put_behind_places(struct mbox *mbox, struct msg *msg)
{
    msgq_remove(&mbox->pending, msg);
    TAILQ_INSERT_TAIL(&mbox->behind_places, msg, link);
    msg->is_behind_places = true;
}

static bool is_before(const struct msg *a, const struct msg *b)
{
    return a->prio > b->prio || (a->prio == b->prio && a->seq < b->seq);
}

/* In a mailbox without a backend. Return: of those who wait, who comes next, if there is room; NULL: nobody. */
static struct msg *first_pending(struct mbox *mbox)
{
    struct msg *behind;
    struct msg *msg;

    while ((msg = msgq_first(&mbox->pending)) && is_held_up_by_places(mbox, msg))
        put_behind_places(mbox, msg);
    behind = TAILQ_FIRST(&mbox->behind_places);
    if (!msg || !behind)
        return msg ? msg : behind;
    return is_before(behind, msg) && !is_held_up_by_places(mbox, behind) ? behind : msg;
}

bool mbox_is_behind_others(const struct mbox *mbox, unsigned int prio)
{
    const struct msg *behind = TAILQ_FIRST(&mbox->behind_places);

    if (msgq_has_at_least(&mbox->pending, prio))
        return true;
    return behind && behind->prio >= prio && !is_held_up_by_places(mbox, behind);
}

/* Lets in, in their order, the senders for whom there is room now. */
static void admit_pending(struct mbox *mbox, struct mbox_ready *ready)
{
    struct msg *msg;

    while (!mbox_is_rendezvous(mbox) &&
           (msg = mbox->backend ? msgq_first(&mbox->pending) : first_pending(mbox))) {
        int r = admit_first(mbox, msg);

        if (r == -EAGAIN)
            break;
        mbox_pending_remove(mbox, msg);
        mbox_poster_finish(msg, r, ready);
        if (!mbox->backend) {
            mbox_let_in(mbox, msg, 0);
            continue;
        }
        if (r == 0)
            mbox_count_sent(mbox, msg);
        mbox_discard(msg);
    }
}

static bool is_readable(struct mbox *mbox)
{
    return source(mbox)->occupied ||
           (mbox->backend && mbox->backend->ops->readiness(mbox->backend) & MBOX_READABLE);
}

static bool is_writable(const struct mbox *mbox)
{
    if (mbox->backend)
        return !mbox->pending.occupied &&
               mbox->backend->ops->readiness(mbox->backend) & MBOX_WRITABLE;
    if (mbox->limits.overflow == MBOX_OVERFLOW_REJECT)
        return true;
    if (mbox_is_rendezvous(mbox))
        return !TAILQ_EMPTY(&mbox->takers);
    if (mbox->limits.overflow == MBOX_OVERFLOW_DROP_OLDEST)
        return true;
    return !mbox_is_behind_others(mbox, 0) && mbox_fits(mbox, 1);
}

unsigned int mbox_readiness(struct mbox *mbox)
{
    if (mbox->removed)
        return MBOX_REMOVED;
    if (mbox->closed)
        return MBOX_CLOSED | MBOX_READABLE | MBOX_WRITABLE;
    return (is_readable(mbox) ? MBOX_READABLE : 0) | (is_writable(mbox) ? MBOX_WRITABLE : 0);
}

void mbox_settle_locked(struct mbox *mbox, unsigned int events, struct mbox_ready *ready)
{
    do
        admit_pending(mbox, ready);
    while (serve_takers(mbox, ready) && mbox_has_pending(mbox));
    if (!TAILQ_EMPTY(&mbox->watches))
        mbox_wake(mbox, mbox_readiness(mbox) & events);
}

void mbox_catch_up(struct mbox *mbox, struct mbox_ready *ready)
{
    if (mbox->backend && (mbox->pending.occupied || !TAILQ_EMPTY(&mbox->takers)))
        mbox_settle_locked(mbox, MBOX_READABLE | MBOX_WRITABLE, ready);
}

int mbox_check_wait(struct mbox *mbox, const struct mbox_op *op)
{
    if (op->state != MBOX_OP_WAITING)
        return 0;
    if (mbox_is_rendezvous(mbox) && mbox->limits.overflow == MBOX_OVERFLOW_REJECT &&
        !op->has_place) {
        mbox->stat.n_rejected++;
        return -ENOBUFS;
    }
    return op->nonblock ? -EAGAIN : 0;
}

void mbox_gather_pending(struct mbox *mbox)
{
    struct msg *msg;

    TAILQ_FOREACH(msg, &mbox->behind_places, link)
        msg->is_behind_places = false;
    msgq_put_all_back(&mbox->pending, &mbox->behind_places);
}

int mbox_rejudge(struct mbox *mbox, const struct msg *msg)
{
    /* What has its place goes in, however full the mailbox is; in a rendezvous it waits. */
    if (msg->poster && msg->poster->has_place)
        return mbox_is_rendezvous(mbox) ? -EAGAIN : 0;
    if (msg->size_bytes > mbox->limits.bytes)
        return -EMSGSIZE;
    if (!mbox_is_rendezvous(mbox))
        return mbox_make_room(mbox, msg);
    if (msg->is_place)
        return 0;
    if (mbox->limits.overflow == MBOX_OVERFLOW_REJECT) {
        mbox->stat.n_rejected++;
        return -ENOBUFS;
    }
    return -EAGAIN;
}

void mbox_finish_judged(struct mbox *mbox, struct msg *msg, int r, struct mbox_ready *ready)
{
    mbox_poster_finish(msg, r > 0 ? 0 : r, ready);
    if (r >= 0)
        mbox_let_in(mbox, msg, r);
    else
        mbox_discard(msg);
}

void mbox_lock_two(struct mbox *a, struct mbox *b)
{
    pthread_mutex_lock(a < b ? &a->lock : &b->lock);
    pthread_mutex_lock(a < b ? &b->lock : &a->lock);
}

void mbox_unlock_two(struct mbox *a, struct mbox *b)
{
    pthread_mutex_unlock(&a->lock);
    pthread_mutex_unlock(&b->lock);
}
