/* Inside the mailbox: what an op goes through, and who is told of it.
 *
 * Context: under the mailbox's lock; nothing here blocks. For the other files of the mailbox alone. */
#ifndef IPCFS_CORE_MBOX_OP_H
#define IPCFS_CORE_MBOX_OP_H

#include "mbox.h"

/* Moves @op to state @to, which is one of the moves at enum mbox_op_state. */
void mbox_op_move(struct mbox_op *op, enum mbox_op_state to);

/* Return: whether a receiver waits that takes a message of @size_bytes whole. */
bool mbox_has_taker_for(const struct mbox *mbox, size_t size_bytes);

/* Completes @op. */
void mbox_op_finish(struct mbox_op *op, int result, struct mbox_ready *ready);

/* Ends the send that waits for @entry, if one does; where that is a batch, one of its messages. */
void mbox_poster_finish(struct mbox_entry *entry, int result, struct mbox_ready *ready);

/* @n messages of the batch @op are noted in the journal, or @result says why not. */
void mbox_batch_note(struct mbox_op *op, uint64_t n, int result, struct mbox_ready *ready);

#endif
