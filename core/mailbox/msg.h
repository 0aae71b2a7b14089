/* A message: who sent it, when, how urgent, its headers, and its bytes.
 *
 * What a message says never changes once it is in a mailbox, so queues, an open file and a reply
 * on its way share one by counting references. Its place in a mailbox does change, and is apart (entry.h).
 *
 * It carries what it counts for in the quota, until its last reference is gone. Its places hold this charge; who
 * else keeps a message holds it too (msg_hold).
 *
 * Context: any thread; a message is changed while its maker alone has it. Never blocks. */
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

/* A message is charged to its sender by its size and its headers, and by this much at least: an empty one, and its
 * entry, take memory too. */
#define MSG_MIN_CHARGE_BYTES 128

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
    uint64_t id; /* unique in a mount, rising; a question's is given before it arrives */
    struct timespec arrived; /* CLOCK_REALTIME */

    bool is_call; /* a question, which may be answered (call.h); set by its sender */

    struct quota_charge charge;

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

/* Return: @msg, with a reference more. */
struct msg *msg_ref(struct msg *msg);

/* Gives one reference back; the last one frees, and ends the charge. @msg may be NULL. */
void msg_unref(struct msg *msg);

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
