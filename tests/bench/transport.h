/* The ways to move a message that are compared, all behind one interface.
 *
 * A channel is one of them, opened for messages of one size and with room for a batch of them. It
 * belongs to who opened it; a forked child may use the other end. */
#ifndef IPCFS_TESTS_BENCH_TRANSPORT_H
#define IPCFS_TESTS_BENCH_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <sched.h>
#include <stdio.h>
#include <sys/types.h>

enum mount_kind {
    MOUNT_NULL,
    MOUNT_NULL_DEV,
    MOUNT_NULL_URING,
    MOUNT_IPCFS_DEV,
    MOUNT_IPCFS_URING,
    N_MOUNTS,
};

struct bench_env {
    const char *dirs[N_MOUNTS]; /* NULL: it can't be had */
    pid_t pids[N_MOUNTS];       /* the daemons */
    size_t n_batch;             /* how many messages are sent before the first is received */
    const cpu_set_t *partner_cpus;
};

struct transport;

struct channel {
    const struct transport *transport;
    size_t size_bytes;
    int send_fd;
    int recv_fd;
    FILE *send_file; /* of lines, which are collected */
    FILE *recv_file;
};

struct transport {
    const char *name;
    enum mount_kind mount; /* N_MOUNTS: it needs none */
    bool connects;         /* what one process sends another receives; not so with the null file */
    /* Return: 0; a negative errno: it can't be had here. */
    int (*open)(struct channel *channel, const struct bench_env *env, const char *name);
    /* Each moves one message of size_bytes, and waits where there is no room or none there.
     * Return: whether all of it was moved; errno. */
    bool (*send)(const struct channel *channel, const void *buf);
    bool (*receive)(const struct channel *channel, void *buf);
    void (*close)(const struct channel *channel);
    /* Not NULL: messages are collected, many a system call, and this moves those that are left.
     * Only a stream of them can be measured. Return: whether they were moved; errno. */
    bool (*flush)(const struct channel *channel);
};

enum transport_kind {
    TRANSPORT_NULL_LIBFUSE,
    TRANSPORT_NULL_DEV,
    TRANSPORT_NULL_URING,
    TRANSPORT_IPCFS_PACKET,
    TRANSPORT_IPCFS_URING,
    TRANSPORT_IPCFS,
    TRANSPORT_IPCFS_LINES,
    TRANSPORT_MQ,
    TRANSPORT_SEQPACKET,
    TRANSPORT_PIPE,
    N_TRANSPORTS,
};

extern const struct transport transports[N_TRANSPORTS];

/* Opens a channel; @name, of letters and digits, is its own.
 * Return: 0; a negative errno: it can't be had here. */
int channel_open(struct channel *channel, enum transport_kind kind, size_t size_bytes,
                 const struct bench_env *env, const char *name);
void channel_close(const struct channel *channel);

#endif
