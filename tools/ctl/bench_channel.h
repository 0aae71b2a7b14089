/* A way of messages from one process to another, and the transports that carry them, behind one interface.
 *
 * A channel goes one way. Who is to measure opens it, forks the two ends, and closes it; each end, in its
 * own process, attaches before it sends or receives. */
#ifndef IPCFS_TOOLS_CTL_BENCH_CHANNEL_H
#define IPCFS_TOOLS_CTL_BENCH_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>

struct channel {
    const struct transport *transport;
    const char *mount;
    size_t size_bytes; /* of each message */
    /* What the transport keeps here: */
    char *path;  /* what it has made in the mount */
    int send_fd; /* -1: none */
    int recv_fd;
    int wake_fd;
    int queue_id; /* -1: none */
    void *shared; /* memory of both ends */
    size_t n_shared;
    void *handle;    /* of this end */
    char *collected; /* messages that leave or came in together */
    size_t n_collected;
    size_t n_used;
};

struct transport {
    const char *name;
    const char *needs; /* what is missing where open answers -EOPNOTSUPP; NULL: nothing to tell */
    bool is_stream;    /* messages go many at a time: there is no round trip to measure */
    /* All return 0 or a negative errno. */
    int (*open)(struct channel *channel);
    int (*attach)(struct channel *channel);
    int (*send)(struct channel *channel, const void *message);
    int (*flush)(struct channel *channel); /* what was sent and did not leave yet */
    int (*receive)(struct channel *channel, void *message);
    void (*close)(struct channel *channel);
};

/* --- what transports are made of --- */

/* Return: a name that nobody else has; the caller's to free. */
char *channel_make_name(void);

/* Of a ring: about the same memory for messages of each size. Return: how many slots, a power of two; of how many bytes. */
size_t channel_n_slots(size_t size_bytes);
size_t channel_slot_bytes(size_t size_bytes);

/* Nothing to do. Return: 0. */
int channel_no_attach(struct channel *channel);
int channel_no_flush(struct channel *channel);

/* A message is one write and one read. Return: 0; a negative errno, -EIO where it was not whole. */
int channel_fd_send(struct channel *channel, const void *message);
int channel_fd_receive(struct channel *channel, void *message);

/* A message is so many bytes, in as many reads as it takes. Return: 0; a negative errno, -EPIPE at the end. */
int channel_read_whole(struct channel *channel, void *message);

void channel_close_fds(struct channel *channel);

#endif
