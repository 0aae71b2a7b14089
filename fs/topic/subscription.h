/* A subscription that was made in a topic's `sub/`: a box with all files of a mailbox but those that send, which its maker
 * owns. It stays until it is removed, or the topic is; nobody else may look into it until its owner allows that. */
#ifndef IPCFS_FS_SUBSCRIPTION_H
#define IPCFS_FS_SUBSCRIPTION_H

#include "core/store/store.h"
#include "topic_box.h"

/* Makes one of @box's topic for @caller, who is charged, and begins it. One reference, the caller's.
 * Return: 0; -EIDRM; -EDQUOT; -ENOSPC; -ENOMEM. Context: any thread; never waits. */
int subscription_make(struct topic_box *box, mode_t mode, const struct caller *caller,
                      struct box **ret_box);

/* Makes the subscription again that was found in the store. It counts for its owner, if his bounds allow that still. Return: 0
 * with a reference; a negative errno. Context: before the first request. */
int subscription_restore(struct topic_box *box, const struct store_found *found,
                         struct mbox **ret_mbox);

#endif
