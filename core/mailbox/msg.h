/* A message: who sent it, when, how urgent, its headers, and its bytes.
 *
 * What a message says never changes once it is in a mailbox, so a queue, an open file and a reply
 * on its way share one by counting references. Its place in a mailbox does change; those members
 * belong to the mailbox that holds it and are guarded by that mailbox's lock.
 *
 * It carries what it counts for in the quota, until its last reference is gone. The mailbox holds this
 * charge first, and passes it to who takes the message; who else keeps a message holds it too
 * (msg_hold). A receiver that is about to have all of it gives its hold back before it is told (msg_discharge), for
 * it may send at once; and has it again if the message did not arrive (mbox_abort). */
#ifndef IPCFS_CORE_MSG_H
#define IPCFS_CORE_MSG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <time.h>

#include "core/base/hash.h"
#include "headers.h"
#include "quota.h"

/* Priorities run from 0 to MSG_N_PRIOS - 1; the highest is delivered first. */
#define MSG_N_PRIOS 32

/* A message is charged to its sender by its size and its headers, and by this much at least: an empty one takes
 * memory too. */
#define MSG_MIN_CHARGE_BYTES 128

struct mbox_cursor;
struct mbox_op;

struct msg_sender {
    pid_t pid; /* the process; 0 when it is in a pid namespace that can't be seen */
    uid_t uid;
    gid_t gid;
};

struct msg {
    atomic_uint n_refs;
    unsigned int prio;
    struct msg_sender sender;
    size_t size_bytes;
    struct headers *headers; /* its own; set before others see it; NULL: none */

    /* Set by the mailbox on arrival, fixed from then on. */
    uint64_t id;             /* unique in a mount, rising */
    struct timespec arrived; /* CLOCK_REALTIME */

    /* The mailbox's, under its lock. */
    TAILQ_ENTRY(msg) link;
    LIST_HEAD(, mbox_cursor) cursors; /* that stand at it */
    UT_hash_handle hh;                /* by id */
    bool is_place;                    /* no message but the place for one (mbox_reserve) */
    bool is_behind_places;            /* mbox.behind_places links it */
    uint64_t seq;                     /* place among messages of one priority in this mailbox */
    struct mbox_op *poster; /* the send that waits for this message to be accepted; or NULL */

    struct quota_charge charge;
    bool is_charged; /* the mailbox's, or who has it in flight: it has its hold on the charge */

    /* msg_resize's: */
    bool is_mapped; /* its memory is a mapping of its own */
    size_t
        n_allocated; /* how many bytes there are in data; those behind size_bytes are zero, once it was resized */

    unsigned char data[];
};

/* Makes a message of @size_bytes bytes, which the caller is to fill in before others see it.
 * Return: as msg_new. */
struct msg *msg_alloc(size_t size_bytes, unsigned int prio, struct msg_sender sender);

/* Makes a message from a copy of @size_bytes bytes at @data.
 * Return: the message, with one reference, the caller's; NULL when memory is short. */
struct msg *msg_new(const void *data, size_t size_bytes, unsigned int prio,
                    struct msg_sender sender);

/* Makes *@msg, which nobody else has seen yet, @size_bytes long; what is new is zero. It may move. A gap that nothing is
 * written into takes neither memory nor time, however long. Charging is the caller's, before this.
 * Return: 0; -ENOMEM: it is as it was. */
int msg_resize(struct msg **msg, size_t size_bytes);

struct msg *msg_ref(struct msg *msg);

/* Gives one reference back; the last one frees, and ends the charge. @msg may be NULL. */
void msg_unref(struct msg *msg);

/* The functions from here to msg_recharge are for who has @msg in its mailbox or in flight. */

/* Charges @msg to its sender. Return: as quota_charge. */
int msg_charge(struct msg *msg, struct quota *quota);

/* As msg_charge, where its caller has charged that already. */
void msg_adopt_charge(struct msg *msg, struct quota *quota);

/* What @msg is charged goes on without it. */
void msg_leave_charge(struct msg *msg);

/* Gives the hold on the charge back, if it is there. */
void msg_discharge(struct msg *msg);

/* A rest of @msg stays with user @uid, for whom it is to count if there is room for that; else it goes on counting
 * for whom it does. Return: 0; as quota_charge: it counts for nobody yet. */
int msg_charge_keeper(struct msg *msg, struct quota *quota, uid_t uid);

/* It has not arrived after all: its charge is held again, and is user @uid's, whatever the bounds say. */
void msg_recharge(struct msg *msg, struct quota *quota, uid_t uid);

/* Return: @msg with a reference and a hold on its charge for user @uid, who keeps it. For a message that is in
 * a mailbox, under that one's lock. */
struct msg *msg_hold(struct msg *msg, struct quota *quota, uid_t uid);

/* Gives back what msg_hold gave. */
void msg_let_go(struct msg *msg);

/* Return: what @msg counts for in the quota, in bytes. */
static inline uint64_t msg_charge_bytes(const struct msg *msg)
{
    size_t size_bytes = msg->size_bytes + headers_charge_bytes(msg->headers);

    return size_bytes > MSG_MIN_CHARGE_BYTES ? size_bytes : MSG_MIN_CHARGE_BYTES;
}

#endif
