/* Inside the mailbox: the messages that are in it, its bounds, and what it counts.
 *
 * Context: under the mailbox's lock; nothing here blocks, or tells those who wait (mbox_settle.h). For the
 * other files of the mailbox alone. */
#ifndef IPCFS_CORE_MBOX_QUEUE_H
#define IPCFS_CORE_MBOX_QUEUE_H

#include "mbox.h"

/* Return: whether a sender and a receiver meet here, and nothing is queued. */
static inline bool mbox_is_rendezvous(const struct mbox *mbox)
{
    return mbox->limits.messages == 0;
}

/* Return: the time of day. */
static inline struct timespec mbox_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return ts;
}

/* Return: whether a message of @size_bytes finds room if its sender holds no place. */
bool mbox_fits(const struct mbox *mbox, size_t size_bytes);

/* Return: whether @entry finds room, by the places that others than its sender hold. */
bool mbox_finds_room(const struct mbox *mbox, const struct mbox_entry *entry);

/* @entry, which is linked nowhere, goes on lease. */
void mbox_lease_link(struct mbox *mbox, struct mbox_entry *entry);

/* @entry is on lease no more; it is the caller's. */
void mbox_lease_unlink(struct mbox *mbox, struct mbox_entry *entry);

/* Return: whether the message that would be delivered next has waited too long. */
bool mbox_has_expired(const struct mbox *mbox);

/* Takes what has waited too long out of the queue, some at a time: it is gone, or @ready has the mailbox's undertaker,
 * which takes it away. Return: whether there was anything. */
bool mbox_expire(struct mbox *mbox, struct mbox_ready *ready);

/* Sets the timer for the message that is the first to have waited too long. */
void mbox_arm_expiry(struct mbox *mbox);

/* Adds @entry to the queue, behind all of its priority. */
void mbox_queue_push(struct mbox *mbox, struct mbox_entry *entry);

/* The same, where @since_ns is what expiry_now() says. */
void mbox_queue_push_since(struct mbox *mbox, struct mbox_entry *entry, uint64_t since_ns);

/* Puts @entry back into the queue, where it was. */
void mbox_queue_put_back(struct mbox *mbox, struct mbox_entry *entry);

/* Takes @entry out of the queue; it is the caller's. */
void mbox_queue_remove(struct mbox *mbox, struct mbox_entry *entry);

/* Return: message @id of the queue; NULL. */
struct mbox_entry *mbox_find_locked(struct mbox *mbox, uint64_t id);

/* The newcomer is itself what drop-oldest drops. */
#define MBOX_DROPS_ITSELF 1

/* Drops the least urgent, oldest messages until the bounds allow @newcomer too, which may be NULL.
 * Return: 0; MBOX_DROPS_ITSELF: all that is left is more urgent than @newcomer. */
int mbox_drop_until_within(struct mbox *mbox, const struct mbox_entry *newcomer);

/* Counts one message as dropped. */
void mbox_count_dropped(struct mbox *mbox);

/* Return: an id that no other message of the mount has or had. */
uint64_t mbox_new_id(struct mbox *mbox);

/* Gives @entry its id, its place in the order, and its time. */
void mbox_stamp(struct mbox *mbox, struct mbox_entry *entry);

/* Counts @entry as sent, at the time that it was stamped with. */
void mbox_count_sent(struct mbox *mbox, const struct mbox_entry *entry);

/* Counts @n messages as received now. */
void mbox_count_received(struct mbox *mbox, uint64_t n);

/* Lets @entry in: a message into the queue, a place as a count (its charge goes on). @room is 0, or
 * MBOX_DROPS_ITSELF: then it was sent, and is gone. */
void mbox_let_in(struct mbox *mbox, struct mbox_entry *entry, int room);

/* In a mailbox that is no rendezvous: makes room for @entry where that is the policy.
 * Return: 0: it may go in now; MBOX_DROPS_ITSELF; -EAGAIN: it must wait; -ENOBUFS. */
int mbox_make_room(struct mbox *mbox, const struct mbox_entry *entry);

#endif
