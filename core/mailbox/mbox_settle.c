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
 *   - each message in queue or pending is charged to its sender; so is one in flight, unless its receiver has
 *     given the charge back (mbox_entry_discharge).
 * mbox_settle_locked() restores the first two after any change.
 *
 * Where messages are kept (journal.h), an entry that has found room, or that its owner removes, is in no queue until the
 * journal has that: mbox_storing.c has these ways.
 *
 * With a backend, the ways are: post ──> backend ──> in flight, and back to the queue, which goes first.
 *
 * This file is below all others that change a mailbox; it knows the queue (mbox_queue.c) and none of them.
 * All under the mailbox's lock. */
#include "mbox_settle.h"

#include <assert.h>
#include <errno.h>

#include "mbox_feed_tell.h"
#include "calls.h"
#include "journal.h"
#include "mbox_queue.h"

/* Who watches is woken when the most urgent could send, and looks for itself. */
#define MOST_URGENT (MSG_N_PRIOS - 1)

void mbox_taker_finish(struct mbox *mbox, struct mbox_op *op, int result, struct mbox_ready *ready)
{
    TAILQ_REMOVE(&mbox->takers, op, link);
    mbox->stat.n_receivers_waiting--;
    mbox_op_finish(op, result, ready);
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

void mbox_pending_remove(struct mbox *mbox, struct mbox_entry *entry)
{
    if (entry->is_behind_places)
        TAILQ_REMOVE(&mbox->behind_places, entry, link);
    else
        msgq_remove(&mbox->pending, entry);
    entry->is_behind_places = false;
    mbox->stat.n_senders_waiting--;
}

/* Takes @entry, the first of source(), out of it and into flight. If it has no poster it is to be counted as received. */
static void launch(struct mbox *mbox, struct mbox_entry *entry)
{
    if (source(mbox) == &mbox->queue)
        mbox_queue_remove(mbox, entry);
    else
        mbox_pending_remove(mbox, entry);
    calls_note_sent(mbox, entry->msg);
    if (entry->poster)
        mbox_op_move(entry->poster, MBOX_OP_IN_FLIGHT);
    if (mbox->feed)
        mbox_feed_launch(mbox, entry);
}

void mbox_want(struct mbox *mbox, unsigned int events)
{
    if (mbox->backend)
        mbox->backend->ops->want(mbox->backend, events);
}

/* Takes the next message from the backend. What may fail for want of memory comes first: then the message is still
 * there. Return: as mbox_next_message. */
static int take_from_backend(struct mbox *mbox, const struct mbox_op *op,
                             struct mbox_entry **ret_entry)
{
    struct mbox_entry *entry = mbox->spare ? mbox->spare : mbox_entry_new(NULL);
    int r;

    mbox->spare = entry;
    if (!entry)
        return -ENOMEM;
    r = mbox->backend->ops->get(mbox->backend, op, &entry->msg);
    if (r < 0)
        return r;
    mbox->spare = NULL;
    if (entry->msg->id == 0)
        mbox_stamp(mbox, entry);
    mbox_count_received(mbox, 1);
    *ret_entry = entry;
    return 0;
}

int mbox_next_message(struct mbox *mbox, const struct mbox_op *op, struct mbox_entry **ret_entry)
{
    struct mbox_entry *entry = msgq_first(source(mbox));

    if (!entry)
        return mbox->backend ? take_from_backend(mbox, op, ret_entry) : -EAGAIN;
    /* There were more than are taken out at once. */
    if (mbox_has_expired(mbox))
        return -EAGAIN;
    if (entry->msg->size_bytes > op->max_bytes)
        return -EMSGSIZE;
    launch(mbox, entry);
    if (!entry->poster)
        mbox_count_received(mbox, 1);
    entry->leases = op->leases;
    if (op->leases)
        mbox_lease_link(mbox, entry);
    *ret_entry = entry;
    return 0;
}

/* Who waits for the lock is not to wait for more. */
#define TAKEN_AT_ONCE_MAX 1024

size_t mbox_next_messages(struct mbox *mbox, mbox_entry_cost *cost, size_t room,
                          struct mbox_entries *entries)
{
    struct mbox_entry *entry;
    size_t n = 0;

    while (n < TAKEN_AT_ONCE_MAX && (entry = msgq_first(&mbox->queue)) && !mbox_has_expired(mbox)) {
        size_t n_bytes = cost(entry);

        if (n_bytes > room)
            break;
        room -= n_bytes;
        launch(mbox, entry);
        entry->leases = false;
        TAILQ_INSERT_TAIL(entries, entry, link);
        n++;
    }
    if (n > 0)
        mbox_count_received(mbox, n);
    return n;
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
        struct mbox_entry *entry = NULL;
        int r = mbox_next_message(mbox, op, &entry);

        next = TAILQ_NEXT(op, link);
        if (r == -EAGAIN && mbox_tells_each(mbox))
            continue;
        if (r == -EAGAIN)
            break;
        op->entry = entry;
        mbox_taker_finish(mbox, op, r, ready);
        served = served || r == 0;
    }
    return served;
}

int mbox_put_into_backend(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready)
{
    int r;

    entry->msg->arrived = mbox_now();
    r = mbox->backend->ops->put(mbox->backend, entry->msg, ready);
    if (r == 0)
        mbox_count_sent(mbox, entry);
    return r;
}

/* What admit_first gave to the backend is in the journal's hands. */
#define SETTLE_STAGED 1

/* Return: 0: @entry, which waits first, goes in now, or its message has gone elsewhere; SETTLE_STAGED; -EAGAIN: it waits
 * on; what a backend says. */
static int admit_first(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready)
{
    if (mbox_stages(mbox)) {
        int r = mbox_stage(mbox, entry, ready);

        return r == 0 ? SETTLE_STAGED : r;
    }
    if (mbox->backend)
        return mbox_put_into_backend(mbox, entry, ready);
    return mbox_finds_room(mbox, entry) ? 0 : -EAGAIN;
}

/* Whether only places leave @entry no room. */
static bool is_held_up_by_places(const struct mbox *mbox, const struct mbox_entry *entry)
{
    return mbox_fits(mbox, entry->msg->size_bytes) && !mbox_finds_room(mbox, entry);
}

/* @entry, which waits first, need not hold up those behind it. */
static void put_behind_places(struct mbox *mbox, struct mbox_entry *entry)
{
    msgq_remove(&mbox->pending, entry);
    TAILQ_INSERT_TAIL(&mbox->behind_places, entry, link);
    entry->is_behind_places = true;
}

static bool is_before(const struct mbox_entry *a, const struct mbox_entry *b)
{
    return a->msg->prio > b->msg->prio || (a->msg->prio == b->msg->prio && a->seq < b->seq);
}

/* In a mailbox without a backend. Return: of those who wait, who comes next, if there is room; NULL: nobody. */
static struct mbox_entry *first_pending(struct mbox *mbox)
{
    struct mbox_entry *behind;
    struct mbox_entry *entry;

    while ((entry = msgq_first(&mbox->pending)) && is_held_up_by_places(mbox, entry))
        put_behind_places(mbox, entry);
    behind = TAILQ_FIRST(&mbox->behind_places);
    if (!entry || !behind)
        return entry ? entry : behind;
    return is_before(behind, entry) && !is_held_up_by_places(mbox, behind) ? behind : entry;
}

bool mbox_is_behind_others(const struct mbox *mbox, unsigned int prio)
{
    const struct mbox_entry *behind = TAILQ_FIRST(&mbox->behind_places);

    if (msgq_has_at_least(&mbox->pending, prio))
        return true;
    return behind && behind->msg->prio >= prio && !is_held_up_by_places(mbox, behind);
}

/* Lets in, in their order, the senders for whom there is room now. */
static void admit_pending(struct mbox *mbox, struct mbox_ready *ready)
{
    struct mbox_entry *entry;

    while (!mbox_is_rendezvous(mbox) &&
           (entry = mbox->backend ? msgq_first(&mbox->pending) : first_pending(mbox))) {
        int r = admit_first(mbox, entry, ready);

        if (r == -EAGAIN)
            break;
        mbox_pending_remove(mbox, entry);
        if (!mbox->backend) {
            mbox_admit(mbox, entry, 0, ready);
            continue;
        }
        if (r == SETTLE_STAGED) {
            mbox_begin_posting(mbox, entry);
            continue;
        }
        mbox_poster_finish(entry, r, ready);
        mbox_entry_free(entry);
    }
}

static bool settle_is_readable(struct mbox *mbox)
{
    return source(mbox)->occupied || mbox->failure ||
           (mbox->backend && mbox->backend->ops->readiness(mbox->backend) & MBOX_READABLE);
}

static bool settle_is_writable(const struct mbox *mbox, unsigned int prio)
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
    return !mbox_is_behind_others(mbox, prio) && mbox_fits(mbox, 1);
}

unsigned int mbox_readiness(struct mbox *mbox, unsigned int prio)
{
    if (mbox->removed)
        return MBOX_REMOVED;
    if (mbox->closed)
        return MBOX_CLOSED | MBOX_READABLE | MBOX_WRITABLE;
    return (settle_is_readable(mbox) ? MBOX_READABLE : 0) |
           (settle_is_writable(mbox, prio) ? MBOX_WRITABLE : 0);
}

void mbox_settle_locked(struct mbox *mbox, unsigned int events, struct mbox_ready *ready)
{
    if (mbox_expire(mbox, ready))
        events |= MBOX_WRITABLE;
    do
        admit_pending(mbox, ready);
    while (serve_takers(mbox, ready) && mbox_has_pending(mbox));
    calls_tell(mbox, ready);
    if (!TAILQ_EMPTY(&mbox->watches))
        mbox_wake(mbox, mbox_readiness(mbox, MOST_URGENT) & events);
    if (mbox->feed)
        mbox_feed_tell(mbox, ready);
}

void mbox_fail(struct mbox *mbox, int result, struct mbox_ready *ready)
{
    if (TAILQ_EMPTY(&mbox->takers))
        mbox->failure = result;
    while (!TAILQ_EMPTY(&mbox->takers))
        mbox_taker_finish(mbox, TAILQ_FIRST(&mbox->takers), result, ready);
    mbox_wake(mbox, MBOX_READABLE);
}

void mbox_catch_up(struct mbox *mbox, struct mbox_ready *ready)
{
    if ((mbox->backend && (mbox->pending.occupied || !TAILQ_EMPTY(&mbox->takers))) ||
        mbox_has_expired(mbox))
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
    struct mbox_entry *entry;

    TAILQ_FOREACH(entry, &mbox->behind_places, link)
        entry->is_behind_places = false;
    msgq_put_all_back(&mbox->pending, &mbox->behind_places);
}

int mbox_rejudge(struct mbox *mbox, const struct mbox_entry *entry)
{
    /* What has its place goes in, however full the mailbox is; in a rendezvous it waits. */
    if (entry->poster && entry->poster->has_place)
        return mbox_is_rendezvous(mbox) ? -EAGAIN : 0;
    if (entry->msg->size_bytes > mbox->limits.bytes)
        return -EMSGSIZE;
    if (!mbox_is_rendezvous(mbox))
        return mbox_make_room(mbox, entry);
    if (entry->is_place)
        return 0;
    if (mbox->limits.overflow == MBOX_OVERFLOW_REJECT) {
        mbox->stat.n_rejected++;
        return -ENOBUFS;
    }
    return -EAGAIN;
}

void mbox_finish_judged(struct mbox *mbox, struct mbox_entry *entry, int r,
                        struct mbox_ready *ready)
{
    if (r >= 0) {
        mbox_admit(mbox, entry, r, ready);
        return;
    }
    mbox_poster_finish(entry, r, ready);
    mbox_entry_free(entry);
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
