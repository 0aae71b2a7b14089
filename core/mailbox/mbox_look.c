/* Looking: settings and counters, the messages that wait, and taking one by its id.
 *
 * What is handed out is a copy, or has a reference of its own. Each public function takes the mailbox's
 * lock. */
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
        ret_stat->n_kept = mbox->queue.n_kept;
        ret_stat->n_kept_bytes = mbox->queue.n_kept_bytes;
        ret_stat->n_storing = mbox->n_posting;
        ret_stat->durable = mbox->limits.durable;
        ret_stat->is_kept = mbox->kept;
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

int mbox_visit(struct mbox *mbox, uint64_t id,
               void (*visit)(const struct mbox_entry *entry, void *arg), void *arg)
{
    const struct mbox_entry *entry;

    pthread_mutex_lock(&mbox->lock);
    entry = mbox_find_locked(mbox, id);
    if (entry)
        visit(entry, arg);
    pthread_mutex_unlock(&mbox->lock);
    return entry ? 0 : -ENOENT;
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
        mbox_count_received(mbox, 1);
        r = mbox_remove_entry(mbox, entry, op, ready);
        mbox_settle_locked(mbox, MBOX_WRITABLE, ready);
    }
    pthread_mutex_unlock(&mbox->lock);
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
