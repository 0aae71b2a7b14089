/* What waits for the journal: messages that are posted and not in the queue yet, and messages that were removed and are
 * not forgotten yet.
 *
 *   room ──> storing ──noted──> queue          queue ──removed──> storing ──noted──> gone
 *               │                                                    │
 *               └──can't be──> back to its sender                    └──can't be──> queue, where it was
 *
 * A message that is posted takes room from the beginning. If its sender stops waiting it is not delivered: once it is
 * noted it is forgotten again. The journal tells in the order in which it was told, so the queue has the order of
 * arrival. A message that moves is in its new queue at once; who is to hear of that when the journal has it waits for an
 * entry of no message, which the journal is told of behind it. Under the mailbox's lock, but for what says that it takes it. */
#include "mbox_storing.h"

#include <errno.h>

#include "journal.h"
#include "mbox_op.h"
#include "mbox_queue.h"

static void storing_begin(struct mbox *mbox, struct mbox_entry *entry, enum mbox_storing what)
{
    struct mbox_op *op = entry->poster;

    if (op && !op->is_batch) {
        op->entry = entry;
        mbox_op_move(op, MBOX_OP_STORING);
    }
    entry->storing = what;
    TAILQ_INSERT_TAIL(&mbox->storing, entry, link);
}

void mbox_begin_posting(struct mbox *mbox, struct mbox_entry *entry)
{
    storing_begin(mbox, entry, MBOX_STORING_POST);
    mbox->n_posting++;
    mbox->n_posting_bytes += entry->msg->size_bytes;
}

void mbox_end_posting(struct mbox *mbox, struct mbox_entry *entry)
{
    TAILQ_REMOVE(&mbox->storing, entry, link);
    if (entry->storing == MBOX_STORING_POST) {
        mbox->n_posting--;
        mbox->n_posting_bytes -= entry->msg->size_bytes;
    }
    entry->storing = MBOX_STORING_NOTHING;
}

int mbox_stage(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready)
{
    if (mbox_entry_prepare_note(entry, mbox->domain->journal) < 0)
        return -ENOMEM;
    entry->msg->arrived = mbox_now();
    return mbox->backend->ops->stage(mbox->backend, entry, ready);
}

void mbox_admit(struct mbox *mbox, struct mbox_entry *entry, int room, struct mbox_ready *ready)
{
    struct mbox_journal *journal = mbox->domain->journal;

    if (room == MBOX_DROPS_ITSELF || entry->is_place || !entry->poster ||
        !mbox_keeps(mbox, entry->msg)) {
        mbox_poster_finish(entry, 0, ready);
        mbox_let_in(mbox, entry, room);
        return;
    }
    /* What began to wait before the mailbox was kept has none. */
    if (mbox_entry_prepare_note(entry, journal) < 0) {
        mbox_poster_finish(entry, -ENOMEM, ready);
        mbox_entry_free(entry);
        return;
    }
    mbox_stamp(mbox, entry);
    mbox_begin_posting(mbox, entry);
    journal->ops->post(journal, mbox, entry, ready);
}

int mbox_remove_entry(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op,
                      struct mbox_ready *ready)
{
    struct mbox_journal *journal = mbox->domain->journal;

    if (!entry->note || !op || !mbox_keeps(mbox, entry->msg)) {
        mbox_entry_free(entry);
        return 0;
    }
    entry->poster = op;
    if (op->is_batch)
        op->n_storing++;
    storing_begin(mbox, entry, MBOX_STORING_REMOVE);
    journal->ops->remove(journal, mbox, entry, ready);
    return MBOX_PARKED;
}

void mbox_await_before(struct mbox *mbox, struct mbox_op *op, struct mbox_ready *ready)
{
    struct mbox_journal *journal = mbox->domain->journal;
    struct mbox_entry *entry = mbox_entry_new(NULL);

    if (!entry || mbox_entry_prepare_note(entry, journal) < 0) {
        mbox_entry_free(entry);
        return;
    }
    entry->poster = op;
    op->n_storing++;
    storing_begin(mbox, entry, MBOX_STORING_BEFORE);
    journal->ops->await(journal, mbox, entry, op->has_moved_on_disk, ready);
}

void mbox_end_storing(struct mbox *mbox, struct mbox_ready *ready)
{
    struct mbox_entry *entry;

    /* The journal still has them. */
    TAILQ_FOREACH(entry, &mbox->storing, link)
        mbox_poster_finish(entry, -EIDRM, ready);
}

void mbox_cancel_storing(struct mbox *mbox, struct mbox_op *op, struct mbox_ready *ready)
{
    struct mbox_entry *entry;
    uint64_t n = 0;

    op->cancelled = true;
    if (!op->is_batch) {
        mbox_poster_finish(op->entry, -EINTR, ready);
        return;
    }
    TAILQ_FOREACH(entry, &mbox->storing, link) {
        if (entry->poster == op) {
            entry->poster = NULL;
            n++;
        }
    }
    if (n > 0)
        mbox_batch_note(op, n, -EINTR, ready);
}
