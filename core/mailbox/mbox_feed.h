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
 * @msg in any case. @published: what the journal has of it; or NULL. Return: whether it has it. */
bool mbox_feed_put(struct mbox *mbox, struct msg *msg, struct journal_note *published,
                   uint64_t now_ns, struct mbox_ready *ready);

/* As mbox_feed_put, of the @n messages at @msgs in their order, of which the journal has nothing. Return: how many it has. */
size_t mbox_feed_put_many(struct mbox *mbox, struct msg *const *msgs, size_t n, uint64_t now_ns,
                          struct mbox_ready *ready);

/* What becomes of a message that the journal is told of before anybody has it. */
enum mbox_feed_stage {
    MBOX_FEED_STAGED,  /* @mbox's is told of with it; mbox_feed_publish() has to follow */
    MBOX_FEED_UNKEPT,  /* the journal does not keep it there: mbox_feed_put() */
    MBOX_FEED_REFUSED, /* lost: mbox_feed_refuse() */
};

/* Gets @mbox its entry for the message of @published, a publication that the journal is told of next. As for mbox_feed_put,
 * it was asked for room before. */
enum mbox_feed_stage mbox_feed_stage(struct mbox *mbox, struct mbox_entry *published,
                                     struct mbox_entry **ret_entry, struct mbox_ready *ready);

/* Puts @entry, which was staged, into @mbox, or, with @is_stored false, forgets it. Return: whether it has it. */
bool mbox_feed_publish(struct mbox *mbox, struct mbox_entry *entry, bool is_stored, uint64_t now_ns,
                       struct mbox_ready *ready);

/* Counts a message as lost. */
void mbox_feed_refuse(struct mbox *mbox, struct mbox_ready *ready);

/* Begins the completion of @mbox's wake, and gives its reference to the caller. Return: whether the mailbox is removed. */
bool mbox_feed_woken(struct mbox *mbox);

/* Entries count for @uid from now on. Return: as quota_move. */
int mbox_feed_set_uid(struct mbox *mbox, uid_t uid);

#endif
