/* The end of a lease.
 *
 * That a message goes to another mailbox takes the table of names, which comes before a mailbox's lock: so the lock is
 * given back for the search. Meanwhile the message stays on lease: who ends the lease has it alone, and nobody but a
 * removal can touch it. */
#include "lease.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "journal.h"
#include "mbox_bury.h"
#include "mbox_missed.h"
#include "mbox_queue.h"
#include "mbox_settle.h"
#include "mbox_storing.h"

/* The journal has how often it was tried. */
static void note_attempt(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready)
{
    if (entry->note && mbox_keeps(mbox, entry->msg))
        entry->journal->ops->change(entry->journal, mbox, entry, ready);
}

/* Back to its place, under the mailbox's lock, however full that is. */
static void return_locked(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready)
{
    mbox_lease_unlink(mbox, entry);
    mbox->stat.n_received--;
    if (mbox->feed)
        mbox_feed_land(mbox, entry);
    mbox_queue_put_back(mbox, entry);
    note_attempt(mbox, entry, ready);
    if (mbox->limits.overflow == MBOX_OVERFLOW_DROP_OLDEST && !mbox_is_rendezvous(mbox))
        mbox_drop_until_within(mbox, NULL);
    mbox_settle_locked(mbox, MBOX_READABLE, ready);
}

/* Under the mailbox's lock. Return: whether @entry, which has come back once more, is given up. */
static bool is_given_up(const struct mbox *mbox, const struct mbox_entry *entry,
                        enum mbox_lease_word word)
{
    const struct mbox_limits *limits = &mbox->limits;
    unsigned int n = entry->n_attempts - entry->n_attempts_before;

    if (!limits->dead[0])
        return false;
    return word == MBOX_LEASE_DEAD || (limits->attempts > 0 && n >= limits->attempts);
}

/* Under both locks. Return: 0: @entry has moved to @dead; a negative errno: it is where it was. */
static int move_to_dead(struct mbox *mbox, struct mbox *dead, struct mbox_entry *entry,
                        struct headers *headers, struct mbox_op *op, struct mbox_ready *ready)
{
    int r = mbox_check_burial(mbox, dead, entry);

    if (r < 0)
        return r;
    if (op && entry->note)
        mbox_batch_move(op, mbox_is_on_disk(mbox) || mbox_is_on_disk(dead));
    mbox_lease_unlink(mbox, entry);
    calls_end(mbox, entry->msg, -ECANCELED);
    calls_tell(mbox, ready);
    mbox_bury_in(mbox, dead, entry, headers, ready);
    mbox_settle_locked(dead, MBOX_READABLE, ready);
    return 0;
}

/* @entry is given up. Without a lock. Return: as mbox_lease_end. */
static int give_up(struct mbox *mbox, struct mbox_entry *entry, const char *name,
                   struct mbox_op *op, struct mbox_ready *ready)
{
    struct headers *headers = NULL;
    struct mbox *dead = mbox_find_dead(mbox, name, entry, &headers);
    bool is_removed;
    int r = -ENOENT;

    if (dead)
        mbox_lock_two(mbox, dead);
    else
        pthread_mutex_lock(&mbox->lock);
    is_removed = mbox->removed;
    if (dead && !is_removed)
        r = move_to_dead(mbox, dead, entry, headers, op, ready);
    if (r < 0 && !is_removed)
        return_locked(mbox, entry, ready);
    if (dead)
        pthread_mutex_unlock(&dead->lock);
    pthread_mutex_unlock(&mbox->lock);
    if (r < 0)
        free(headers);
    if (dead)
        mbox_unref(dead);
    if (is_removed)
        mbox_entry_free(entry);
    return is_removed ? -EIDRM : 0;
}

/* Under the mailbox's lock. Return: as mbox_lease_end. */
static int finish_locked(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op,
                         struct mbox_ready *ready)
{
    mbox_lease_unlink(mbox, entry);
    /* Nobody is left who would answer it. */
    calls_end(mbox, entry->msg, -ECANCELED);
    calls_tell(mbox, ready);
    return mbox_remove_entry(mbox, entry, op, ready);
}

/* How a lease ends. */
struct lease_end {
    struct mbox_entry *entry;
    enum mbox_lease_word word;
    struct mbox_op *op;
    bool is_given_up; /* to the mailbox @dead */
    char dead[MBOX_NAME_BYTES_MAX + 1];
};

/* Under the mailbox's lock. Return: as mbox_lease_end; where it is given up that is still to be done. */
static int end_locked(struct mbox *mbox, struct lease_end *end, struct mbox_ready *ready)
{
    if (mbox->removed)
        return -EIDRM;
    if (end->word == MBOX_LEASE_DONE)
        return finish_locked(mbox, end->entry, end->op, ready);
    end->entry->n_attempts++;
    end->is_given_up = is_given_up(mbox, end->entry, end->word);
    if (end->is_given_up)
        memcpy(end->dead, mbox->limits.dead, sizeof(end->dead));
    else
        return_locked(mbox, end->entry, ready);
    return 0;
}

int mbox_lease_end(struct mbox *mbox, struct mbox_entry *entry, enum mbox_lease_word word,
                   struct mbox_op *op, struct mbox_ready *ready)
{
    struct lease_end end = { .entry = entry, .word = word, .op = op };
    int r;

    pthread_mutex_lock(&mbox->lock);
    r = end_locked(mbox, &end, ready);
    pthread_mutex_unlock(&mbox->lock);
    if (r < 0)
        mbox_entry_free(entry);
    return end.is_given_up ? give_up(mbox, entry, end.dead, op, ready) : r;
}
