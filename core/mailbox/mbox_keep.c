/* A mailbox and the journal behind it: that it is kept, what the journal tells, what is found again, and batches.
 *
 * Each function takes the mailbox's lock, but where nobody else has the mailbox yet, or the op. */
#include "mbox_keep.h"

#include <assert.h>
#include <errno.h>

#include "mbox_feed_tell.h"
#include "mbox_queue.h"
#include "mbox_settle.h"

int mbox_keep(struct mbox *mbox, enum journal_kind kind, struct mbox *parent)
{
    struct mbox_journal *journal = mbox->domain->journal;

    if (!journal)
        return 0;
    mbox->kept = journal->ops->box_new(journal, mbox, kind, parent);
    if (!mbox->kept)
        return -ENOMEM;
    mbox->limits.durable = MBOX_DURABLE_DAEMON;
    return 0;
}

/* Takes the mailbox's lock. */
bool mbox_is_durable(struct mbox *mbox)
{
    bool is_durable;

    if (!mbox->domain->journal)
        return false;
    pthread_mutex_lock(&mbox->lock);
    is_durable = mbox->kept && mbox->limits.durable != MBOX_DURABLE_NO;
    pthread_mutex_unlock(&mbox->lock);
    return is_durable;
}

/* Takes the mailbox's lock. */
void mbox_note_attributes(struct mbox *mbox)
{
    struct mbox_journal *journal = mbox->domain->journal;

    if (!journal)
        return;
    pthread_mutex_lock(&mbox->lock);
    if (mbox->kept && !mbox->removed)
        journal->ops->configure(journal, mbox, NULL);
    pthread_mutex_unlock(&mbox->lock);
    journal->ops->flush(journal);
}

/* Takes the mailbox's lock. */
int mbox_format_config(struct mbox *mbox, char *text)
{
    int r = -EIDRM;

    pthread_mutex_lock(&mbox->lock);
    if (!mbox->removed && mbox->backend && mbox->backend->ops->format)
        r = (int)mbox->backend->ops->format(mbox->backend, text);
    else if (!mbox->removed)
        r = (int)mbox_limits_format(&mbox->limits, text);
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

/* Return: whether it stays in the mailbox. */
static bool settle_stored(struct mbox *mbox, struct mbox_entry *entry, enum mbox_storing what,
                          int result, struct mbox_ready *ready)
{
    if (mbox->removed)
        return false;
    if (what == MBOX_STORING_POST) {
        /* Nobody waits for it any more, and nobody was told that it was sent. */
        if (result < 0 || !entry->poster)
            return false;
        mbox_count_sent(mbox, entry);
        mbox_queue_push(mbox, entry);
    } else if (what == MBOX_STORING_BEFORE || result == 0 || !entry->note) {
        return false;
    } else {
        mbox->stat.n_received--;
        mbox_queue_put_back(mbox, entry);
    }
    mbox_poster_finish(entry, result, ready);
    if (mbox->limits.overflow == MBOX_OVERFLOW_DROP_OLDEST && !mbox_is_rendezvous(mbox))
        mbox_drop_until_within(mbox, NULL);
    return true;
}

/* Takes the lock. */
void mbox_stored(struct mbox *mbox, struct mbox_entry *entry, int result, struct mbox_ready *ready)
{
    enum mbox_storing what;

    /* The journal may be quicker than who told it, who still has the lock. */
    pthread_mutex_lock(&mbox->lock);
    what = entry->storing;
    mbox_end_posting(mbox, entry);
    if (mbox->backend && what == MBOX_STORING_POST) {
        mbox->backend->ops->stored(mbox->backend, entry, result, ready);
    } else if (!settle_stored(mbox, entry, what, result, ready)) {
        mbox_poster_finish(entry, mbox->removed ? -EIDRM : result, ready);
        mbox_entry_free(entry);
    }
    if (!mbox->removed)
        mbox_settle_locked(mbox, MBOX_READABLE | MBOX_WRITABLE, ready);
    pthread_mutex_unlock(&mbox->lock);
}

/* Return: how long it is since @msg arrived, in ns, by a clock that somebody may have set. */
static uint64_t age_of(const struct msg *msg)
{
    struct timespec now = mbox_now();
    int64_t seconds = (int64_t)now.tv_sec - (int64_t)msg->arrived.tv_sec;
    int64_t ns = seconds * 1000000000 + (now.tv_nsec - msg->arrived.tv_nsec);

    return ns > 0 ? (uint64_t)ns : 0;
}

/* Return: 0: @entry counts for its sender; -ENOMEM. */
static int charge_found(struct mbox *mbox, struct mbox_entry *entry, const struct mbox_found *found)
{
    struct quota *quota = &mbox->domain->quota;
    int r = 0;

    if (found->is_copy)
        r = mbox_entry_share_charge(entry, quota);
    else
        mbox_entry_recharge(entry, quota, entry->msg->sender.uid);
    entry->is_shared = found->is_shared;
    return r;
}

/* Takes the lock. */
int mbox_restore(struct mbox *mbox, const struct mbox_found *found)
{
    struct mbox_ready nobody = TAILQ_HEAD_INITIALIZER(nobody);
    struct mbox_entry *entry = mbox_entry_new(found->msg);

    if (!entry)
        return -ENOMEM;
    if (charge_found(mbox, entry, found) < 0) {
        mbox_entry_free(entry);
        return -ENOMEM;
    }
    entry->seq = found->seq;
    entry->n_attempts = found->n_attempts;
    entry->note = found->note;
    entry->journal = mbox->domain->journal;
    pthread_mutex_lock(&mbox->lock);
    mbox->last_seq = found->seq;
    mbox_queue_push(mbox, entry);
    entry->since_ns -= age_of(found->msg);
    mbox_arm_expiry(mbox);
    /* It was not full before, so nobody is woken. */
    if (mbox->feed)
        mbox_feed_tell(mbox, &nobody);
    assert(TAILQ_EMPTY(&nobody));
    pthread_mutex_unlock(&mbox->lock);
    return 0;
}

/* Takes the lock. */
int mbox_restore_published(struct mbox *mbox, struct msg *msg, uint64_t seq,
                           struct journal_note *note)
{
    int r = 0;

    pthread_mutex_lock(&mbox->lock);
    mbox->last_seq = seq;
    if (note)
        r = mbox->backend->ops->restore(mbox->backend, msg, note);
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

void mbox_batch_begin(struct mbox_op *op)
{
    mbox_op_move(op, MBOX_OP_STORING);
    op->is_batch = true;
    op->has_moved = false;
    op->has_moved_on_disk = false;
    op->n_storing = 1;
    op->n_stored = 0;
    op->result = 0;
}

/* Takes the lock. */
int mbox_batch_end(struct mbox *mbox, struct mbox_op *op, struct mbox_ready *ready)
{
    int r = MBOX_PARKED;

    pthread_mutex_lock(&mbox->lock);
    /* Nobody interrupts it twice. */
    if (op->has_moved && op->result == 0 && op->cancelled)
        op->result = -EINTR;
    if (op->has_moved && op->result == 0 && !mbox->removed)
        mbox_await_before(mbox, op, ready);
    if (--op->n_storing == 0) {
        op->is_batch = false;
        mbox_op_move(op, MBOX_OP_DONE);
        r = 0;
    }
    pthread_mutex_unlock(&mbox->lock);
    return r;
}
