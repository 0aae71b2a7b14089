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
 *     flight, unless who has it says otherwise (msg_discharge).
 * settle() restores the first two after any change.
 *
 * With a store, the ways are: post ──> store ──> in flight, and back to the queue, which goes first. */
#include "mbox.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "mbox_cursor.h"

void mbox_domain_init(struct mbox_domain *domain, uint64_t max_bytes, uint64_t uid_bytes)
{
    quota_init(&domain->quota, max_bytes, uid_bytes);
    atomic_init(&domain->last_id, 0);
}

void mbox_domain_deinit(struct mbox_domain *domain)
{
    quota_deinit(&domain->quota);
}

void mbox_init(struct mbox *mbox, struct mbox_domain *domain, void (*release)(struct mbox *mbox))
{
    *mbox = (struct mbox){
        .n_refs = 1,
        .release = release,
        .domain = domain,
        .limits = MBOX_LIMITS_DEFAULT,
    };
    pthread_mutex_init(&mbox->lock, NULL);
    msgq_init(&mbox->queue);
    msgq_init(&mbox->pending);
    TAILQ_INIT(&mbox->behind_places);
    TAILQ_INIT(&mbox->takers);
    TAILQ_INIT(&mbox->watches);
}

void mbox_deinit(struct mbox *mbox)
{
    assert(mbox->removed);
    assert(!mbox->queue.occupied && !mbox->pending.occupied && TAILQ_EMPTY(&mbox->behind_places));
    assert(mbox->places.n == 0);
    assert(TAILQ_EMPTY(&mbox->takers) && TAILQ_EMPTY(&mbox->watches));
    pthread_mutex_destroy(&mbox->lock);
}

struct mbox *mbox_ref(struct mbox *mbox)
{
    /* Relaxed: as msg_ref. */
    atomic_fetch_add_explicit(&mbox->n_refs, 1, memory_order_relaxed);
    return mbox;
}

struct mbox *mbox_try_ref(struct mbox *mbox)
{
    unsigned int n = atomic_load_explicit(&mbox->n_refs, memory_order_relaxed);

    /* Relaxed: as msg_ref; the table's lock orders the rest. */
    while (n > 0 && !atomic_compare_exchange_weak_explicit(
                        &mbox->n_refs, &n, n + 1, memory_order_relaxed, memory_order_relaxed))
        ;
    return n > 0 ? mbox : NULL;
}

void mbox_unref(struct mbox *mbox)
{
    if (atomic_fetch_sub_explicit(&mbox->n_refs, 1, memory_order_acq_rel) == 1)
        mbox->release(mbox);
}

static bool is_rendezvous(const struct mbox *mbox)
{
    return mbox->limits.messages == 0;
}

static struct timespec now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return ts;
}

static void op_finish(struct mbox_op *op, int result, struct mbox_ready *ready)
{
    op->state = MBOX_OP_DONE;
    op->result = result;
    TAILQ_INSERT_TAIL(ready, op, link);
}

/* Ends the send that waits for @msg, if one does. */
static void poster_finish(struct msg *msg, int result, struct mbox_ready *ready)
{
    struct mbox_op *op = msg->poster;

    if (!op)
        return;
    msg->poster = NULL;
    op->msg = NULL;
    op_finish(op, result, ready);
}

/* @msg, linked nowhere any more, leaves the mailbox undelivered. */
static void discard(struct msg *msg)
{
    msg_discharge(msg);
    msg_unref(msg);
}

/* Whether the bounds allow @n messages of @n_bytes bytes in all. */
static bool is_within(const struct mbox *mbox, uint64_t n, uint64_t n_bytes)
{
    return n <= mbox->limits.messages && n_bytes <= mbox->limits.bytes;
}

/* Whether a message of @size_bytes finds room besides @n_places. */
static bool fits_beside(const struct mbox *mbox, size_t size_bytes, uint64_t n_places)
{
    return is_within(mbox, mbox->queue.n_messages + n_places + 1, mbox->queue.n_bytes + size_bytes);
}

/* Whether a message of @size_bytes finds room, if its sender holds no place. */
static bool fits(const struct mbox *mbox, size_t size_bytes)
{
    return fits_beside(mbox, size_bytes, places_count(&mbox->places, mbox->limits.messages));
}

static bool finds_room(const struct mbox *mbox, const struct msg *msg)
{
    return fits_beside(mbox, msg->size_bytes,
                       places_count_for(&mbox->places, mbox->limits.messages, msg->sender.uid));
}

static void index_add(struct mbox *mbox, struct msg *msg)
{
    if (!mbox->is_indexed)
        return;
    HASH_ADD(hh, mbox->by_id, id, sizeof(msg->id), msg);
    /* Without memory for the index there is none; it is made again when it is wanted. */
    if (!hash_added(msg, hh)) {
        HASH_CLEAR(hh, mbox->by_id);
        mbox->is_indexed = false;
    }
}

static void queue_push(struct mbox *mbox, struct msg *msg)
{
    msgq_push(&mbox->queue, msg);
    index_add(mbox, msg);
}

static void queue_put_back(struct mbox *mbox, struct msg *msg)
{
    msgq_put_back(&mbox->queue, msg);
    index_add(mbox, msg);
}

static void queue_remove(struct mbox *mbox, struct msg *msg)
{
    mbox_cursors_move_on(mbox, msg);
    msgq_remove(&mbox->queue, msg);
    if (mbox->is_indexed)
        HASH_DELETE(hh, mbox->by_id, msg);
    /* Who only sends and receives does not pay for an index for ever. */
    if (!mbox->queue.occupied)
        mbox->is_indexed = false;
}

/* The newcomer is itself what drop-oldest drops. */
#define DROPS_ITSELF 1

/* One call drops no more messages than this, which takes about a millisecond. Where that is not enough
 * (the bounds have shrunk, or a large message comes to very many small ones) the queue stays over its
 * bounds, and the next calls go on. */
#define DROPS_MAX 4096

/* Drops what is least until the bounds allow @newcomer too, which may be NULL.
 * Return: 0; DROPS_ITSELF: of what is left, all is more urgent than @newcomer. */
static int drop_until_within(struct mbox *mbox, const struct msg *newcomer)
{
    uint64_t n_more = newcomer ? 1 : 0;
    uint64_t n_bytes_more = newcomer ? newcomer->size_bytes : 0;

    for (unsigned int n = 0; n < DROPS_MAX && mbox->queue.occupied; n++) {
        struct msg *least = msgq_least(&mbox->queue);

        if (is_within(mbox, mbox->queue.n_messages + n_more, mbox->queue.n_bytes + n_bytes_more))
            break;
        if (newcomer && least->prio > newcomer->prio)
            return DROPS_ITSELF;
        queue_remove(mbox, least);
        discard(least);
        mbox->stat.n_dropped++;
    }
    return 0;
}

static void stamp(struct mbox *mbox, struct msg *msg)
{
    msg->id = atomic_fetch_add_explicit(&mbox->domain->last_id, 1, memory_order_relaxed) + 1;
    msg->seq = ++mbox->last_seq;
    msg->arrived = now();
}

static void count_sent(struct mbox *mbox, const struct msg *msg)
{
    mbox->stat.n_sent++;
    mbox->stat.last_send = msg->arrived;
}

static void count_received(struct mbox *mbox)
{
    mbox->stat.n_received++;
    mbox->stat.last_receive = now();
}

static void enqueue(struct mbox *mbox, struct msg *msg)
{
    stamp(mbox, msg);
    count_sent(mbox, msg);
    queue_push(mbox, msg);
}

/* Lets @msg in: a message into the queue, a place as a count (its charge goes on). @room is as make_room
 * says: what drops itself was sent, and is gone. */
static void admit(struct mbox *mbox, struct msg *msg, int room)
{
    if (room == DROPS_ITSELF) {
        stamp(mbox, msg);
        count_sent(mbox, msg);
        mbox->stat.n_dropped++;
        discard(msg);
    } else if (msg->is_place) {
        places_take(&mbox->places, msg->sender.uid);
        msg_leave_charge(msg);
        msg_unref(msg);
    } else {
        enqueue(mbox, msg);
    }
}

static void wake(struct mbox *mbox, unsigned int events)
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
    return mbox->queue.occupied || !is_rendezvous(mbox) ? &mbox->queue : &mbox->pending;
}

static bool has_pending(const struct mbox *mbox)
{
    return mbox->pending.occupied || !TAILQ_EMPTY(&mbox->behind_places);
}

static void pending_remove(struct mbox *mbox, struct msg *msg)
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
        queue_remove(mbox, msg);
    else
        pending_remove(mbox, msg);
    if (msg->poster)
        msg->poster->state = MBOX_OP_IN_FLIGHT;
    else
        count_received(mbox);
}

/* Somebody is going to wait for @events. */
static void want(struct mbox *mbox, unsigned int events)
{
    if (mbox->store)
        mbox->store->ops->want(mbox->store, events);
}

/* Hands out the next message. Return: 0: it is in flight; -EAGAIN: there is none; -EMSGSIZE: it is
 * longer than @op takes, and stays; what a store says. */
static int next_message(struct mbox *mbox, const struct mbox_op *op, struct msg **ret_msg)
{
    struct msg *msg = msgq_first(source(mbox));
    int r = 0;

    if (msg && msg->size_bytes > op->max_bytes)
        return -EMSGSIZE;
    if (msg) {
        launch(mbox, msg);
    } else if (mbox->store) {
        r = mbox->store->ops->get(mbox->store, op, &msg);
        if (r == 0 && msg->id == 0)
            stamp(mbox, msg);
        if (r == 0)
            count_received(mbox);
    } else {
        r = -EAGAIN;
    }
    if (r == 0)
        *ret_msg = msg;
    return r;
}

/* Ends the wait of a receiver. */
static void taker_finish(struct mbox *mbox, struct mbox_op *op, int result,
                         struct mbox_ready *ready)
{
    TAILQ_REMOVE(&mbox->takers, op, link);
    mbox->stat.n_receivers_waiting--;
    op_finish(op, result, ready);
}

static bool tells_each(const struct mbox *mbox)
{
    return mbox->store && mbox->store->ops->tells_each;
}

/* Gives waiting receivers what there is, in the order they came. Return: whether there was. */
static bool serve_takers(struct mbox *mbox, struct mbox_ready *ready)
{
    struct mbox_op *op;
    struct mbox_op *next;
    bool served = false;

    for (op = TAILQ_FIRST(&mbox->takers); op; op = next) {
        struct msg *msg = NULL;
        int r = next_message(mbox, op, &msg);

        next = TAILQ_NEXT(op, link);
        if (r == -EAGAIN && tells_each(mbox))
            continue;
        if (r == -EAGAIN)
            break;
        op->msg = msg;
        taker_finish(mbox, op, r, ready);
        served = served || r == 0;
    }
    return served;
}

/* In a mailbox that is no rendezvous: makes room for @msg where that is the policy.
 * Return: 0: it may go in now; DROPS_ITSELF; -EAGAIN: it must wait; -ENOBUFS. */
static int make_room(struct mbox *mbox, const struct msg *msg)
{
    if (finds_room(mbox, msg))
        return 0;
    switch (mbox->limits.overflow) {
    case MBOX_OVERFLOW_REJECT:
        mbox->stat.n_rejected++;
        return -ENOBUFS;
    case MBOX_OVERFLOW_DROP_OLDEST:
        return msg->is_place ? 0 : drop_until_within(mbox, msg);
    case MBOX_OVERFLOW_BLOCK:
        break;
    }
    return -EAGAIN;
}

/* Return: 0: @msg, which waits first, goes in now, and its charge is over where it is copied elsewhere;
 * -EAGAIN: it waits on; what a store says. */
static int admit_first(struct mbox *mbox, struct msg *msg)
{
    if (mbox->store)
        return mbox->store->ops->put(mbox->store, msg);
    return finds_room(mbox, msg) ? 0 : -EAGAIN;
}

/* Whether only places leave @msg no room. */
static bool is_held_up_by_places(const struct mbox *mbox, const struct msg *msg)
{
    return fits(mbox, msg->size_bytes) && !finds_room(mbox, msg);
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

/* In a mailbox without a store. Return: of those who wait, who comes next, if there is room; NULL: nobody. */
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

/* Whether a new message of @prio has to wait because others do. */
static bool is_behind_others(const struct mbox *mbox, unsigned int prio)
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

    while (!is_rendezvous(mbox) &&
           (msg = mbox->store ? msgq_first(&mbox->pending) : first_pending(mbox))) {
        int r = admit_first(mbox, msg);

        if (r == -EAGAIN)
            break;
        pending_remove(mbox, msg);
        poster_finish(msg, r, ready);
        if (!mbox->store) {
            admit(mbox, msg, 0);
            continue;
        }
        if (r == 0)
            count_sent(mbox, msg);
        discard(msg);
    }
}

static bool is_readable(struct mbox *mbox)
{
    return source(mbox)->occupied ||
           (mbox->store && mbox->store->ops->readiness(mbox->store) & MBOX_READABLE);
}

static bool is_writable(const struct mbox *mbox)
{
    if (mbox->store)
        return !mbox->pending.occupied && mbox->store->ops->readiness(mbox->store) & MBOX_WRITABLE;
    if (mbox->limits.overflow == MBOX_OVERFLOW_REJECT)
        return true;
    if (is_rendezvous(mbox))
        return !TAILQ_EMPTY(&mbox->takers);
    if (mbox->limits.overflow == MBOX_OVERFLOW_DROP_OLDEST)
        return true;
    return !is_behind_others(mbox, 0) && fits(mbox, 1);
}

static unsigned int readiness(struct mbox *mbox)
{
    if (mbox->removed)
        return MBOX_REMOVED;
    if (mbox->closed)
        return MBOX_CLOSED | MBOX_READABLE | MBOX_WRITABLE;
    return (is_readable(mbox) ? MBOX_READABLE : 0) | (is_writable(mbox) ? MBOX_WRITABLE : 0);
}

/* Restores the invariants after a change, then wakes those who watch for @events, if they hold. */
static void settle(struct mbox *mbox, unsigned int events, struct mbox_ready *ready)
{
    do
        admit_pending(mbox, ready);
    while (serve_takers(mbox, ready) && has_pending(mbox));
    if (!TAILQ_EMPTY(&mbox->watches))
        wake(mbox, readiness(mbox) & events);
}

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
    stamp(mbox, msg);
    op->state = MBOX_OP_WAITING;
    op->msg = msg;
    msg->poster = op;
    msgq_push(&mbox->pending, msg);
    mbox->stat.n_senders_waiting++;
    want(mbox, MBOX_WRITABLE);
    return MBOX_PARKED;
}

/* A rendezvous: settle() will hand @msg to the receiver that waits, if there is one. There is
 * nothing to drop, so with drop-oldest too a sender waits. */
static int post_rendezvous(struct mbox *mbox, struct msg *msg, struct mbox_op *op)
{
    bool meets = !TAILQ_EMPTY(&mbox->takers);

    if (msg->is_place) {
        admit(mbox, msg, 0);
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
    if (!is_behind_others(mbox, msg->prio))
        r = make_room(mbox, msg);
    if (r == -EAGAIN && op && !op->nonblock)
        return park_post(mbox, msg, op);
    if (r < 0)
        return r;
    admit(mbox, msg, r);
    return 0;
}

/* In a rendezvous settle() has offered the message that @op waits with to all who wait for one, and they
 * had too little room for it. Return: 0: it may wait for another; -EAGAIN, -ENOBUFS: it may not. */
static int check_wait(struct mbox *mbox, const struct mbox_op *op)
{
    if (op->state != MBOX_OP_WAITING)
        return 0;
    if (is_rendezvous(mbox) && mbox->limits.overflow == MBOX_OVERFLOW_REJECT && !op->has_place) {
        mbox->stat.n_rejected++;
        return -ENOBUFS;
    }
    return op->nonblock ? -EAGAIN : 0;
}

/* Undoes park_post. */
static void unpark_post(struct mbox *mbox, struct mbox_op *op)
{
    struct msg *msg = op->msg;

    pending_remove(mbox, msg);
    msg->poster = NULL;
    op->msg = NULL;
    op->state = MBOX_OP_IDLE;
    discard(msg);
}

/* Posts @msg, which is charged to its sender. Return: as mbox_post. */
static int post_charged(struct mbox *mbox, struct msg *msg, struct mbox_op *op)
{
    int r = msg_charge(msg, &mbox->domain->quota);

    if (r < 0)
        return r;
    msg_ref(msg);
    if (mbox->store)
        r = park_post(mbox, msg, op);
    else
        r = is_rendezvous(mbox) ? post_rendezvous(mbox, msg, op) : post_queue(mbox, msg, op);
    if (r < 0)
        discard(msg);
    return r;
}

/* Others may have changed what is in the store: those who wait come first. */
static void catch_up(struct mbox *mbox, struct mbox_ready *ready)
{
    if (mbox->store && (mbox->pending.occupied || !TAILQ_EMPTY(&mbox->takers)))
        settle(mbox, MBOX_READABLE | MBOX_WRITABLE, ready);
}

/* What is in a store is charged to whoever the store belongs to; only who waits is charged here. */
static int post_to_store(struct mbox *mbox, struct msg *msg, struct mbox_op *op)
{
    int r = mbox->pending.occupied ? -EAGAIN : mbox->store->ops->put(mbox->store, msg);

    if (r == 0) {
        msg->arrived = now();
        count_sent(mbox, msg);
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
        catch_up(mbox, ready);
    if (r == 0)
        r = mbox->store ? post_to_store(mbox, msg, op) : post_charged(mbox, msg, op);
    if (r >= 0)
        settle(mbox, MBOX_READABLE, ready);
    if (r == MBOX_PARKED && op) {
        int refused = check_wait(mbox, op);

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
    if (is_rendezvous(mbox)) {
        op->has_place = true;
        return park_post(mbox, msg, op);
    }
    if (mbox->limits.overflow == MBOX_OVERFLOW_DROP_OLDEST)
        r = drop_until_within(mbox, msg);
    admit(mbox, msg, r);
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
        discard(msg);
    if (!mbox->removed)
        settle(mbox, MBOX_READABLE, ready);
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

void mbox_unreserve(struct mbox *mbox, struct msg_sender sender, struct mbox_ready *ready)
{
    pthread_mutex_lock(&mbox->lock);
    places_give_back(&mbox->places, sender.uid);
    quota_release(&mbox->domain->quota, sender.uid, MSG_MIN_CHARGE_BYTES);
    if (!mbox->removed)
        settle(mbox, MBOX_WRITABLE, ready);
    pthread_mutex_unlock(&mbox->lock);
}

static int take_locked(struct mbox *mbox, struct mbox_op *op, struct msg **ret_msg,
                       struct mbox_ready *ready)
{
    int r;

    if (mbox->removed)
        return -EIDRM;
    catch_up(mbox, ready);
    if (mbox->store && !tells_each(mbox) && !TAILQ_EMPTY(&mbox->takers))
        r = -EAGAIN;
    else
        r = next_message(mbox, op, ret_msg);
    if (r == 0)
        settle(mbox, MBOX_WRITABLE, ready);
    if (r == -EAGAIN && mbox->closed)
        return -EPIPE;
    if (r != -EAGAIN || op->nonblock)
        return r;
    if (op->cancelled)
        return -EINTR;
    op->state = MBOX_OP_WAITING;
    TAILQ_INSERT_TAIL(&mbox->takers, op, link);
    mbox->stat.n_receivers_waiting++;
    want(mbox, MBOX_READABLE);
    if (is_rendezvous(mbox))
        wake(mbox, MBOX_WRITABLE);
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
    count_sent(mbox, msg);
    count_received(mbox);
    poster_finish(msg, 0, ready);
    pthread_mutex_unlock(&mbox->lock);
}

/* Return: what becomes of the waiting @msg now that the limits may have changed, as make_room. */
static int rejudge(struct mbox *mbox, const struct msg *msg)
{
    /* What has its place goes in, however full the mailbox is; in a rendezvous it waits. */
    if (msg->poster && msg->poster->has_place)
        return is_rendezvous(mbox) ? -EAGAIN : 0;
    if (msg->size_bytes > mbox->limits.bytes)
        return -EMSGSIZE;
    if (!is_rendezvous(mbox))
        return make_room(mbox, msg);
    if (msg->is_place)
        return 0;
    if (mbox->limits.overflow == MBOX_OVERFLOW_REJECT) {
        mbox->stat.n_rejected++;
        return -ENOBUFS;
    }
    return -EAGAIN;
}

/* Ends the wait of the sender of @msg, which is in no queue: with @r, as rejudge() has it. */
static void finish_judged(struct mbox *mbox, struct msg *msg, int r, struct mbox_ready *ready)
{
    poster_finish(msg, r > 0 ? 0 : r, ready);
    if (r >= 0)
        admit(mbox, msg, r);
    else
        discard(msg);
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
    else if (!is_rendezvous(mbox))
        r = rejudge(mbox, msg);
    if (r != -EAGAIN || (op->nonblock && TAILQ_EMPTY(&mbox->takers))) {
        finish_judged(mbox, msg, r, ready);
        return;
    }
    op->state = MBOX_OP_WAITING;
    msgq_put_back(&mbox->pending, msg);
    mbox->stat.n_senders_waiting++;
    settle(mbox, MBOX_READABLE, ready);
    r = check_wait(mbox, op);
    if (r < 0) {
        pending_remove(mbox, msg);
        finish_judged(mbox, msg, r, ready);
    }
}

/* Puts @msg back where it was, as if it had never been taken. */
static void return_to_queue(struct mbox *mbox, struct msg *msg)
{
    msg_recharge(msg, &mbox->domain->quota, msg->sender.uid);
    mbox->stat.n_received--;
    queue_put_back(mbox, msg);
    if (mbox->limits.overflow == MBOX_OVERFLOW_DROP_OLDEST && !is_rendezvous(mbox))
        drop_until_within(mbox, NULL);
}

void mbox_abort(struct mbox *mbox, struct msg *msg, struct mbox_ready *ready)
{
    pthread_mutex_lock(&mbox->lock);
    if ((mbox->removed || mbox->closed) && msg->poster) {
        poster_finish(msg, mbox->removed ? -EIDRM : -EPIPE, ready);
        discard(msg);
    } else if (mbox->removed) {
        discard(msg);
    } else if (msg->poster) {
        return_to_poster(mbox, msg, ready);
    } else {
        return_to_queue(mbox, msg);
    }
    if (!mbox->removed)
        settle(mbox, MBOX_READABLE, ready);
    pthread_mutex_unlock(&mbox->lock);
}

static void cancel_waiting(struct mbox *mbox, struct mbox_op *op, struct mbox_ready *ready)
{
    struct msg *msg = op->msg;

    if (msg) {
        pending_remove(mbox, msg);
        poster_finish(msg, -EINTR, ready);
        discard(msg);
        /* It may have held up others, for whom there is room. */
        settle(mbox, MBOX_READABLE | MBOX_WRITABLE, ready);
    } else {
        taker_finish(mbox, op, -EINTR, ready);
    }
}

void mbox_cancel(struct mbox *mbox, struct mbox_op *op, struct mbox_ready *ready)
{
    pthread_mutex_lock(&mbox->lock);
    if (op->state == MBOX_OP_WAITING)
        cancel_waiting(mbox, op, ready);
    else
        op->cancelled = true;
    pthread_mutex_unlock(&mbox->lock);
}

unsigned int mbox_poll(struct mbox *mbox, struct mbox_watch *watch)
{
    unsigned int ready_for;

    pthread_mutex_lock(&mbox->lock);
    ready_for = readiness(mbox);
    if (watch && !watch->armed && !mbox->removed) {
        watch->armed = true;
        TAILQ_INSERT_TAIL(&mbox->watches, watch, link);
        want(mbox, watch->events);
    }
    pthread_mutex_unlock(&mbox->lock);
    return ready_for;
}

void mbox_unwatch(struct mbox *mbox, struct mbox_watch *watch)
{
    pthread_mutex_lock(&mbox->lock);
    if (watch->armed)
        TAILQ_REMOVE(&mbox->watches, watch, link);
    watch->armed = false;
    pthread_mutex_unlock(&mbox->lock);
}

/* Puts all who wait in one queue again. */
static void gather_pending(struct mbox *mbox)
{
    struct msg *msg;

    TAILQ_FOREACH(msg, &mbox->behind_places, link)
        msg->is_behind_places = false;
    msgq_put_all_back(&mbox->pending, &mbox->behind_places);
}

static void rejudge_pending(struct mbox *mbox, struct mbox_ready *ready)
{
    struct msg *msg;

    gather_pending(mbox);
    msg = msgq_first(&mbox->pending);
    while (msg) {
        struct msg *next = msgq_next(&mbox->pending, msg);
        int r = rejudge(mbox, msg);

        /* The first who must wait on holds up those behind it. */
        if (r == -EAGAIN && !is_rendezvous(mbox))
            return;
        if (r != -EAGAIN) {
            pending_remove(mbox, msg);
            finish_judged(mbox, msg, r, ready);
        }
        msg = next;
    }
}

int mbox_configure(struct mbox *mbox, const char *text, size_t n, struct mbox_ready *ready)
{
    int r;

    pthread_mutex_lock(&mbox->lock);
    r = mbox->removed ? -EIDRM : mbox_limits_parse(&mbox->limits, text, n);
    if (r == 0) {
        rejudge_pending(mbox, ready);
        settle(mbox, MBOX_READABLE | MBOX_WRITABLE, ready);
    }
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

int mbox_get_limits(struct mbox *mbox, struct mbox_limits *ret_limits)
{
    bool removed;

    pthread_mutex_lock(&mbox->lock);
    removed = mbox->removed;
    if (!removed)
        *ret_limits = mbox->limits;
    pthread_mutex_unlock(&mbox->lock);
    return removed ? -EIDRM : 0;
}

int mbox_get_stat(struct mbox *mbox, struct mbox_stat *ret_stat)
{
    bool removed;

    pthread_mutex_lock(&mbox->lock);
    removed = mbox->removed;
    if (!removed) {
        *ret_stat = mbox->stat;
        ret_stat->n_messages = mbox->queue.n_messages;
        ret_stat->n_bytes = mbox->queue.n_bytes;
        ret_stat->n_reserved = mbox->places.n;
    }
    pthread_mutex_unlock(&mbox->lock);
    return removed ? -EIDRM : 0;
}

static void build_index(struct mbox *mbox)
{
    struct msg *msg = msgq_first(&mbox->queue);

    mbox->is_indexed = msg;
    while (msg && mbox->is_indexed) {
        index_add(mbox, msg);
        msg = msgq_next(&mbox->queue, msg);
    }
}

/* Return: message @id of the queue; NULL. */
static struct msg *find_locked(struct mbox *mbox, uint64_t id)
{
    struct msg *msg;

    if (!mbox->is_indexed)
        build_index(mbox);
    if (mbox->is_indexed) {
        HASH_FIND(hh, mbox->by_id, &id, sizeof(id), msg);
        return msg;
    }
    msg = msgq_first(&mbox->queue);
    while (msg && msg->id != id)
        msg = msgq_next(&mbox->queue, msg);
    return msg;
}

struct msg *mbox_find(struct mbox *mbox, uint64_t id)
{
    struct msg *msg;

    pthread_mutex_lock(&mbox->lock);
    msg = find_locked(mbox, id);
    if (msg)
        msg_ref(msg);
    pthread_mutex_unlock(&mbox->lock);
    return msg;
}

struct msg *mbox_hold(struct mbox *mbox, uint64_t id, uid_t uid)
{
    struct msg *msg;

    pthread_mutex_lock(&mbox->lock);
    msg = find_locked(mbox, id);
    if (msg)
        msg_hold(msg, &mbox->domain->quota, uid);
    pthread_mutex_unlock(&mbox->lock);
    return msg;
}

int mbox_pick(struct mbox *mbox, uint64_t id, struct mbox_ready *ready)
{
    struct msg *msg;
    int r = 0;

    pthread_mutex_lock(&mbox->lock);
    msg = find_locked(mbox, id);
    if (mbox->removed)
        r = -EIDRM;
    else if (!msg)
        r = -ENOENT;
    if (r == 0) {
        queue_remove(mbox, msg);
        discard(msg);
        count_received(mbox);
        settle(mbox, MBOX_WRITABLE, ready);
    }
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

/* In the order of their addresses. */
static void lock_two(struct mbox *a, struct mbox *b)
{
    pthread_mutex_lock(a < b ? &a->lock : &b->lock);
    pthread_mutex_lock(a < b ? &b->lock : &a->lock);
}

static void unlock_two(struct mbox *a, struct mbox *b)
{
    pthread_mutex_unlock(&a->lock);
    pthread_mutex_unlock(&b->lock);
}

/* Return: whether one who waits for a message has room for @msg. */
static bool has_taker_for(const struct mbox *mbox, const struct msg *msg)
{
    const struct mbox_op *op;

    TAILQ_FOREACH(op, &mbox->takers, link) {
        if (op->max_bytes >= msg->size_bytes)
            return true;
    }
    return false;
}

/* Return: 0: @msg may move to @to now; DROPS_ITSELF: it is gone then; a negative errno. */
static int make_room_for_move(struct mbox *to, const struct msg *msg)
{
    if (to->removed)
        return -EIDRM;
    if (to->closed)
        return -EPIPE;
    if (msg->size_bytes > to->limits.bytes)
        return -EMSGSIZE;
    if (is_rendezvous(to))
        return has_taker_for(to, msg) ? 0 : -EAGAIN;
    if (is_behind_others(to, msg->prio))
        return -EAGAIN;
    return make_room(to, msg);
}

static int move_locked(struct mbox *mbox, struct mbox *to, uint64_t id, struct mbox_ready *ready)
{
    struct msg *msg = find_locked(mbox, id);
    int r;

    if (mbox->removed)
        return -EIDRM;
    if (!msg)
        return -ENOENT;
    r = make_room_for_move(to, msg);
    if (r < 0)
        return r;
    queue_remove(mbox, msg);
    count_received(mbox);
    msg->seq = ++to->last_seq;
    to->stat.n_sent++;
    to->stat.last_send = mbox->stat.last_receive;
    if (r == DROPS_ITSELF) {
        to->stat.n_dropped++;
        discard(msg);
    } else {
        queue_push(to, msg);
    }
    settle(mbox, MBOX_WRITABLE, ready);
    settle(to, MBOX_READABLE, ready);
    return 0;
}

int mbox_move(struct mbox *mbox, struct mbox *to, uint64_t id, struct mbox_ready *ready)
{
    int r;

    if (mbox == to) {
        struct msg *msg = mbox_find(mbox, id);

        msg_unref(msg);
        return msg ? 0 : -ENOENT;
    }
    lock_two(mbox, to);
    r = move_locked(mbox, to, id, ready);
    unlock_two(mbox, to);
    return r;
}

size_t mbox_takers(struct mbox *mbox, pid_t *ret_who, size_t n_max)
{
    const struct mbox_op *op;
    size_t n = 0;

    pthread_mutex_lock(&mbox->lock);
    TAILQ_FOREACH(op, &mbox->takers, link) {
        if (n == n_max)
            break;
        ret_who[n++] = op->who;
    }
    pthread_mutex_unlock(&mbox->lock);
    return n;
}

static void evict_takers(struct mbox *mbox,
                         bool (*may_receive)(const struct mbox_op *op, void *arg), void *arg,
                         struct mbox_ready *ready)
{
    struct mbox_op *op = TAILQ_FIRST(&mbox->takers);

    while (op) {
        struct mbox_op *next = TAILQ_NEXT(op, link);

        if (!may_receive(op, arg))
            taker_finish(mbox, op, -EBUSY, ready);
        op = next;
    }
}

int mbox_claim(struct mbox *mbox, pid_t pid,
               bool (*may_receive)(const struct mbox_op *op, void *arg), void *arg,
               struct mbox_ready *ready)
{
    int r = 0;

    pthread_mutex_lock(&mbox->lock);
    if (mbox->removed)
        r = -EIDRM;
    else if (mbox->stat.owner_pid)
        r = -EBUSY;
    if (r == 0) {
        mbox->stat.owner_pid = pid;
        evict_takers(mbox, may_receive, arg, ready);
    }
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

pid_t mbox_owner(struct mbox *mbox)
{
    pid_t pid;

    pthread_mutex_lock(&mbox->lock);
    pid = mbox->stat.owner_pid;
    pthread_mutex_unlock(&mbox->lock);
    return pid;
}

/* Who waits, to send or to receive, gets @result. */
static void end_waiting(struct mbox *mbox, int result, struct mbox_ready *ready)
{
    struct msg *msg;

    gather_pending(mbox);
    while ((msg = msgq_first(&mbox->pending))) {
        pending_remove(mbox, msg);
        poster_finish(msg, result, ready);
        discard(msg);
    }
    while (!TAILQ_EMPTY(&mbox->takers))
        taker_finish(mbox, TAILQ_FIRST(&mbox->takers), result, ready);
}

static void close_locked(struct mbox *mbox, struct mbox_ready *ready)
{
    if (mbox->removed || mbox->closed)
        return;
    mbox->closed = true;
    /* No receiver waits while there is a message. */
    end_waiting(mbox, -EPIPE, ready);
    wake(mbox, readiness(mbox));
}

void mbox_close(struct mbox *mbox, struct mbox_ready *ready)
{
    pthread_mutex_lock(&mbox->lock);
    close_locked(mbox, ready);
    pthread_mutex_unlock(&mbox->lock);
}

/* Whether messages wait for a receiver. */
static bool is_occupied(struct mbox *mbox)
{
    return mbox->queue.occupied || (mbox->store && mbox->store->ops->has_messages(mbox->store));
}

static int remove_locked(struct mbox *mbox, bool force, struct mbox_ready *ready)
{
    struct msg *msg;

    if (mbox->removed)
        return -EIDRM;
    if (!force && is_occupied(mbox))
        return -ENOTEMPTY;
    mbox->removed = true;
    if (mbox->ended)
        mbox->ended(mbox);
    mbox->stat.owner_pid = 0;
    HASH_CLEAR(hh, mbox->by_id);
    mbox->is_indexed = false;
    while ((msg = msgq_first(&mbox->queue))) {
        mbox_cursors_move_to_end(msg);
        msgq_remove(&mbox->queue, msg);
        discard(msg);
    }
    end_waiting(mbox, -EIDRM, ready);
    wake(mbox, MBOX_REMOVED);
    if (mbox->store)
        mbox->store->ops->end(mbox->store, ready);
    return 0;
}

int mbox_remove(struct mbox *mbox, bool force, struct mbox_ready *ready)
{
    int r;

    pthread_mutex_lock(&mbox->lock);
    r = remove_locked(mbox, force, ready);
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

/* Return: what those who wait or watch wait for. */
static unsigned int waited_for(const struct mbox *mbox)
{
    unsigned int events = 0;
    const struct mbox_watch *watch;

    if (!TAILQ_EMPTY(&mbox->takers))
        events |= MBOX_READABLE;
    if (has_pending(mbox))
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
        settle(mbox, MBOX_READABLE | MBOX_WRITABLE, ready);
        wake(mbox, events);
        still = waited_for(mbox);
    }
    pthread_mutex_unlock(&mbox->lock);
    return still;
}

void mbox_remove_and_close(struct mbox *removed, struct mbox *closed, struct mbox_ready *ready)
{
    lock_two(removed, closed);
    remove_locked(removed, true, ready);
    close_locked(closed, ready);
    unlock_two(removed, closed);
}

void mbox_ready_run(struct mbox_ready *ready)
{
    struct mbox_op *op;

    while ((op = TAILQ_FIRST(ready))) {
        TAILQ_REMOVE(ready, op, link);
        op->complete(op, ready);
    }
}
