/* Inside the mailbox: how a message comes in that was in another one.
 *
 * Context: under the mailbox's lock; nothing here blocks. For the other files of the mailbox alone. */
#ifndef IPCFS_CORE_MBOX_MOVE_H
#define IPCFS_CORE_MBOX_MOVE_H

#include "mbox.h"

/* Return: 0: @entry may move to @to now; MBOX_DROPS_ITSELF: it is gone then; as mbox_move. */
int mbox_make_room_for_move(struct mbox *to, const struct mbox_entry *entry);

/* Return: 0: @entry has a note if it is to be kept in @to; -ENOMEM. */
int mbox_prepare_note_for(struct mbox *to, struct mbox_entry *entry);

/* Puts @entry, which nothing links, and which has its note, at the end of its priority in @to. */
void mbox_move_in(struct mbox *to, struct mbox_entry *entry, struct mbox_ready *ready);

#endif
