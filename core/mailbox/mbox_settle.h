/* Inside the mailbox: those who wait, and what settles who gets what.
 *
 * Context: under the mailbox's lock; nothing here blocks. For the other files of the mailbox alone. */
#ifndef IPCFS_CORE_MBOX_SETTLE_H
#define IPCFS_CORE_MBOX_SETTLE_H

#include "mbox.h"
#include "mbox_op.h"
#include "mbox_storing.h"

/* Ends the wait of receiver @op. */
void mbox_taker_finish(struct mbox *mbox, struct mbox_op *op, int result, struct mbox_ready *ready);

/* Tells those who watch for one of @events; MBOX_REMOVED concerns all. */
void mbox_wake(struct mbox *mbox, unsigned int events);

/* Return: whether a sender waits. */
bool mbox_has_pending(const struct mbox *mbox);

/* Takes @entry from among those whose senders wait; it is the caller's. */
void mbox_pending_remove(struct mbox *mbox, struct mbox_entry *entry);

/* Tells a backend that somebody is going to wait for @events. */
void mbox_want(struct mbox *mbox, unsigned int events);

/* Hands out the next message.
 * Return: 0: it is in flight; -EAGAIN: there is none; -EMSGSIZE: it is longer than @op takes, and
 * stays; what a backend says. */
int mbox_next_message(struct mbox *mbox, const struct mbox_op *op, struct mbox_entry **ret_entry);

/* Hands out what is first in the queue, as mbox_take_many. Return: how many. */
size_t mbox_next_messages(struct mbox *mbox, mbox_entry_cost *cost, size_t room,
                          struct mbox_entries *entries);

/* Return: whether each receiver is told by what it has seen (mbox_backend_ops.tells_each). */
bool mbox_tells_each(const struct mbox *mbox);

/* Return: whether a new message of @prio has to wait because others do. */
bool mbox_is_behind_others(const struct mbox *mbox, unsigned int prio);

/* Return: what the mailbox is ready for, as mbox_poll_at. */
unsigned int mbox_readiness(struct mbox *mbox, unsigned int prio);

/* Restores the invariants after a change (mbox_settle.c), then wakes those who watch for @events, if
 * they hold. */
void mbox_settle_locked(struct mbox *mbox, unsigned int events, struct mbox_ready *ready);

/* Those who wait for a message get @result instead; if nobody does, the next who would take one. */
void mbox_fail(struct mbox *mbox, int result, struct mbox_ready *ready);

/* Serves those who wait first: others may have changed what is in the backend, or it is time for some messages to go. */
void mbox_catch_up(struct mbox *mbox, struct mbox_ready *ready);

/* Judges the send that has just begun to wait. In a rendezvous mbox_settle_locked() has offered its message
 * to all receivers that wait, and they had too little room for it.
 * Return: 0: it may wait for another; -EAGAIN, -ENOBUFS: it may not. */
int mbox_check_wait(struct mbox *mbox, const struct mbox_op *op);

/* Puts all messages whose senders wait in one queue again. */
void mbox_gather_pending(struct mbox *mbox);

/* Return: what becomes of the waiting @entry now that the limits may have changed, as mbox_make_room;
 * -EMSGSIZE: it is too long now. */
int mbox_rejudge(struct mbox *mbox, const struct mbox_entry *entry);

/* Ends the wait of the sender of @entry, which is in no queue: with @r, as mbox_rejudge() has it. */
void mbox_finish_judged(struct mbox *mbox, struct mbox_entry *entry, int r,
                        struct mbox_ready *ready);

/* Locks both, in the order of their addresses. */
void mbox_lock_two(struct mbox *a, struct mbox *b);
void mbox_unlock_two(struct mbox *a, struct mbox *b);

/* Gives @entry's message to the backend, and counts it as sent. Return: as mbox_backend_ops.put; @entry is the caller's. */
int mbox_put_into_backend(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready);

#endif
