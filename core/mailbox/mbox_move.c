/* Moving: a message goes from one mailbox to another, and is in one of the two at every moment.
 *
 * Both are locked, in the order of their addresses. */
#include "mbox_move.h"

#include <errno.h>

#include "calls.h"
#include "journal.h"
#include "mbox_queue.h"
#include "mbox_settle.h"
#include "mbox_storing.h"

int mbox_make_room_for_move(struct mbox *to, const struct mbox_entry *entry)
{
    if (to->removed)
        return -EIDRM;
    if (to->closed)
        return -EPIPE;
    if (entry->msg->size_bytes > to->limits.bytes)
        return -EMSGSIZE;
    if (mbox_is_rendezvous(to))
        return mbox_has_taker_for(to, entry->msg->size_bytes) ? 0 : -EAGAIN;
    if (mbox_is_behind_others(to, entry->msg->prio))
        return -EAGAIN;
    /* A message of a topic may be in both. */
    if (entry->is_shared && mbox_find_locked(to, entry->msg->id))
        return -EEXIST;
    return mbox_make_room(to, entry);
}

int mbox_prepare_note_for(struct mbox *to, struct mbox_entry *entry)
{
    return mbox_keeps(to, entry->msg) ? mbox_entry_prepare_note(entry, to->domain->journal) : 0;
}

/* @entry is about to be in @to: so it is in the journal, if it is to be kept there. */
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

void mbox_move_in(struct mbox *to, struct mbox_entry *entry, struct mbox_ready *ready)
{
    entry->seq = ++to->last_seq;
    /* What it is given up for is counted anew. */
    entry->n_attempts_before = entry->n_attempts;
    to->stat.n_sent++;
    to->stat.last_send = mbox_now();
    note_move(to, entry, ready);
    mbox_queue_push(to, entry);
}

static int mbox_move_locked(struct mbox *mbox, struct mbox *to, uint64_t id, struct mbox_op *op,
                            struct mbox_ready *ready)
{
    struct mbox_entry *entry = mbox_find_locked(mbox, id);
    int r;

    if (mbox->removed)
        return -EIDRM;
    if (!entry)
        return -ENOENT;
    r = mbox_prepare_note_for(to, entry);
    if (r == 0)
        r = mbox_make_room_for_move(to, entry);
    if (r >= 0 && calls_move(mbox, to, entry->msg) < 0)
        r = -ENOMEM;
    if (r < 0)
        return r;
    if (op && entry->note)
        mbox_batch_move(op, mbox_is_on_disk(mbox) || mbox_is_on_disk(to));
    mbox_queue_remove(mbox, entry);
    mbox_count_received(mbox, 1);
    if (r == MBOX_DROPS_ITSELF) {
        to->stat.n_sent++;
        to->stat.last_send = mbox->stat.last_receive;
        mbox_count_dropped(to);
        calls_end(to, entry->msg, -ECANCELED);
        mbox_entry_free(entry);
    } else {
        mbox_move_in(to, entry, ready);
    }
    mbox_settle_locked(mbox, MBOX_WRITABLE, ready);
    mbox_settle_locked(to, MBOX_READABLE, ready);
    return 0;
}

/* Return: as mbox_move. */
static int mbox_move_between(struct mbox *mbox, struct mbox *to, uint64_t id, struct mbox_op *op,
                             struct mbox_ready *ready)
{
    int r;

    mbox_lock_two(mbox, to);
    r = mbox_move_locked(mbox, to, id, op, ready);
    mbox_unlock_two(mbox, to);
    return r;
}

int mbox_move(struct mbox *mbox, struct mbox *to, uint64_t id, struct mbox_op *op,
              struct mbox_ready *ready)
{
    int r;

    if (mbox == to) {
        struct msg *msg = mbox_find(mbox, id);

        msg_unref(msg);
        return msg ? 0 : -ENOENT;
    }
    if (!op)
        return mbox_move_between(mbox, to, id, NULL, ready);
    mbox_batch_begin(op);
    r = mbox_move_between(mbox, to, id, op, ready);
    if (mbox_batch_end(to, op, ready) == MBOX_PARKED)
        return MBOX_PARKED;
    return r < 0 ? r : op->result;
}
