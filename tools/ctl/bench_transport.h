/* The ways from one process to another that bench compares, all behind one interface.
 *
 * A channel goes one way. Who is to measure opens it, forks the two ends, and closes it; each end, in its
 * own process, attaches before it sends or receives. */
#ifndef IPCFS_TOOLS_CTL_BENCH_TRANSPORT_H
#define IPCFS_TOOLS_CTL_BENCH_TRANSPORT_H

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
    void *shared; /* memory of both ends */
    size_t n_shared;
    void *handle;    /* of this end */
    char *collected; /* messages that leave or came in together */
    size_t n_collected;
    size_t n_used;
};

struct transport {
    const char *name;
    bool is_stream; /* messages go many at a time: there is no round trip to measure */
    /* All return 0 or a negative errno. */
    int (*open)(struct channel *channel);
    int (*attach)(struct channel *channel);
    int (*send)(struct channel *channel, const void *message);
    int (*flush)(struct channel *channel); /* what was sent and did not leave yet */
    int (*receive)(struct channel *channel, void *message);
    void (*close)(struct channel *channel);
};

enum transport_kind {
    TRANSPORT_MAILBOX,
    TRANSPORT_LINES,
    TRANSPORT_RING,
    TRANSPORT_MQ,
    TRANSPORT_PIPE,
    TRANSPORT_SEQPACKET,
    TRANSPORT_SHM,
    N_TRANSPORTS,
};

/* What the others are compared with. */
#define TRANSPORT_BASELINE TRANSPORT_PIPE

extern const struct transport transports[N_TRANSPORTS];

/* Opens a channel for messages of @size_bytes; @mount must outlive it. Return: 0; a negative errno: it can't be
 * had here. */
int channel_open(struct channel *channel, enum transport_kind kind, const char *mount,
                 size_t size_bytes);
void channel_close(struct channel *channel);

#endif
