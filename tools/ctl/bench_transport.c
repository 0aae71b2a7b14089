#include "bench_transport.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/lib/ipcring.h"
#include "core/lib/ring_abi.h"
#include "util.h"

/* What a stream moves with one system call. */
#define COLLECTED_BYTES 65536

/* Of the rings: about this much memory, but few enough slots for any quota. */
#define RING_BYTES (2 << 20)
#define RING_SLOTS_MIN 16

/* How long an end of the plain ring looks for itself before it lets others run. */
#define N_SPINS 2000

static unsigned int n_made;

/* A name that nobody else has; the caller's to free. */
static char *make_name(void)
{
    return xasprintf("ipcctl-bench.%d.%u", (int)getpid(), n_made++);
}

static int bench_make_directory(struct channel *channel, const char *room)
{
    AUTO_FREE char *name = make_name();

    channel->path = xasprintf("%s/%s/%s", channel->mount, room, name);
    return mkdir(channel->path, 0700) < 0 ? -errno : 0;
}

static int no_attach(struct channel *channel)
{
    (void)channel;
    return 0;
}

static int no_flush(struct channel *channel)
{
    (void)channel;
    return 0;
}

static int write_whole(int fd, const void *data, size_t n_bytes)
{
    return write_all(fd, data, n_bytes);
}

static int read_whole(int fd, void *data, size_t n_bytes)
{
    for (size_t n_read = 0; n_read < n_bytes;) {
        ssize_t n = read(fd, (char *)data + n_read, n_bytes - n_read);

        if (n <= 0)
            return n < 0 ? -errno : -EPIPE;
        n_read += (size_t)n;
    }
    return 0;
}

static int fd_send(struct channel *channel, const void *message)
{
    ssize_t n = write(channel->send_fd, message, channel->size_bytes);

    return n < 0 ? -errno : (size_t)n == channel->size_bytes ? 0 : -EIO;
}

static int fd_receive(struct channel *channel, void *message)
{
    ssize_t n = read(channel->recv_fd, message, channel->size_bytes);

    return n < 0 ? -errno : (size_t)n == channel->size_bytes ? 0 : -EIO;
}

/* --- mailboxes --- */

static int open_in(const struct channel *channel, const char *file, int flags)
{
    AUTO_FREE char *path = xasprintf("%s/%s", channel->path, file);
    int fd = open(path, flags | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static int open_box(struct channel *channel, const char *send, const char *recv, int recv_flags)
{
    int r = bench_make_directory(channel, "mbox");

    if (r < 0)
        return r;
    channel->send_fd = open_in(channel, send, O_WRONLY);
    if (channel->send_fd < 0)
        return channel->send_fd;
    channel->recv_fd = open_in(channel, recv, O_RDONLY | recv_flags);
    return channel->recv_fd < 0 ? channel->recv_fd : 0;
}

static int box_open(struct channel *channel)
{
    return open_box(channel, "send", "recv", O_DIRECT);
}

/* Whoever was killed in the middle has left messages. */
static void empty_box(const struct channel *channel)
{
    size_t n_bytes = channel->size_bytes + 1; /* with a newline */
    AUTO_FREE char *message = xrealloc(NULL, n_bytes, 1);
    /* A message a read. */
    AUTO_CLOSE int fd = open_in(channel, "recv", O_RDONLY | O_NONBLOCK | O_DIRECT);

    if (fd < 0)
        return;
    while (read(fd, message, n_bytes) >= 0)
        continue;
}

static void close_fds(struct channel *channel)
{
    if (channel->send_fd >= 0)
        close(channel->send_fd);
    if (channel->recv_fd >= 0 && channel->recv_fd != channel->send_fd)
        close(channel->recv_fd);
}

static void directory_close(struct channel *channel)
{
    close_fds(channel);
    if (channel->path && rmdir(channel->path) < 0 && errno == ENOTEMPTY) {
        empty_box(channel);
        rmdir(channel->path);
    }
}

/* --- lines --- */

static int lines_open(struct channel *channel)
{
    return open_box(channel, "send.lines", "recv.lines", 0);
}

static int lines_attach(struct channel *channel)
{
    channel->collected = xrealloc(NULL, COLLECTED_BYTES + channel->size_bytes, 1);
    return 0;
}

static int lines_flush(struct channel *channel)
{
    int r = write_whole(channel->send_fd, channel->collected, channel->n_collected);

    channel->n_collected = 0;
    return r;
}

/* A message's last byte is the newline. */
static int lines_send(struct channel *channel, const void *message)
{
    char *end = mempcpy(channel->collected + channel->n_collected, message, channel->size_bytes);

    end[-1] = '\n';
    channel->n_collected += channel->size_bytes;
    return channel->n_collected >= COLLECTED_BYTES ? lines_flush(channel) : 0;
}

static int lines_receive(struct channel *channel, void *message)
{
    size_t n_got = 0;

    while (n_got < channel->size_bytes) {
        size_t n_left = channel->n_collected - channel->n_used;
        size_t n = channel->size_bytes - n_got;

        if (n_left == 0) {
            ssize_t r = read(channel->recv_fd, channel->collected, COLLECTED_BYTES);

            if (r <= 0)
                return r < 0 ? -errno : -EPIPE;
            channel->n_collected = (size_t)r;
            channel->n_used = 0;
            continue;
        }
        n = n < n_left ? n : n_left;
        memcpy((char *)message + n_got, channel->collected + channel->n_used, n);
        n_got += n;
        channel->n_used += n;
    }
    return 0;
}

/* --- rings --- */

static size_t slot_bytes(size_t size_bytes)
{
    size_t n = (size_bytes + IPCRING_WORD_BYTES + 7) & ~(size_t)7;

    return n < IPCRING_SLOT_BYTES_MIN ? IPCRING_SLOT_BYTES_MIN : n;
}

/* A power of two. */
static size_t n_slots(size_t size_bytes)
{
    size_t n = RING_SLOTS_MIN;

    while (2 * n * slot_bytes(size_bytes) <= RING_BYTES)
        n *= 2;
    return n;
}

static int configure_ring(const struct channel *channel)
{
    char text[128];
    int fd = open_in(channel, "config", O_WRONLY);
    int n = snprintf(text, sizeof(text),
                     "slots=%zu\nslot_bytes=%zu\nproducers=one\nconsumers=one\n",
                     n_slots(channel->size_bytes), slot_bytes(channel->size_bytes));
    int r;

    if (fd < 0)
        return fd;
    r = write_whole(fd, text, (size_t)n);
    close(fd);
    return r;
}

static int ring_open(struct channel *channel)
{
    int r = bench_make_directory(channel, "ring");

    return r < 0 ? r : configure_ring(channel);
}

static int ring_attach(struct channel *channel)
{
    AUTO_FREE char *map = xasprintf("%s/map", channel->path);
    struct ipcring *ring;
    int r = ipcring_open(map, &ring);

    if (r == 0)
        channel->handle = ring;
    return r;
}

static int ring_send(struct channel *channel, const void *message)
{
    return ipcring_produce(channel->handle, message, channel->size_bytes, IPCRING_FOREVER);
}

static int ring_receive(struct channel *channel, void *message)
{
    int n = ipcring_consume(channel->handle, message, channel->size_bytes, IPCRING_FOREVER);

    return n < 0 ? n : 0;
}

/* --- what else there is --- */

/* Without privileges a queue has few places and short messages (/proc/sys/fs/mqueue). */
static int mq_open_channel(struct channel *channel)
{
    static const long places[] = { 1024, 256, 64, 10 };
    AUTO_FREE char *name = make_name();
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
    return write_whole(channel->send_fd, message, channel->size_bytes);
}

/* It knows no messages. */
static int pipe_receive(struct channel *channel, void *message)
{
    return read_whole(channel->recv_fd, message, channel->size_bytes);
}

static int seqpacket_open(struct channel *channel)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    channel->send_fd = fds[0];
    channel->recv_fd = fds[1];
    return 0;
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
    AUTO_FREE char *name = make_name();
    AUTO_FREE char *path = xasprintf("/%s", name);
    AUTO_CLOSE int fd = shm_open(path, O_RDWR | O_CREAT | O_EXCL, 0600);

    if (fd < 0)
        return -errno;
    shm_unlink(path);
    channel->n_shared = sizeof(struct plain) +
                        n_slots(channel->size_bytes) * slot_bytes(channel->size_bytes);
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

    return plain->slots +
           (pos & (n_slots(channel->size_bytes) - 1)) * slot_bytes(channel->size_bytes);
}

static int shm_send(struct channel *channel, const void *message)
{
    struct plain *plain = channel->shared;
    uint64_t head = atomic_load_explicit(&plain->head, memory_order_relaxed);

    wait_for(&plain->tail, head + 1 - n_slots(channel->size_bytes));
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

const struct transport transports[N_TRANSPORTS] = {
    [TRANSPORT_MAILBOX] = { "ipcfs mailbox", false, box_open, no_attach, fd_send, no_flush,
                            fd_receive, directory_close },
    [TRANSPORT_LINES] = { "ipcfs lines", true, lines_open, lines_attach, lines_send, lines_flush,
                          lines_receive, directory_close },
    [TRANSPORT_RING] = { "ipcfs ring", false, ring_open, ring_attach, ring_send, no_flush,
                         ring_receive, directory_close },
    [TRANSPORT_MQ] = { "POSIX queue", false, mq_open_channel, no_attach, mq_send_message, no_flush,
                       mq_receive_message, close_fds },
    [TRANSPORT_PIPE] = { "pipe", false, pipe_open, no_attach, pipe_send, no_flush, pipe_receive,
                         close_fds },
    [TRANSPORT_SEQPACKET] = { "SEQPACKET", false, seqpacket_open, no_attach, fd_send, no_flush,
                              fd_receive, close_fds },
    [TRANSPORT_SHM] = { "/dev/shm", false, shm_open_channel, no_attach, shm_send, no_flush,
                        shm_receive, shm_close },
};

int channel_open(struct channel *channel, enum transport_kind kind, const char *mount,
                 size_t size_bytes)
{
    int r;

    *channel = (struct channel){
        .transport = &transports[kind],
        .mount = mount,
        .size_bytes = size_bytes,
        .send_fd = -1,
        .recv_fd = -1,
    };
    r = channel->transport->open(channel);
    if (r < 0)
        channel_close(channel);
    return r;
}

void channel_close(struct channel *channel)
{
    channel->transport->close(channel);
    free(channel->path);
    free(channel->collected);
}
