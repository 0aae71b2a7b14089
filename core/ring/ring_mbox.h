/* A ring as the mount serves it: what makes a mailbox one whose messages lie in memory that clients map.
 *
 * The mailbox is what the shell sends to and receives from, with all its waiting; its backend is the
 * ring. A message that was taken out and could not be delivered waits in the mailbox's own queue, which
 * goes first. The bell is a mailbox too: its messages say that the ring has changed since the one whose
 * id is the op's `seen`.
 *
 * Where each consumer sees everything, a receiver is told what follows the position that it has seen (mbox_op.seen), and
 * what could not be delivered is told again.
 *
 * The daemon takes the role of the one producer or consumer for the moment of one message.
 *
 * Quota: the memory counts for the owner while the ring is there, and after that as long as its map is open
 * somewhere. What clients still map when they have closed it can't be seen.
 *
 * Ownership: the mailbox is its user's, and the ring lives as long as it; the bell and the waiters hold
 * references to it.
 * Locks: the mailbox's, before the bell's and the waiters'.
 *
 * Context: any thread that holds no mailbox's lock; only locks are waited for. What makes and ends a ring runs while nobody else has
 * its mailbox. */
#ifndef IPCFS_CORE_RING_MBOX_H
#define IPCFS_CORE_RING_MBOX_H

#include "ring_geometry.h"
#include "ring_state.h"

static inline struct ring_mbox *ring_mbox_of_bell(struct mbox *bell)
{
    return (struct ring_mbox *)((char *)bell - offsetof(struct ring_mbox, bell));
}

/* Makes @mbox, which is new, a ring of the default geometry, whose memory is made in @home and charged to
 * @home->uid.
 * Return: 0; as quota_charge; -ENOMEM, -ENFILE and the like, and @mbox is what it was. */
int ring_mbox_init(struct ring_mbox *ring, struct mbox *mbox, struct ring_waiters *waiters,
                   const struct ring_home *home);

/* For the release of a mailbox that was made a ring; before mbox_deinit. */
void ring_mbox_deinit(struct ring_mbox *ring);

/* Return: the ring's memory, with a reference; NULL: the ring was removed. */
struct ring_memory *ring_mbox_memory(struct ring_mbox *ring);

/* Gives the ring new memory as @text says (`slots`, `slot_bytes`, `producers`, `consumers`); the old one is
 * ended. Where @text changes nothing, nothing happens.
 * Return: 0; -EINVAL; -EBUSY: messages are in it; -EIDRM; as ring_mbox_init. */
int ring_mbox_configure(struct ring_mbox *ring, const char *text, size_t n,
                        struct mbox_ready *ready);

/* Return: 0 with the text; -EIDRM. */
int ring_mbox_get_config(struct ring_mbox *ring, char text[RING_CONFIG_MAX]);

/* Charges it to @uid, and makes it theirs. Return: 0; as quota_charge and fchown(2), and nothing has changed. */
int ring_mbox_set_owner(struct ring_mbox *ring, uid_t uid, gid_t gid);

struct ring_mbox_stat {
    uint64_t n_messages; /* waiting */
    uint64_t head;       /* positions, as far as it can be seen: how many were sent */
    uint64_t tail;       /* and received, those of dead producers included */
    uint64_t n_senders_waiting;
    uint64_t n_receivers_waiting;
    uint64_t n_bytes; /* of the map */
    bool
        each; /* consumers: n_messages are held, for nobody in particular; tail is how many were received here */
    uint64_t n_missed; /* each: by receivers here */
    pid_t producer;    /* who holds the role; 0: nobody, or many may produce */
    pid_t consumer;
};

/* Return: 0; -EIDRM. */
int ring_mbox_get_stat(struct ring_mbox *ring, struct ring_mbox_stat *ret_stat);

/* Return: the id of the last change: another one than before if there was one. */
uint64_t ring_mbox_last_change(struct ring_mbox *ring);

/* Wakes all who wait, here and in clients. Return: 0; -EIDRM. */
int ring_mbox_wake(struct ring_mbox *ring, struct mbox_ready *ready);

#endif
