/* The boxes of mbox/: what mkdir makes there, and what goes with its owner. */
#ifndef IPCFS_FS_MAILBOX_H
#define IPCFS_FS_MAILBOX_H

#include "mboxes.h"

/* Makes a mailbox whose directory has @mode; its files' modes follow from that. For struct mboxes.
 * Return: 0; -EDQUOT; -ENOSPC; -ENOMEM. Context: any thread; never waits. */
int mailbox_make(struct mboxes *mboxes, mode_t mode, const struct caller *caller,
                 struct box **ret_box);

#endif
