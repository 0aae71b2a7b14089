/* The boxes of mbox/: what mkdir makes there, and what goes with its owner.
 *
 * Context: before the first request, but for what says otherwise. */
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

/* For other boxes that the store keeps, to make them again. */

/* Whose it was, and the mode of its directory. */
void mailbox_found_owner(const struct store_found *found, struct caller *ret_owner,
                         mode_t *ret_mode);

/* Makes the config of a mailbox that was found what @text says. Return: 0; -EINVAL. */
typedef int mailbox_configure_found(struct mbox *mbox, const char *text, size_t n);

mailbox_configure_found mailbox_configure_as_found;

/* Makes @box, a new one that is kept, what @found says, in @names; or removes it. It counts for its owner with @n_kept, if his
 * bounds allow that still. Return: 0; a negative errno: the reference to @box is given back. */
int mailbox_adopt_found(struct names *names, struct box *box, const struct store_found *found,
                        uint64_t n_kept, mailbox_configure_found *configure);

#endif
