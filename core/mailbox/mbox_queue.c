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

void mbox_lease_link(struct mbox *mbox, struct mbox_entry *entry)
{
    entry->is_leased = true;
    TAILQ_INSERT_TAIL(&mbox->leased, entry, link);
    mbox->stat.n_leased++;
}

void mbox_lease_unlink(struct mbox *mbox, struct mbox_entry *entry)
{
    entry->is_leased = false;
    TAILQ_REMOVE(&mbox->leased, entry, link);
    mbox->stat.n_leased--;
}

/* Return: when @entry has waited long enough. */
static uint64_t end_of(const struct mbox *mbox, const struct mbox_entry *entry)
{
    /* What came before the machine started wraps, and wraps back. */
    int64_t end = (int64_t)(entry->since_ns + mbox->limits.ttl_ns);

    return end > 0 ? (uint64_t)end : 1;
}

static void arm_for(struct mbox *mbox, const struct mbox_entry *entry)
{
    if (mbox->limits.ttl_ns > 0)
        expiry_put(&mbox->domain->expiry, &mbox->expiry_place, end_of(mbox, entry));
}

/* Of one priority the first came first, those that came back too. */
void mbox_arm_expiry(struct mbox *mbox)
{
    for (uint32_t left = mbox->queue.occupied; left; left &= left - 1)
        arm_for(mbox, TAILQ_FIRST(&mbox->queue.levels[__builtin_ctz(left)]));
}

bool mbox_has_expired(const struct mbox *mbox)
{
    const struct mbox_entry *first = msgq_first(&mbox->queue);

    return mbox->limits.ttl_ns > 0 && first && end_of(mbox, first) <= expiry_now();
}

static void expire(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready)
{
    mbox_queue_remove(mbox, entry);
    mbox->stat.n_expired++;
    calls_end(mbox, entry->msg, -ETIMEDOUT);
    if (!mbox->limits.dead[0]) {
        mbox_entry_free(entry);
        return;
    }
    TAILQ_INSERT_TAIL(&mbox->expired, entry, link);
    if (mbox->is_burying)
        return;
    mbox->is_burying = true;
    mbox_ref(mbox);
    TAILQ_INSERT_TAIL(ready, &mbox->undertaker, link);
}

/* One call takes no more out, which takes about a millisecond; the timer's thread goes on. */
#define EXPIRED_AT_ONCE_MAX 4096

bool mbox_expire(struct mbox *mbox, struct mbox_ready *ready)
{
    uint64_t now = mbox->limits.ttl_ns > 0 ? expiry_now() : 0;
    unsigned int n = 0;

    for (uint32_t left = now ? mbox->queue.occupied : 0; left; left &= left - 1) {
        struct mbox_entries *level = &mbox->queue.levels[__builtin_ctz(left)];
        struct mbox_entry *entry;

        while (n < EXPIRED_AT_ONCE_MAX && (entry = TAILQ_FIRST(level)) &&
               end_of(mbox, entry) <= now) {
            expire(mbox, entry, ready);
            n++;
        }
    }
    return n > 0;
}

void mbox_queue_push(struct mbox *mbox, struct mbox_entry *entry)
{
    mbox_queue_push_since(mbox, entry, expiry_now());
}

void mbox_queue_push_since(struct mbox *mbox, struct mbox_entry *entry, uint64_t since_ns)
{
    entry->since_ns = since_ns;
    msgq_push(&mbox->queue, entry);
    index_add(mbox, entry);
    arm_for(mbox, entry);
}

void mbox_queue_put_back(struct mbox *mbox, struct mbox_entry *entry)
{
    /* That of a rendezvous was never in it. */
    if (entry->since_ns == 0)
        entry->since_ns = expiry_now();
    msgq_put_back(&mbox->queue, entry);
    index_add(mbox, entry);
    arm_for(mbox, entry);
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

void mbox_count_received(struct mbox *mbox, uint64_t n)
{
    mbox->stat.n_received += n;
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
