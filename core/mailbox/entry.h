/* A message's place: in a mailbox's queue, among those whose senders wait, in flight, or in a receiver's hand.
 *
 * The message itself never changes and may have several places at once; whatever does change as it moves is
 * here. An entry is in one place at every moment. It has a reference to its message, and may have a hold on its
 * charge (msg.h), which goes with it from place to place.
 *
 * It belongs to the mailbox that links it; mbox_take() passes it to the receiver, who frees it, or gives it
 * back with mbox_abort(). A receiver that is about to have all of the message gives the hold back before it is told
 * (mbox_entry_discharge), for it may send at once; and has it again if the message did not arrive.
 *
 * Context: under the lock of the mailbox that it belongs to, or by the one who has it. */
#ifndef IPCFS_CORE_ENTRY_H
#define IPCFS_CORE_ENTRY_H

#include "msg.h"

struct journal_note;
struct mbox_cursor;
struct mbox_journal;
struct mbox_op;

TAILQ_HEAD(mbox_entries, mbox_entry);

/* What is being noted in the journal of an entry that is in no queue. */
enum mbox_storing {
    MBOX_STORING_NOTHING,
    MBOX_STORING_POST,   /* that it is there; then it goes into the queue */
    MBOX_STORING_REMOVE, /* that it is gone; then it is freed */
    MBOX_STORING_BEFORE, /* what was told before it, which is of no message; then it is freed */
};

struct mbox_entry {
    struct msg *msg;              /* a reference */
    struct mbox_journal *journal; /* set with note */
    struct journal_note
        *note; /* what the journal has of it, and its own until then; NULL: nothing */
    enum mbox_storing storing;
    TAILQ_ENTRY(mbox_entry) link;
    LIST_HEAD(, mbox_cursor) cursors; /* that stand at it */
    UT_hash_handle hh;                /* by the message's id */
    uint64_t seq;                     /* place among messages of one priority in this mailbox */
    struct mbox_op *poster;           /* the send that waits for it to be accepted; or NULL */
    uint64_t n_missed; /* messages that its receiver has lost before it; while it is not waiting */
    bool is_place;     /* for no message but the place for one (mbox_reserve) */
    bool is_behind_places;          /* mbox.behind_places links it */
    bool is_charged;                /* it has its hold on the message's charge */
    bool is_leased;                 /* mbox.leased links it (lease.h) */
    bool leases;                    /* it was taken on lease the last time */
    uint64_t since_ns;              /* when it came into this mailbox's queue (expiry.h) */
    unsigned int n_attempts;        /* how often it came back from lease, in whatever mailbox */
    unsigned int n_attempts_before; /* those in other mailboxes */
    struct headers *headers;        /* in place of the message's; NULL: they are the message's */
    uint64_t n_extra;               /* what these count for the sender */
    bool is_shared;                 /* the message may have other places */
    bool counts_as_kept;            /* in msgq.n_kept */
};

/* Return: an entry for @msg, with a reference of its own, or for none yet, where @msg is NULL; NULL when memory is short. */
struct mbox_entry *mbox_entry_new(struct msg *msg);

/* Return: the headers that the message has here; NULL: none. */
static inline const struct headers *mbox_entry_headers(const struct mbox_entry *entry)
{
    return entry->headers ? entry->headers : entry->msg->headers;
}

/* Gives the hold on the charge back, and the reference; the journal forgets it. @entry, which nothing links, may be
 * NULL. */
void mbox_entry_free(struct mbox_entry *entry);

/* Puts @msg, with a reference, in place of what @entry has, whose charge has gone on (mbox_entry_leave_charge). */
void mbox_entry_set(struct mbox_entry *entry, struct msg *msg);

/* The message has @headers here, whose owner @entry is from now on: they count for the sender, whatever the bounds say. Its
 * message is charged. Return: 0; -ENOMEM: nothing has changed, and @headers is the caller's still. */
int mbox_entry_set_headers(struct mbox_entry *entry, struct headers *headers);

/* Gives @entry a note of @journal's, where it has none. Return: 0; -ENOMEM. */
int mbox_entry_prepare_note(struct mbox_entry *entry, struct mbox_journal *journal);

/* What an entry costs, where that does not count with its message. */
#define MBOX_ENTRY_CHARGE_BYTES (sizeof(struct mbox_entry) + 16)

/* Charges the message to its sender, once for all entries that do so. Return: as quota_charge. */
int mbox_entry_share_charge(struct mbox_entry *entry, struct quota *quota);

/* Charges the message to its sender. Return: as quota_charge. */
int mbox_entry_charge(struct mbox_entry *entry, struct quota *quota);

/* As mbox_entry_charge, where the caller has charged that already. */
void mbox_entry_adopt_charge(struct mbox_entry *entry, struct quota *quota);

/* What is charged goes on without @entry. */
void mbox_entry_leave_charge(struct mbox_entry *entry);

/* Gives the hold on the charge back, if it is there. */
void mbox_entry_discharge(struct mbox_entry *entry);

/* The message, or a rest of it, stays with user @uid, for whom it is to count if there is room for that; else it goes
 * on counting for whom it does. Return: 0; as quota_charge: it counts for nobody yet. */
int mbox_entry_charge_keeper(struct mbox_entry *entry, struct quota *quota, uid_t uid);

/* It has not arrived after all: its charge is held again, and is user @uid's, whatever the bounds say. */
void mbox_entry_recharge(struct mbox_entry *entry, struct quota *quota, uid_t uid);

#endif
