/* Looking: settings and counters, the messages that wait, and taking or moving one by its id.
 *
 * What is handed out is a copy, or has a reference of its own. Each public function takes the mailbox's
 * lock; a move takes two, in the order of their addresses. */
#include "mbox_settle.h"

#include <errno.h>

#include "calls.h"
#include "journal.h"
#include "mbox_queue.h"

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

struct msg *mbox_find(struct mbox *mbox, uint64_t id)
{
    struct mbox_entry *entry;
    struct msg *msg = NULL;

    pthread_mutex_lock(&mbox->lock);
    entry = mbox_find_locked(mbox, id);
    if (entry)
        msg = msg_ref(entry->msg);
    pthread_mutex_unlock(&mbox->lock);
    return msg;
}

struct msg *mbox_hold(struct mbox *mbox, uint64_t id, uid_t uid)
{
    struct mbox_entry *entry;
    struct msg *msg = NULL;

    pthread_mutex_lock(&mbox->lock);
    entry = mbox_find_locked(mbox, id);
    if (entry)
        msg = msg_hold(entry->msg, &mbox->domain->quota, uid);
    pthread_mutex_unlock(&mbox->lock);
    return msg;
}

int mbox_pick(struct mbox *mbox, uint64_t id, struct mbox_op *op, struct mbox_ready *ready)
{
    struct mbox_entry *entry;
    int r = 0;

    pthread_mutex_lock(&mbox->lock);
    entry = mbox_find_locked(mbox, id);
    if (mbox->removed)
        r = -EIDRM;
    else if (!entry)
        r = -ENOENT;
    if (r == 0) {
        mbox_queue_remove(mbox, entry);
        calls_end(mbox, entry->msg, -ECANCELED);
        mbox_count_received(mbox);
        r = mbox_remove_entry(mbox, entry, op, ready);
        mbox_settle_locked(mbox, MBOX_WRITABLE, ready);
    }
    pthread_mutex_unlock(&mbox->lock);
    return r;
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

/* Return: 0: @entry may move to @to now; MBOX_DROPS_ITSELF: it is gone then; a negative errno. */
static int make_room_for_move(struct mbox *to, const struct mbox_entry *entry)
{
    if (to->removed)
        return -EIDRM;
    if (to->closed)
        return -EPIPE;
    if (entry->msg->size_bytes > to->limits.bytes)
        return -EMSGSIZE;
    if (mbox_is_rendezvous(to))
        return has_taker_for(to, entry->msg) ? 0 : -EAGAIN;
    if (mbox_is_behind_others(to, entry->msg->prio))
        return -EAGAIN;
    return mbox_make_room(to, entry);
}

/* Return: 0: @entry has a note if it is to be kept in @to; -ENOMEM. */
static int prepare_note_for(struct mbox *to, struct mbox_entry *entry)
{
    if (!mbox_keeps(to, entry->msg) || entry->note)
        return 0;
    entry->journal = to->domain->journal;
    entry->note = entry->journal->ops->note_new(entry->journal);
    return entry->note ? 0 : -ENOMEM;
}

/* @entry is in @to now: so it is in the journal, if it is to be kept there. */
static void note_move(struct mbox *to, struct mbox_entry *entry, struct mbox_ready *ready)
{
    if (!entry->note)
        return;
    if (mbox_keeps(to, entry->msg)) {
        entry->journal->ops->change(entry->journal, to, entry, ready);
    } else {
        entry->journal->ops->forget(entry->journal, entry->note, ready);
        entry->note = NULL;
    }
}

static int move_locked(struct mbox *mbox, struct mbox *to, uint64_t id, struct mbox_ready *ready)
{
    struct mbox_entry *entry = mbox_find_locked(mbox, id);
    int r;

    if (mbox->removed)
        return -EIDRM;
    if (!entry)
        return -ENOENT;
    r = prepare_note_for(to, entry);
    if (r == 0)
        r = make_room_for_move(to, entry);
    if (r >= 0 && calls_move(mbox, to, entry->msg) < 0)
        r = -ENOMEM;
    if (r < 0)
        return r;
    /* A message of a topic may be in both. */
    if (entry->own_quota && mbox_find_locked(to, id))
        return -EEXIST;
    mbox_queue_remove(mbox, entry);
    mbox_count_received(mbox);
    entry->seq = ++to->last_seq;
    to->stat.n_sent++;
    to->stat.last_send = mbox->stat.last_receive;
    if (r == MBOX_DROPS_ITSELF) {
        to->stat.n_dropped++;
        calls_end(to, entry->msg, -ECANCELED);
        mbox_entry_free(entry);
    } else {
        mbox_queue_push(to, entry);
        note_move(to, entry, ready);
    }
    mbox_settle_locked(mbox, MBOX_WRITABLE, ready);
    mbox_settle_locked(to, MBOX_READABLE, ready);
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
    mbox_lock_two(mbox, to);
    r = move_locked(mbox, to, id, ready);
    mbox_unlock_two(mbox, to);
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
