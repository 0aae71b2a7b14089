/* The ways from one process to another that bench compares (bench_channel.h). */
#ifndef IPCFS_TOOLS_CTL_BENCH_TRANSPORT_H
#define IPCFS_TOOLS_CTL_BENCH_TRANSPORT_H

#include "bench_channel.h"

enum transport_kind {
    /* Of the mount: */
    TRANSPORT_MAILBOX,
    TRANSPORT_DISK,
    TRANSPORT_TOPIC,
    TRANSPORT_LINES,
    TRANSPORT_RING,
    /* Of a mount beside it, where there is one: */
    TRANSPORT_OTHER_MAILBOX,
    TRANSPORT_OTHER_TOPIC,
    TRANSPORT_OTHER_LINES,
    /* Of the kernel alone: */
    TRANSPORT_MQ,
    TRANSPORT_SYSV,
    TRANSPORT_PIPE,
    TRANSPORT_DATAGRAM,
    TRANSPORT_SEQPACKET,
    TRANSPORT_EVENTFD,
    TRANSPORT_SHM,
    N_TRANSPORTS,
};

/* What the others are compared with. */
#define TRANSPORT_BASELINE TRANSPORT_PIPE

/* Return: whether it goes through ipcfs, and through the mount beside. */
static inline bool bench_is_ipcfs(enum transport_kind kind)
{
    return kind <= TRANSPORT_OTHER_LINES;
}

static inline bool bench_is_other(enum transport_kind kind)
{
    return kind >= TRANSPORT_OTHER_MAILBOX && kind <= TRANSPORT_OTHER_LINES;
}

extern const struct transport *const transports[N_TRANSPORTS];

/* Return: what its row is called. */
const char *bench_title(enum transport_kind kind);

/* Opens a channel for messages of @size_bytes; @mount must outlive it. Return: 0; a negative errno: it can't be
 * had here. */
int channel_open(struct channel *channel, enum transport_kind kind, const char *mount,
                 size_t size_bytes);
void channel_close(struct channel *channel);

#endif
