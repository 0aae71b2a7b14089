/* What a mailbox that is filled from elsewhere (mbox_feed.h) tells whoever fills it. Of a mailbox that has a feed.
 *
 * Context: under the mailbox's lock; nothing blocks. */
#ifndef IPCFS_CORE_MBOX_FEED_TELL_H
#define IPCFS_CORE_MBOX_FEED_TELL_H

#include "mbox_missed.h"

/* Something has changed. */
void mbox_feed_tell(struct mbox *mbox, struct mbox_ready *ready);

/* Return: whether there is room for a message of @size_bytes, or in a rendezvous somebody who takes it. */
bool mbox_feed_fits(const struct mbox *mbox, size_t size_bytes);

/* Return: whether a message of @size_bytes has to wait; one that never fits does not. */
bool mbox_feed_makes_wait(const struct mbox *mbox, size_t size_bytes);

/* Before one message more waits in it. Return: 0; as quota_charge. */
int mbox_feed_charge_entry(struct mbox *mbox);

#endif
