/* The messages that are in a mailbox, in a queue with an index by id, and the bounds that they keep to.
 *
 * The queue owns the entries in it. The index is made when somebody first asks for a
 * message by its id, and forgotten when the queue is empty. All under the mailbox's lock. */
#include "journal.h"
#include "mbox_queue.h"

#include <errno.h>

#include "calls.h"
#include "mbox_cursor.h"
#include "mbox_missed.h"

/* Whether the bounds allow @n messages of @n_bytes bytes in all, besides those that the journal is told of. */
static bool is_within(const struct mbox *mbox, uint64_t n, uint64_t n_bytes)
{
    return n + mbox->n_posting <= mbox->limits.messages &&
           n_bytes + mbox->n_posting_bytes <= mbox->limits.bytes;
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

bool mbox_finds_room(const struct mbox *mbox, const struct mbox_entry *entry)
{
    return fits_beside(
        mbox, entry->msg->size_bytes,
        places_count_for(&mbox->places, mbox->limits.messages, entry->msg->sender.uid));
}

static void index_add(struct mbox *mbox, struct mbox_entry *entry)
{
    if (!mbox->is_indexed)
        return;
    HASH_ADD_KEYPTR(hh, mbox->by_id, &entry->msg->id, sizeof(entry->msg->id), entry);
    /* Without memory for the index there is none; it is made again when it is wanted. */
    if (!hash_added(entry, hh)) {
        HASH_CLEAR(hh, mbox->by_id);
        mbox->is_indexed = false;
    }
}

void mbox_queue_push(struct mbox *mbox, struct mbox_entry *entry)
{
    msgq_push(&mbox->queue, entry);
    index_add(mbox, entry);
}

void mbox_queue_put_back(struct mbox *mbox, struct mbox_entry *entry)
{
    msgq_put_back(&mbox->queue, entry);
    index_add(mbox, entry);
}

void mbox_queue_remove(struct mbox *mbox, struct mbox_entry *entry)
{
    mbox_cursors_move_on(mbox, entry);
    msgq_remove(&mbox->queue, entry);
    if (mbox->is_indexed)
        HASH_DELETE(hh, mbox->by_id, entry);
    /* Who only sends and receives does not pay for an index for ever. */
    if (!mbox->queue.occupied)
        mbox->is_indexed = false;
}

static void build_index(struct mbox *mbox)
{
    struct mbox_entry *entry = msgq_first(&mbox->queue);

    mbox->is_indexed = entry;
    while (entry && mbox->is_indexed) {
        index_add(mbox, entry);
        entry = msgq_next(&mbox->queue, entry);
    }
}

struct mbox_entry *mbox_find_locked(struct mbox *mbox, uint64_t id)
{
    struct mbox_entry *entry;

    if (!mbox->is_indexed)
        build_index(mbox);
    if (mbox->is_indexed) {
        HASH_FIND(hh, mbox->by_id, &id, sizeof(id), entry);
        return entry;
    }
    entry = msgq_first(&mbox->queue);
    while (entry && entry->msg->id != id)
        entry = msgq_next(&mbox->queue, entry);
    return entry;
}

/* One call drops no more messages than this, which takes about a millisecond. Where that is not enough
 * (the bounds have shrunk, or a large message comes to very many small ones) the queue stays over its
 * bounds, and the next calls go on. */
#define DROPS_MAX 4096

int mbox_drop_until_within(struct mbox *mbox, const struct mbox_entry *newcomer)
{
    uint64_t n_more = newcomer ? 1 : 0;
    uint64_t n_bytes_more = newcomer ? newcomer->msg->size_bytes : 0;

    for (unsigned int n = 0; n < DROPS_MAX && mbox->queue.occupied; n++) {
        struct mbox_entry *least = msgq_least(&mbox->queue);

        if (is_within(mbox, mbox->queue.n_messages + n_more, mbox->queue.n_bytes + n_bytes_more))
            break;
        if (newcomer && least->msg->prio > newcomer->msg->prio)
            return MBOX_DROPS_ITSELF;
        mbox_queue_remove(mbox, least);
        calls_end(mbox, least->msg, -ECANCELED);
        mbox_entry_free(least);
        mbox_count_dropped(mbox);
    }
    return 0;
}

void mbox_count_dropped(struct mbox *mbox)
{
    mbox->stat.n_dropped++;
    if (mbox->feed)
        mbox_feed_lose(mbox);
}

uint64_t mbox_new_id(struct mbox *mbox)
{
    struct mbox_domain *domain = mbox->domain;
    uint64_t id = atomic_fetch_add_explicit(&domain->last_id, 1, memory_order_relaxed) + 1;

    if (id == atomic_load_explicit(&domain->ids_wanted, memory_order_relaxed))
        domain->journal->ops->need_ids(domain->journal);
    return id;
}

void mbox_stamp(struct mbox *mbox, struct mbox_entry *entry)
{
    if (!entry->msg->is_call)
        entry->msg->id = mbox_new_id(mbox);
    entry->seq = ++mbox->last_seq;
    entry->msg->arrived = mbox_now();
}

void mbox_count_sent(struct mbox *mbox, const struct mbox_entry *entry)
{
    mbox->stat.n_sent++;
    mbox->stat.last_send = entry->msg->arrived;
}

void mbox_count_received(struct mbox *mbox)
{
    mbox->stat.n_received++;
    mbox->stat.last_receive = mbox_now();
}

static void enqueue(struct mbox *mbox, struct mbox_entry *entry)
{
    mbox_stamp(mbox, entry);
    mbox_count_sent(mbox, entry);
    calls_note_sent(mbox, entry->msg);
    mbox_queue_push(mbox, entry);
}

void mbox_let_in(struct mbox *mbox, struct mbox_entry *entry, int room)
{
    if (room == MBOX_DROPS_ITSELF) {
        mbox_stamp(mbox, entry);
        mbox_count_sent(mbox, entry);
        mbox->stat.n_dropped++;
        calls_note_sent(mbox, entry->msg);
        calls_end(mbox, entry->msg, -ECANCELED);
        mbox_entry_free(entry);
    } else if (entry->is_place) {
        mbox_entry_leave_charge(entry);
        places_take(&mbox->places, entry);
    } else {
        enqueue(mbox, entry);
    }
}

int mbox_make_room(struct mbox *mbox, const struct mbox_entry *entry)
{
    if (mbox_finds_room(mbox, entry))
        return 0;
    switch (mbox->limits.overflow) {
    case MBOX_OVERFLOW_REJECT:
        mbox->stat.n_rejected++;
        return -ENOBUFS;
    case MBOX_OVERFLOW_DROP_OLDEST:
        return entry->is_place ? 0 : mbox_drop_until_within(mbox, entry);
    case MBOX_OVERFLOW_BLOCK:
        break;
    }
    return -EAGAIN;
}
