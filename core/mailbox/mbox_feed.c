/* The mailbox's side of a topic (topic.c).
 *
 * Being told is an op like any other: it is put in the list of those that are ready, and completes when no lock is held. The
 * counts of those that block or are full are kept at each change, so that a publisher looks into none of them while there are
 * none. */
#include "mbox_feed.h"

#include "mbox_queue.h"
#include "mbox_settle.h"

static bool has_taker_for(const struct mbox *mbox, size_t size_bytes)
{
    const struct mbox_op *op;

    TAILQ_FOREACH(op, &mbox->takers, link) {
        if (op->max_bytes >= size_bytes)
            return true;
    }
    return false;
}

static bool fits(const struct mbox *mbox, size_t size_bytes)
{
    return mbox_is_rendezvous(mbox) ? has_taker_for(mbox, size_bytes) : mbox_fits(mbox, size_bytes);
}

static bool blocks(const struct mbox *mbox)
{
    return !mbox->removed && mbox->limits.overflow == MBOX_OVERFLOW_BLOCK;
}

/* Whether a message of @size_bytes has to wait; one that never fits does not. */
static bool makes_wait(const struct mbox *mbox, size_t size_bytes)
{
    return blocks(mbox) && size_bytes <= mbox->limits.bytes && !fits(mbox, size_bytes);
}

bool mbox_feed_has_room(struct mbox *mbox, size_t size_bytes)
{
    struct mbox_feed *feed = mbox->feed;
    bool has_room;

    pthread_mutex_lock(&mbox->lock);
    has_room = !makes_wait(mbox, size_bytes);
    if (!has_room) {
        feed->is_awaited = true;
        feed->awaited_bytes = size_bytes;
    }
    pthread_mutex_unlock(&mbox->lock);
    return has_room;
}

void mbox_feed_lose(struct mbox *mbox)
{
    mbox->feed->n_missed++;
    atomic_fetch_add_explicit(&mbox->feed->counts->n_dropped, 1, memory_order_relaxed);
}

/* Return: whether @entry may go in. */
static bool make_room(struct mbox *mbox, const struct mbox_entry *entry)
{
    if (entry->msg->size_bytes > mbox->limits.bytes)
        return false;
    if (fits(mbox, entry->msg->size_bytes))
        return true;
    switch (mbox->limits.overflow) {
    case MBOX_OVERFLOW_REJECT:
        return false;
    case MBOX_OVERFLOW_DROP_OLDEST:
        return !mbox_is_rendezvous(mbox) &&
               mbox_drop_until_within(mbox, entry) != MBOX_DROPS_ITSELF;
    case MBOX_OVERFLOW_BLOCK:
        break;
    }
    return true;
}

static void count_refused(struct mbox *mbox)
{
    if (mbox->limits.overflow == MBOX_OVERFLOW_REJECT) {
        mbox->stat.n_rejected++;
        mbox_feed_lose(mbox);
    } else {
        mbox_count_dropped(mbox);
    }
}

/* Return: an entry for @msg that is charged; NULL: who has the mailbox may not have more, or memory is short. */
static struct mbox_entry *new_entry(struct mbox *mbox, struct msg *msg)
{
    struct quota *quota = &mbox->domain->quota;
    struct mbox_entry *entry;

    if (mbox_entry_new_own(msg, quota, mbox->feed->uid, &entry) < 0)
        return NULL;
    if (mbox_entry_share_charge(entry, quota) == 0)
        return entry;
    mbox_entry_free(entry);
    return NULL;
}

static bool put_locked(struct mbox *mbox, struct msg *msg, struct mbox_ready *ready)
{
    struct mbox_entry *entry = new_entry(mbox, msg);
    bool goes_in = entry && make_room(mbox, entry);

    if (goes_in) {
        entry->seq = ++mbox->last_seq;
        mbox_count_sent(mbox, entry);
        mbox_queue_push(mbox, entry);
    } else {
        count_refused(mbox);
        mbox_entry_free(entry);
    }
    mbox_settle_locked(mbox, MBOX_READABLE, ready);
    return goes_in;
}

bool mbox_feed_put(struct mbox *mbox, struct msg *msg, struct mbox_ready *ready)
{
    bool has_it = false;

    pthread_mutex_lock(&mbox->lock);
    if (!mbox->removed)
        has_it = put_locked(mbox, msg, ready);
    pthread_mutex_unlock(&mbox->lock);
    return has_it;
}

/* Keeps *@is, one of those that @count counts, at @now. */
static void keep_count(_Atomic uint64_t *count, bool *is, bool now)
{
    if (*is == now)
        return;
    *is = now;
    if (now)
        atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
}

static void wake(struct mbox *mbox, struct mbox_ready *ready)
{
    struct mbox_feed *feed = mbox->feed;

    if (feed->is_waking)
        return;
    feed->is_waking = true;
    mbox_ref(mbox);
    TAILQ_INSERT_TAIL(ready, &feed->wake, link);
}

void mbox_feed_tell(struct mbox *mbox, struct mbox_ready *ready)
{
    struct mbox_feed *feed = mbox->feed;
    bool was_full = feed->is_full;
    bool is_told = !mbox->removed || feed->is_ended;

    keep_count(&feed->counts->n_blocking, &feed->blocks, blocks(mbox));
    keep_count(&feed->counts->n_full, &feed->is_full, makes_wait(mbox, 1));
    if (mbox->removed) {
        keep_count(&feed->counts->n_kept, &feed->is_kept, false);
        feed->is_ended = true;
    }
    if (!is_told || (was_full && !feed->is_full) ||
        (feed->is_awaited && !makes_wait(mbox, feed->awaited_bytes))) {
        feed->is_awaited = false;
        wake(mbox, ready);
    }
}

bool mbox_feed_woken(struct mbox *mbox)
{
    bool removed;

    pthread_mutex_lock(&mbox->lock);
    mbox->feed->is_waking = false;
    removed = mbox->removed;
    pthread_mutex_unlock(&mbox->lock);
    return removed;
}

void mbox_feed_set_uid(struct mbox *mbox, uid_t uid)
{
    pthread_mutex_lock(&mbox->lock);
    mbox->feed->uid = uid;
    pthread_mutex_unlock(&mbox->lock);
}

void mbox_feed_launch(struct mbox *mbox, struct mbox_entry *entry)
{
    entry->n_missed = mbox->feed->n_missed;
    mbox->feed->n_missed = 0;
}

void mbox_feed_land(struct mbox *mbox, struct mbox_entry *entry)
{
    mbox->feed->n_missed += entry->n_missed;
    entry->n_missed = 0;
}
