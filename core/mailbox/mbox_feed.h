/* A mailbox that is filled from elsewhere, message by message, each of which it may share with others: a subscription.
 *
 * Whoever fills it asks first whether it has room, as nobody is to have a message that one of them makes wait; and is woken
 * (mbox_feed.wake) when there is room again, or the mailbox is removed. What it does not take, it counts as lost, and tells
 * with the next message that is received (mbox_entry.n_missed).
 *
 * Context: each of the first group takes the mailbox's lock, and may be called under the lock of whoever fills it.
 * The others are for the mailbox, under its lock. */
#ifndef IPCFS_CORE_MBOX_FEED_H
#define IPCFS_CORE_MBOX_FEED_H

#include "mbox.h"

/* Of all mailboxes that one fills. */
struct mbox_feed_counts {
    _Atomic uint64_t n_kept;     /* that keep what is filled from being removed */
    _Atomic uint64_t n_blocking; /* that may make it wait */
    _Atomic uint64_t n_full;     /* that do so now */
    _Atomic uint64_t n_dropped;  /* messages that were lost */
};

/* Return: whether @mbox takes a message of @size_bytes now, or does without it; false: it makes wait, and wakes once that is
 * over. */
bool mbox_feed_has_room(struct mbox *mbox, size_t size_bytes);

/* Puts @msg, which has its id and time, into @mbox, or counts it as lost. Where it makes wait it was asked before, and takes
 * @msg in any case. Return: whether it has it. */
bool mbox_feed_put(struct mbox *mbox, struct msg *msg, struct mbox_ready *ready);

/* Begins the completion of @mbox's wake, and gives its reference to the caller. Return: whether the mailbox is removed. */
bool mbox_feed_woken(struct mbox *mbox);

/* Entries count for @uid from now on. */
void mbox_feed_set_uid(struct mbox *mbox, uid_t uid);

/* Something has changed. */
void mbox_feed_tell(struct mbox *mbox, struct mbox_ready *ready);

/* A message was dropped. */
void mbox_feed_lose(struct mbox *mbox);

/* @entry goes to a receiver; or comes back. */
void mbox_feed_launch(struct mbox *mbox, struct mbox_entry *entry);
void mbox_feed_land(struct mbox *mbox, struct mbox_entry *entry);

#endif
