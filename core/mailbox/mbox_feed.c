/* The mailbox's side of a topic (topic.c): each message comes in by itself, or is counted as lost. */
#include "mbox_feed.h"

#include "journal.h"
#include "mbox_feed_tell.h"
#include "mbox_queue.h"
#include "mbox_settle.h"

bool mbox_feed_has_room(struct mbox *mbox, size_t size_bytes)
{
    struct mbox_feed *feed = mbox->feed;
    bool has_room;

    pthread_mutex_lock(&mbox->lock);
    has_room = !mbox_feed_makes_wait(mbox, size_bytes);
    if (!has_room) {
        feed->is_awaited = true;
        feed->awaited_bytes = size_bytes;
    }
    pthread_mutex_unlock(&mbox->lock);
    return has_room;
}

/* Return: whether @entry may go in. */
static bool make_room(struct mbox *mbox, const struct mbox_entry *entry)
{
    if (entry->msg->size_bytes > mbox->limits.bytes)
        return false;
    if (mbox_feed_fits(mbox, entry->msg->size_bytes))
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
static struct mbox_entry *feed_new_entry(struct mbox *mbox, struct msg *msg)
{
    struct mbox_entry *entry;

    if (mbox_feed_charge_entry(mbox) < 0)
        return NULL;
    entry = mbox_entry_new(msg);
    if (!entry || mbox_entry_share_charge(entry, &mbox->domain->quota) == 0)
        return entry;
    mbox_entry_free(entry);
    return NULL;
}

/* The journal is told that @entry is one more copy of what it has as @published. */
static void note_copy(struct mbox *mbox, struct mbox_entry *entry, struct journal_note *published,
                      struct mbox_ready *ready)
{
    struct mbox_journal *journal = mbox->domain->journal;

    if (!published || !mbox_keeps(mbox, entry->msg))
        return;
    if (mbox_entry_prepare_note(entry, journal) == 0)
        journal->ops->copy(journal, published, mbox, entry, ready);
}

/* Nobody is told of it yet. */
static bool feed_put_locked(struct mbox *mbox, struct msg *msg, struct journal_note *published,
                            uint64_t now_ns, struct mbox_ready *ready)
{
    struct mbox_entry *entry = feed_new_entry(mbox, msg);
    bool goes_in = entry && make_room(mbox, entry);

    if (goes_in) {
        entry->seq = ++mbox->last_seq;
        mbox_count_sent(mbox, entry);
        mbox_queue_push_since(mbox, entry, now_ns);
        note_copy(mbox, entry, published, ready);
    } else {
        count_refused(mbox);
        mbox_entry_free(entry);
    }
    return goes_in;
}

bool mbox_feed_put(struct mbox *mbox, struct msg *msg, struct journal_note *published,
                   uint64_t now_ns, struct mbox_ready *ready)
{
    bool has_it = false;

    pthread_mutex_lock(&mbox->lock);
    if (!mbox->removed) {
        has_it = feed_put_locked(mbox, msg, published, now_ns, ready);
        mbox_settle_locked(mbox, MBOX_READABLE, ready);
    }
    pthread_mutex_unlock(&mbox->lock);
    return has_it;
}

size_t mbox_feed_put_many(struct mbox *mbox, struct msg *const *msgs, size_t n, uint64_t now_ns,
                          struct mbox_ready *ready)
{
    size_t n_in = 0;

    pthread_mutex_lock(&mbox->lock);
    for (size_t i = 0; i < n && !mbox->removed; i++) {
        n_in += feed_put_locked(mbox, msgs[i], NULL, now_ns, ready);
        /* Who waits makes room for the next. */
        if (!TAILQ_EMPTY(&mbox->takers) || i + 1 == n)
            mbox_settle_locked(mbox, MBOX_READABLE, ready);
    }
    pthread_mutex_unlock(&mbox->lock);
    return n_in;
}

/* Return: whether a message of @size_bytes may be told of now; for what is oldest room is made when it goes in. */
static bool may_stage(struct mbox *mbox, size_t size_bytes)
{
    if (size_bytes > mbox->limits.bytes)
        return false;
    return mbox->limits.overflow != MBOX_OVERFLOW_REJECT || mbox_feed_fits(mbox, size_bytes);
}

/* Return: an entry for what @published is, with a note, charged; NULL: as feed_new_entry. */
static struct mbox_entry *new_staged(struct mbox *mbox, struct mbox_entry *published)
{
    struct mbox_entry *entry = feed_new_entry(mbox, published->msg);

    if (!entry)
        return NULL;
    if (mbox_entry_prepare_note(entry, mbox->domain->journal) == 0)
        return entry;
    mbox_entry_free(entry);
    return NULL;
}

static enum mbox_feed_stage stage_locked(struct mbox *mbox, struct mbox_entry *published,
                                         struct mbox_entry **ret_entry, struct mbox_ready *ready)
{
    struct mbox_journal *journal = mbox->domain->journal;
    struct mbox_entry *entry;

    if (mbox->removed || mbox_is_rendezvous(mbox) || !mbox_keeps(mbox, published->msg))
        return MBOX_FEED_UNKEPT;
    entry = may_stage(mbox, published->msg->size_bytes) ? new_staged(mbox, published) : NULL;
    if (!entry)
        return MBOX_FEED_REFUSED;
    entry->seq = ++mbox->last_seq;
    mbox_begin_posting(mbox, entry);
    journal->ops->attach(journal, published, mbox, entry);
    mbox_feed_tell(mbox, ready);
    *ret_entry = entry;
    return MBOX_FEED_STAGED;
}

enum mbox_feed_stage mbox_feed_stage(struct mbox *mbox, struct mbox_entry *published,
                                     struct mbox_entry **ret_entry, struct mbox_ready *ready)
{
    enum mbox_feed_stage stage;

    pthread_mutex_lock(&mbox->lock);
    stage = stage_locked(mbox, published, ret_entry, ready);
    pthread_mutex_unlock(&mbox->lock);
    return stage;
}

/* Return: whether @entry, for which others may have to go, is in the queue. */
static bool publish_locked(struct mbox *mbox, struct mbox_entry *entry, uint64_t now_ns)
{
    if (mbox->limits.overflow == MBOX_OVERFLOW_DROP_OLDEST && !make_room(mbox, entry)) {
        mbox_count_dropped(mbox);
        mbox_entry_free(entry);
        return false;
    }
    mbox_count_sent(mbox, entry);
    mbox_queue_push_since(mbox, entry, now_ns);
    return true;
}

bool mbox_feed_publish(struct mbox *mbox, struct mbox_entry *entry, bool is_stored, uint64_t now_ns,
                       struct mbox_ready *ready)
{
    bool has_it = false;

    pthread_mutex_lock(&mbox->lock);
    mbox_end_posting(mbox, entry);
    if (is_stored && !mbox->removed)
        has_it = publish_locked(mbox, entry, now_ns);
    else
        mbox_entry_free(entry);
    if (!mbox->removed)
        mbox_settle_locked(mbox, MBOX_READABLE, ready);
    pthread_mutex_unlock(&mbox->lock);
    return has_it;
}

void mbox_feed_refuse(struct mbox *mbox, struct mbox_ready *ready)
{
    pthread_mutex_lock(&mbox->lock);
    if (!mbox->removed) {
        count_refused(mbox);
        mbox_settle_locked(mbox, MBOX_READABLE, ready);
    }
    pthread_mutex_unlock(&mbox->lock);
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

int mbox_feed_set_uid(struct mbox *mbox, uid_t uid)
{
    struct mbox_feed *feed = mbox->feed;
    int r;

    pthread_mutex_lock(&mbox->lock);
    r = quota_move(&mbox->domain->quota, feed->uid, uid, feed->n_charged * MBOX_ENTRY_CHARGE_BYTES);
    if (r == 0)
        feed->uid = uid;
    pthread_mutex_unlock(&mbox->lock);
    return r;
}
