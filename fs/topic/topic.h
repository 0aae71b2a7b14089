/* The boxes of topic/: what mkdir makes there, and what goes with it.
 *
 * Who may write to a topic's directory may publish, and who may read that may subscribe; both must search it. */
#ifndef IPCFS_FS_TOPIC_H
#define IPCFS_FS_TOPIC_H

#include "core/mailbox/topic.h"
#include "core/store/store.h"
#include "fs/mailbox/mboxes.h"

/* For struct mboxes. Return: 0; -EDQUOT; -ENOSPC; -ENOMEM. Context: any thread; never waits. */
int topic_make(struct mboxes *mboxes, mode_t mode, const struct caller *caller,
               struct box **ret_box);

/* Makes the topic again that was found in the store, in @mboxes, and names it; or a subscription. Each counts for its owner,
 * if his bounds allow that still. Return: 0 with a reference; a negative errno. Context: before the first request. */
int topic_restore(struct mboxes *mboxes, const struct store_found *found, struct mbox **ret_mbox);
int topic_restore_subscription(const struct store_found *found, struct mbox **ret_mbox);

/* Ends all topics and what subscribes to them. Context: any thread, no lock held. */
void topics_end_all(struct mboxes *mboxes, struct mbox_ready *ready);

/* Return: 0; -EIDRM. @mbox is a topic's. Context: any thread; never waits. */
int topic_box_get_stat(struct mbox *mbox, struct topic_stat *ret_stat);

#endif
