/* libipcring: produce into and consume from a ring of ipcfs, at memory speed.
 *
 *     struct ipcring *ring;
 *     int r = ipcring_open("/mnt/ipc/ring/ticks/map", &ring);
 *     if (r == 0)
 *         r = ipcring_produce(ring, "hello", 5, IPCRING_FOREVER);
 *     ipcring_close(ring);
 *
 * A handle is used by one thread at a time; open one for each thread. After fork the child may use
 * neither its parent's handles nor what they reserved: it opens its own.
 *
 * All functions return a negative errno when they fail, and have then changed nothing, unless it
 * says otherwise. What any of them may return:
 *   -EIDRM   the ring was removed or replaced: close it. Who sleeps also learns so, within a second, that the
 *            daemon is gone without having said it
 *   -EPROTO  the map is no ring, or somebody has scribbled over it
 * A timeout is in nanoseconds from now; IPCRING_FOREVER is none, 0 is not to wait (-EAGAIN then in
 * place of -ETIMEDOUT). A wait that a signal's handler interrupts returns -EINTR.
 *
 * A ring made for one producer has one: the first who produces holds that role until it closes its
 * handle or dies; others get -EBUSY. So it is with one consumer. A process that executes another program
 * lives on: it closes its handles before.
 *
 * In a ring whose consumers each see everything (consumers=each) every handle has a position of its own, and sees what is
 * published after it was opened. Producers don't wait for it: when it was overtaken the next consume says -EOVERFLOW,
 * once, ipcring_missed() how many messages that are in all, and the one after that goes on with the oldest there is.
 *
 * Other processes may write into the map at any time: the library copies what it decides on, but
 * what a pointer from ipcring_peek shows may change under the reader's eyes. Where the map's memory is not
 * sealed, they may truncate it: who touches it then gets SIGBUS.
 *
 * Context: the thread whose turn it is with the handle, and no handler of signals. Nothing sleeps but what takes a timeout,
 * and that as it says. */
#ifndef IPCRING_H
#define IPCRING_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ipcring;

#define IPCRING_FOREVER INT64_C(-1)

/* Opens the ring whose map is at @path, through symbolic links.
 * Return: 0 and *@ret_ring, to be closed by ipcring_close; the errno of open(2) or mmap(2); -ENOMEM. */
int ipcring_open(const char *path, struct ipcring **ret_ring);

/* The same for an open descriptor, readable and writable, which stays the caller's. Return: as ipcring_open. */
int ipcring_open_fd(int fd, struct ipcring **ret_ring);

/* The same for a map that is mapped already, shared, readable and writable, and stays the caller's
 * to unmap after ipcring_close. Return: as ipcring_open. */
int ipcring_attach(void *map, size_t n_bytes, struct ipcring **ret_ring);

/* Gives up what is reserved and closes. @ring may be NULL. */
void ipcring_close(struct ipcring *ring);

/* How long a waiting call looks for itself before it sleeps; 20 microseconds unless set. Context:
 * never blocks. */
void ipcring_set_spin(struct ipcring *ring, uint64_t spin_ns);

/* Return: how long a message may be, in bytes. */
size_t ipcring_message_bytes(const struct ipcring *ring);

/* Puts the @n_bytes at @data in as one message.
 * Return: 0; -EMSGSIZE: longer than ipcring_message_bytes; -EAGAIN: full; -EBUSY.
 * Context: never blocks. */
int ipcring_try_produce(struct ipcring *ring, const void *data, size_t n_bytes);

/* The same, and waits while the ring is full. Return: also -ETIMEDOUT, -EINTR. */
int ipcring_produce(struct ipcring *ring, const void *data, size_t n_bytes, int64_t timeout_ns);

/* Takes the next message into @data, which holds @max_bytes; those may change also on failure.
 * Return: its length; -EMSGSIZE: it is longer, and stays; -EAGAIN: empty; -EBUSY; -EOVERFLOW: messages were missed, and the
 * next ones are there.
 * Context: never blocks. */
int ipcring_try_consume(struct ipcring *ring, void *data, size_t max_bytes);

/* The same, and waits while the ring is empty. Return: also -ETIMEDOUT, -EINTR. */
int ipcring_consume(struct ipcring *ring, void *data, size_t max_bytes, int64_t timeout_ns);

/* One message of a batch. */
struct ipcring_msg {
    void *data;
    size_t n_bytes; /* produce: its length; consume: room, then its length */
};

/* Produces messages in order, as many of the @n as there is room for, waiting for room for one.
 * Return: how many, at least 1; else as ipcring_produce, for the first. */
int ipcring_produce_batch(struct ipcring *ring, const struct ipcring_msg *msgs, unsigned int n,
                          int64_t timeout_ns);

/* Takes messages in order, as many of up to @n, and of up to 64, as there are and fit, waiting for one. All
 * are taken at one moment: a consumer that dies before has taken none.
 * Return: how many, at least 1; else as ipcring_consume, for the first. */
int ipcring_consume_batch(struct ipcring *ring, struct ipcring_msg *msgs, unsigned int n,
                          int64_t timeout_ns);

/* Takes a place in the ring to be filled in place: *@ret_data, ipcring_message_bytes long. Consumers
 * wait for it; so don't dawdle. One at a time.
 * Return: 0; as ipcring_produce; -EALREADY: one is reserved. */
int ipcring_reserve(struct ipcring *ring, void **ret_data, int64_t timeout_ns);

/* Publishes what was reserved, its first @n_bytes.
 * Return: 0; -EMSGSIZE: it stays reserved; -EINVAL: nothing is reserved; -ESTALE: it was taken for
 * dead and skipped, and nothing is reserved any more. */
int ipcring_commit(struct ipcring *ring, size_t n_bytes);

/* Gives up what was reserved, if anything. */
void ipcring_cancel(struct ipcring *ring);

/* Shows the next message where it lies, with one consumer: *@ret_data, valid until ipcring_release.
 * Return: its length; as ipcring_consume; -EOPNOTSUPP: the ring has many consumers, or each sees everything. */
int ipcring_peek(struct ipcring *ring, const void **ret_data, int64_t timeout_ns);

/* Takes the message that was shown. Return: 0; -EINVAL: none was. */
int ipcring_release(struct ipcring *ring);

/* Wakes all who sleep, to look again. */
void ipcring_wake(struct ipcring *ring);

/* What a ring can be ready for. */
#define IPCRING_READABLE 1U /* a consume would not wait */
#define IPCRING_WRITABLE 2U /* a produce would not wait */

/* For event loops with futex_waitv(2) or io_uring: announces a sleeper that waits for @event, one of
 * the two.
 * Return: 1: it is ready already; 0: sleep while *(*@ret_word) is *@ret_value, and at most *@ret_ns
 * at a time, then look again. */
int ipcring_arm(struct ipcring *ring, unsigned int event, uint32_t **ret_word, uint32_t *ret_value,
                uint64_t *ret_ns);

struct ipcring_stat {
    uint32_t slots;
    uint32_t slot_bytes;
    uint32_t flags;     /* IPCRING_ONE_*, IPCRING_EACH_CONSUMER of ring_abi.h */
    uint64_t head;      /* positions; their difference is what waits */
    uint64_t tail;      /* where each sees everything: this handle's */
    uint64_t n_sleeps;  /* of this handle: how often it slept */
    uint64_t n_wakes;   /* how often it woke others */
    uint64_t n_rescues; /* how often it slept to the end though something was there */
    uint64_t n_skipped; /* dead producers' places that it skipped */
};

void ipcring_get_stat(const struct ipcring *ring, struct ipcring_stat *ret_stat);

/* Return: how many messages this handle has missed because it was overtaken, where each sees everything; places that
 * dead producers left are counted with them. Since version 1.1. */
uint64_t ipcring_missed(const struct ipcring *ring);

#ifdef __cplusplus
}
#endif

#endif
