/* Inside the mailbox: entries that are in no queue until the journal has what became of them.
 *
 * Context: under the mailbox's lock; nothing here blocks, or tells those who wait for a message (mbox_settle.h). For the
 * other files of the mailbox alone. */
#ifndef IPCFS_CORE_MBOX_STORING_H
#define IPCFS_CORE_MBOX_STORING_H

#include "mbox.h"

/* Lets in @entry, whose sender may wait, as mbox_let_in() does; where it is kept, tells the journal first, and its
 * sender goes on waiting. */
void mbox_admit(struct mbox *mbox, struct mbox_entry *entry, int room, struct mbox_ready *ready);

/* Return: whether what the backend of @mbox is given now is for the journal first. */
static inline bool mbox_stages(const struct mbox *mbox)
{
    return mbox->backend && mbox->backend->ops->stages && mbox->backend->ops->stages(mbox->backend);
}

/* Where mbox_stages(), gives @entry to the backend, which tells the journal. Return: 0: mbox_begin_posting() has to
 * follow; as mbox_backend_ops.put: @entry is the caller's. */
int mbox_stage(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready);

/* @entry, linked nowhere, is in the journal's hands, and its sender goes on waiting. */
void mbox_begin_posting(struct mbox *mbox, struct mbox_entry *entry);

/* The journal has told of @entry, which is linked nowhere now. */
void mbox_end_posting(struct mbox *mbox, struct mbox_entry *entry);

/* @entry, out of the queue, is gone for good; where it is kept, once the journal has that, for which @op waits.
 * Return: 0: it is freed; MBOX_PARKED. */
int mbox_remove_entry(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op,
                      struct mbox_ready *ready);

/* @op, a batch, also waits for the journal to have all that it was told of before. Without memory for that it does not. */
void mbox_await_before(struct mbox *mbox, struct mbox_op *op, struct mbox_ready *ready);

/* The mailbox is removed: who waits for the journal gets -EIDRM. */
void mbox_end_storing(struct mbox *mbox, struct mbox_ready *ready);

/* Ends @op, which waits for the journal, with -EINTR; what it sent is not delivered. */
void mbox_cancel_storing(struct mbox *mbox, struct mbox_op *op, struct mbox_ready *ready);

/* Return: whether @msg is kept while it waits in @mbox. A question is not: its asker ends with the daemon. Under the
 * mailbox's lock. */
static inline bool mbox_keeps(const struct mbox *mbox, const struct msg *msg)
{
    return mbox->kept && mbox->limits.durable != MBOX_DURABLE_NO && !msg->is_call;
}

/* Return: whether who waits for the journal waits for the disk too. Under the mailbox's lock. */
static inline bool mbox_is_on_disk(const struct mbox *mbox)
{
    return mbox->limits.durable == MBOX_DURABLE_DISK;
}

#endif
