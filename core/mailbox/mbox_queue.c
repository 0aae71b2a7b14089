/* The messages that are in a mailbox, in a queue with an index by id, and the bounds that they keep to.
 *
 * The queue owns one reference to each message in it. The index is made when somebody first asks for a
 * message by its id, and forgotten when the queue is empty. All under the mailbox's lock. */
#include "mbox_queue.h"

#include <errno.h>

#include "mbox_cursor.h"

void mbox_discard(struct msg *msg)
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

bool mbox_fits(const struct mbox *mbox, size_t size_bytes)
{
    return fits_beside(mbox, size_bytes, places_count(&mbox->places, mbox->limits.messages));
}

bool mbox_finds_room(const struct mbox *mbox, const struct msg *msg)
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

void mbox_queue_push(struct mbox *mbox, struct msg *msg)
{
    msgq_push(&mbox->queue, msg);
    index_add(mbox, msg);
}

void mbox_queue_put_back(struct mbox *mbox, struct msg *msg)
{
    msgq_put_back(&mbox->queue, msg);
    index_add(mbox, msg);
}

void mbox_queue_remove(struct mbox *mbox, struct msg *msg)
{
    mbox_cursors_move_on(mbox, msg);
    msgq_remove(&mbox->queue, msg);
    if (mbox->is_indexed)
        HASH_DELETE(hh, mbox->by_id, msg);
    /* Who only sends and receives does not pay for an index for ever. */
    if (!mbox->queue.occupied)
        mbox->is_indexed = false;
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

struct msg *mbox_find_locked(struct mbox *mbox, uint64_t id)
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

/* One call drops no more messages than this, which takes about a millisecond. Where that is not enough
 * (the bounds have shrunk, or a large message comes to very many small ones) the queue stays over its
 * bounds, and the next calls go on. */
#define DROPS_MAX 4096

int mbox_drop_until_within(struct mbox *mbox, const struct msg *newcomer)
{
    uint64_t n_more = newcomer ? 1 : 0;
    uint64_t n_bytes_more = newcomer ? newcomer->size_bytes : 0;

    for (unsigned int n = 0; n < DROPS_MAX && mbox->queue.occupied; n++) {
        struct msg *least = msgq_least(&mbox->queue);

        if (is_within(mbox, mbox->queue.n_messages + n_more, mbox->queue.n_bytes + n_bytes_more))
            break;
        if (newcomer && least->prio > newcomer->prio)
            return MBOX_DROPS_ITSELF;
        mbox_queue_remove(mbox, least);
        mbox_discard(least);
        mbox->stat.n_dropped++;
    }
    return 0;
}

void mbox_stamp(struct mbox *mbox, struct msg *msg)
{
    msg->id = atomic_fetch_add_explicit(&mbox->domain->last_id, 1, memory_order_relaxed) + 1;
    msg->seq = ++mbox->last_seq;
    msg->arrived = mbox_now();
}

void mbox_count_sent(struct mbox *mbox, const struct msg *msg)
{
    mbox->stat.n_sent++;
    mbox->stat.last_send = msg->arrived;
}

void mbox_count_received(struct mbox *mbox)
{
    mbox->stat.n_received++;
    mbox->stat.last_receive = mbox_now();
}

static void enqueue(struct mbox *mbox, struct msg *msg)
{
    mbox_stamp(mbox, msg);
    mbox_count_sent(mbox, msg);
    mbox_queue_push(mbox, msg);
}

void mbox_let_in(struct mbox *mbox, struct msg *msg, int room)
{
    if (room == MBOX_DROPS_ITSELF) {
        mbox_stamp(mbox, msg);
        mbox_count_sent(mbox, msg);
        mbox->stat.n_dropped++;
        mbox_discard(msg);
    } else if (msg->is_place) {
        places_take(&mbox->places, msg->sender.uid);
        msg_leave_charge(msg);
        msg_unref(msg);
    } else {
        enqueue(mbox, msg);
    }
}

int mbox_make_room(struct mbox *mbox, const struct msg *msg)
{
    if (mbox_finds_room(mbox, msg))
        return 0;
    switch (mbox->limits.overflow) {
    case MBOX_OVERFLOW_REJECT:
        mbox->stat.n_rejected++;
        return -ENOBUFS;
    case MBOX_OVERFLOW_DROP_OLDEST:
        return msg->is_place ? 0 : mbox_drop_until_within(mbox, msg);
    case MBOX_OVERFLOW_BLOCK:
        break;
    }
    return -EAGAIN;
}
