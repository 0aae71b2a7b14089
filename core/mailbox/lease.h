/* Messages on lease: out of the queue, and not gone until their holder says so.
 *
 * mbox_take() with op.leases hands out an entry that is on lease from then on, also while it is in flight: the mailbox
 * can't be removed for want of messages, and links the entry (mbox.leased). After mbox_commit() it stays the holder's
 * until mbox_lease_end() says what has become of it. It goes on counting for its sender, and takes no room.
 *
 * A mailbox that is removed by force gives up its leases: their entries are the holders' alone then, and what they say is
 * -EIDRM.
 *
 * With the bound limits.attempts a message that comes back so often goes to the mailbox that limits.dead names, if it
 * is there, belongs to the same owner (mbox_domain.find_dead), and has room; else it returns to its place. */
#ifndef IPCFS_CORE_LEASE_H
#define IPCFS_CORE_LEASE_H

#include "mbox.h"

/* What becomes of a message on lease. */
enum mbox_lease_word {
    MBOX_LEASE_DONE,  /* it is gone for good */
    MBOX_LEASE_AGAIN, /* it returns to the place it had; that is one attempt more */
    MBOX_LEASE_DEAD,  /* as AGAIN, and that was the last attempt there may be */
};

/* Ends the lease of @entry, which has been committed and which its holder has no more.
 * With @op, a batch (mbox_batch_begin), that waits for the journal (journal.h) to have what becomes of the message,
 * if one of the mailboxes is kept, but for a return to its place; if the journal can't have that it is gone, it is back there.
 * Return: 0; MBOX_PARKED: the batch has to wait; -EIDRM: the mailbox has been removed, and the message with it.
 * Context: any thread, no lock of this level held; never waits. */
int mbox_lease_end(struct mbox *mbox, struct mbox_entry *entry, enum mbox_lease_word word,
                   struct mbox_op *op, struct mbox_ready *ready);

#endif
