/* Channels that a mount has no part in: what a program would use if there were no ipcfs. */
#include "bench_peers.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

/* How long an end of the plain ring looks for itself before it lets others run. */
#define N_SPINS 2000

/* Without privileges a queue has few places and short messages (/proc/sys/fs/mqueue). */
static int mq_open_channel(struct channel *channel)
{
    static const long places[] = { 1024, 256, 64, 10 };
    AUTO_FREE char *name = channel_make_name();
    AUTO_FREE char *path = xasprintf("/%s", name);

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct mq_attr attr = { .mq_maxmsg = places[i], .mq_msgsize = (long)channel->size_bytes };

        channel->send_fd = mq_open(path, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
        if (channel->send_fd >= 0)
            break;
        if (errno != EINVAL && errno != EMFILE && errno != ENOMEM)
            return -errno;
    }
    if (channel->send_fd < 0)
        return -errno;
    mq_unlink(path);
    channel->recv_fd = channel->send_fd;
    return 0;
}

static int mq_send_message(struct channel *channel, const void *message)
{
    return mq_send(channel->send_fd, message, channel->size_bytes, 0) < 0 ? -errno : 0;
}

static int mq_receive_message(struct channel *channel, void *message)
{
    return mq_receive(channel->recv_fd, message, channel->size_bytes, NULL) < 0 ? -errno : 0;
}

static int pipe_open(struct channel *channel)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    channel->send_fd = fds[1];
    channel->recv_fd = fds[0];
    return 0;
}

static int pipe_send(struct channel *channel, const void *message)
{
    return write_all(channel->send_fd, message, channel->size_bytes);
}

static int socket_open(struct channel *channel, int type)
{
    int fds[2];

    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    channel->send_fd = fds[0];
    channel->recv_fd = fds[1];
    return 0;
}

static int datagram_open(struct channel *channel)
{
    return socket_open(channel, SOCK_DGRAM);
}

static int seqpacket_open(struct channel *channel)
{
    return socket_open(channel, SOCK_SEQPACKET);
}

/* --- System V --- */

#define SYSV_TYPE 1

static int sysv_open(struct channel *channel)
{
    channel->queue_id = msgget(IPC_PRIVATE, 0600);
    return channel->queue_id < 0 ? -errno : 0;
}

/* A message is sent with its type before it. */
static int sysv_attach(struct channel *channel)
{
    channel->collected = xrealloc(NULL, sizeof(long) + channel->size_bytes, 1);
    return 0;
}

static int sysv_send(struct channel *channel, const void *message)
{
    long type = SYSV_TYPE;

    memcpy(channel->collected, &type, sizeof(type));
    memcpy(channel->collected + sizeof(type), message, channel->size_bytes);
    return msgsnd(channel->queue_id, channel->collected, channel->size_bytes, 0) < 0 ? -errno : 0;
}

static int sysv_receive(struct channel *channel, void *message)
{
    ssize_t n = msgrcv(channel->queue_id, channel->collected, channel->size_bytes, SYSV_TYPE, 0);

    if (n < 0)
        return -errno;
    memcpy(message, channel->collected + sizeof(long), (size_t)n);
    return 0;
}

static void sysv_close(struct channel *channel)
{
    if (channel->queue_id >= 0)
        msgctl(channel->queue_id, IPC_RMID, NULL);
}

/* --- a plain ring in /dev/shm, as one writes it by hand --- */

/* Each position is written by one end, and kept off the other's cache line. */
struct plain {
    _Alignas(128) _Atomic uint64_t head;
    _Alignas(128) _Atomic uint64_t tail;
    _Alignas(128) char slots[];
};

static int shm_open_channel(struct channel *channel)
{
    AUTO_FREE char *name = channel_make_name();
    AUTO_FREE char *path = xasprintf("/%s", name);
    AUTO_CLOSE int fd = shm_open(path, O_RDWR | O_CREAT | O_EXCL, 0600);

    if (fd < 0)
        return -errno;
    shm_unlink(path);
    channel->n_shared = sizeof(struct plain) + channel_n_slots(channel->size_bytes) *
                                                   channel_slot_bytes(channel->size_bytes);
    if (ftruncate(fd, (off_t)channel->n_shared) < 0)
        return -errno;
    channel->shared = mmap(NULL, channel->n_shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (channel->shared == MAP_FAILED) {
        channel->shared = NULL;
        return -errno;
    }
    return 0;
}

/* Waits until @position is @wanted or beyond. */
static void wait_for(_Atomic uint64_t *position, uint64_t wanted)
{
    unsigned int n = 0;

    while ((int64_t)(atomic_load_explicit(position, memory_order_acquire) - wanted) < 0) {
        if (++n % N_SPINS == 0)
            sched_yield();
    }
}

static char *slot_of(const struct channel *channel, uint64_t pos)
{
    struct plain *plain = channel->shared;

    return plain->slots + (pos & (channel_n_slots(channel->size_bytes) - 1)) *
                              channel_slot_bytes(channel->size_bytes);
}

static int shm_send(struct channel *channel, const void *message)
{
    struct plain *plain = channel->shared;
    uint64_t head = atomic_load_explicit(&plain->head, memory_order_relaxed);

    wait_for(&plain->tail, head + 1 - channel_n_slots(channel->size_bytes));
    memcpy(slot_of(channel, head), message, channel->size_bytes);
    atomic_store_explicit(&plain->head, head + 1, memory_order_release);
    return 0;
}

static int shm_receive(struct channel *channel, void *message)
{
    struct plain *plain = channel->shared;
    uint64_t tail = atomic_load_explicit(&plain->tail, memory_order_relaxed);

    wait_for(&plain->head, tail + 1);
    memcpy(message, slot_of(channel, tail), channel->size_bytes);
    atomic_store_explicit(&plain->tail, tail + 1, memory_order_release);
    return 0;
}

static void shm_close(struct channel *channel)
{
    if (channel->shared)
        munmap(channel->shared, channel->n_shared);
}

/* --- the same, whose reader sleeps until it is told --- */

static int eventfd_open_channel(struct channel *channel)
{
    channel->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    return channel->wake_fd < 0 ? -errno : shm_open_channel(channel);
}

static int eventfd_send(struct channel *channel, const void *message)
{
    int r = shm_send(channel, message);

    return r == 0 && eventfd_write(channel->wake_fd, 1) < 0 ? -errno : r;
}

static int eventfd_receive(struct channel *channel, void *message)
{
    eventfd_t one;

    return eventfd_read(channel->wake_fd, &one) < 0 ? -errno : shm_receive(channel, message);
}

static void eventfd_close(struct channel *channel)
{
    shm_close(channel);
    if (channel->wake_fd >= 0)
        close(channel->wake_fd);
}

const struct transport peer_posix_queue = {
    .name = "POSIX queue",
    .open = mq_open_channel,
    .attach = channel_no_attach,
    .send = mq_send_message,
    .flush = channel_no_flush,
    .receive = mq_receive_message,
    .close = channel_close_fds,
};

const struct transport peer_sysv_queue = {
    .name = "System V queue",
    .open = sysv_open,
    .attach = sysv_attach,
    .send = sysv_send,
    .flush = channel_no_flush,
    .receive = sysv_receive,
    .close = sysv_close,
};

const struct transport peer_pipe = {
    .name = "pipe",
    .open = pipe_open,
    .attach = channel_no_attach,
    .send = pipe_send,
    .flush = channel_no_flush,
    .receive = channel_read_whole, /* it knows no messages */
    .close = channel_close_fds,
};

const struct transport peer_datagram = {
    .name = "Unix datagrams",
    .open = datagram_open,
    .attach = channel_no_attach,
    .send = channel_fd_send,
    .flush = channel_no_flush,
    .receive = channel_fd_receive,
    .close = channel_close_fds,
};

const struct transport peer_seqpacket = {
    .name = "SEQPACKET",
    .open = seqpacket_open,
    .attach = channel_no_attach,
    .send = channel_fd_send,
    .flush = channel_no_flush,
    .receive = channel_fd_receive,
    .close = channel_close_fds,
};

const struct transport peer_shm_eventfd = {
    .name = "shm + eventfd",
    .open = eventfd_open_channel,
    .attach = channel_no_attach,
    .send = eventfd_send,
    .flush = channel_no_flush,
    .receive = eventfd_receive,
    .close = eventfd_close,
};

const struct transport peer_shm = {
    .name = "/dev/shm",
    .open = shm_open_channel,
    .attach = channel_no_attach,
    .send = shm_send,
    .flush = channel_no_flush,
    .receive = shm_receive,
    .close = shm_close,
};
