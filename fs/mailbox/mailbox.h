/* The boxes of mbox/: what mkdir makes there, and what goes with its owner. */
#ifndef IPCFS_FS_MAILBOX_H
#define IPCFS_FS_MAILBOX_H

#include "core/store/store.h"
#include "mboxes.h"

/* Makes a mailbox whose directory has @mode; its files' modes follow from that. For struct mboxes.
 * Return: 0; -EDQUOT; -ENOSPC; -ENOMEM. Context: any thread; never waits. */
int mailbox_make(struct mboxes *mboxes, mode_t mode, const struct caller *caller,
                 struct box **ret_box);

/* Makes the mailbox again that was found in the store, in @mboxes, and names it. It counts for its owner, if his bounds allow
 * that still. Return: 0 with a reference; a negative errno. Context: before the first request. */
int mailbox_restore(struct mboxes *mboxes, const struct store_found *found, struct mbox **ret_mbox);

#endif
