/* A mailbox that is filled from elsewhere, message by message, each of which it may share with others: a subscription.
 *
 * Whoever fills it asks first whether it has room, as nobody is to have a message that one of them makes wait; and is woken
 * (mbox_feed.wake) when there is room again, or the mailbox is removed. What it does not take, it counts as lost, and tells
 * with the next message that is received (mbox_entry.n_missed).
 *
 * Context: each takes the mailbox's lock, and may be called under the lock of whoever fills it. What the mailbox itself
 * does about it is in mbox_feed_tell.h and mbox_missed.h. */
#ifndef IPCFS_CORE_MBOX_FEED_H
#define IPCFS_CORE_MBOX_FEED_H

#include "mbox_missed.h"

/* Return: whether @mbox takes a message of @size_bytes now, or does without it; false: it makes wait, and wakes once that is
 * over. */
bool mbox_feed_has_room(struct mbox *mbox, size_t size_bytes);

/* Puts @msg, which has its id and time, into @mbox at @now_ns (expiry_now), or counts it as lost. Where it makes wait it was asked before, and takes
 * @msg in any case. Return: whether it has it. */
bool mbox_feed_put(struct mbox *mbox, struct msg *msg, uint64_t now_ns, struct mbox_ready *ready);

/* Begins the completion of @mbox's wake, and gives its reference to the caller. Return: whether the mailbox is removed. */
bool mbox_feed_woken(struct mbox *mbox);

/* Entries count for @uid from now on. Return: as quota_move. */
int mbox_feed_set_uid(struct mbox *mbox, uid_t uid);

#endif
