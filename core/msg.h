/* A message: who sent it, when, how urgent, and its bytes.
 *
 * What a message says never changes once it is in a mailbox, so a queue, an open file and a reply
 * on its way share one by counting references. Its place in a mailbox does change; those members
 * belong to the mailbox that holds it and are guarded by that mailbox's lock. */
#ifndef IPCFS_CORE_MSG_H
#define IPCFS_CORE_MSG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <time.h>

#include "hash.h"

/* Priorities run from 0 to MSG_N_PRIOS - 1; the highest is delivered first. */
#define MSG_N_PRIOS 32

/* A message is charged to its sender by its size, and by this much at least: an empty one takes
 * memory too. */
#define MSG_MIN_CHARGE_BYTES 128

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

    /* Set by the mailbox on arrival, fixed from then on. */
    uint64_t id;             /* unique in a mount, rising */
    struct timespec arrived; /* CLOCK_REALTIME */

    /* The mailbox's, under its lock. */
    TAILQ_ENTRY(msg) link;
    UT_hash_handle hh;      /* by id */
    bool is_place;          /* no message but the place for one (mbox_reserve) */
    uint64_t seq;           /* place among messages of one priority in this mailbox */
    struct mbox_op *poster; /* the send that waits for this message to be accepted; or NULL */

    unsigned char data[];
};

/* Makes a message of @size_bytes bytes, which the caller is to fill in before others see it.
 * Return: as msg_new. */
struct msg *msg_alloc(size_t size_bytes, unsigned int prio, struct msg_sender sender);

/* Makes a message from a copy of @size_bytes bytes at @data.
 * Return: the message, with one reference, the caller's; NULL when memory is short. */
struct msg *msg_new(const void *data, size_t size_bytes, unsigned int prio,
                    struct msg_sender sender);

struct msg *msg_ref(struct msg *msg);

/* Gives one reference back; the last one frees. @msg may be NULL. */
void msg_unref(struct msg *msg);

/* Return: what @msg counts for in the quota, in bytes. */
static inline uint64_t msg_charge_bytes(const struct msg *msg)
{
    return msg->size_bytes > MSG_MIN_CHARGE_BYTES ? msg->size_bytes : MSG_MIN_CHARGE_BYTES;
}

#endif
