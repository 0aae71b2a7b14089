/* Channels through a mount, and the table of all. */
#include "bench_transport.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench_peers.h"
#include "core/lib/ipcring.h"
#include "util.h"

/* What a stream moves with one system call. */
#define COLLECTED_BYTES 65536

static int bench_make_directory(struct channel *channel, const char *room)
{
    AUTO_FREE char *name = channel_make_name();

    channel->path = xasprintf("%s/%s/%s", channel->mount, room, name);
    return mkdir(channel->path, 0700) < 0 ? -errno : 0;
}

/* --- mailboxes --- */

static int open_in(const struct channel *channel, const char *file, int flags)
{
    AUTO_FREE char *path = xasprintf("%s/%s", channel->path, file);
    int fd = open(path, flags | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static int configure(const struct channel *channel, const char *text)
{
    AUTO_CLOSE int fd = open_in(channel, "config", O_WRONLY);

    return fd < 0 ? fd : write_all(fd, text, strlen(text));
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

static void directory_close(struct channel *channel)
{
    channel_close_fds(channel);
    if (channel->path && rmdir(channel->path) < 0 && errno == ENOTEMPTY) {
        empty_box(channel);
        rmdir(channel->path);
    }
}

/* Each message is on the disk before its sender goes on. */
static int disk_open(struct channel *channel)
{
    int r = box_open(channel);

    if (r == 0)
        r = configure(channel, "durable=disk\n");
    return r == -EINVAL ? -EOPNOTSUPP : r;
}

/* --- topics: to one subscription, that holds up who sends --- */

#define SUBSCRIPTION "/sub/bench"

static int topic_open(struct channel *channel)
{
    AUTO_FREE char *name = channel_make_name();
    AUTO_FREE char *topic = xasprintf("%s/topic/%s", channel->mount, name);
    int r;

    channel->path = xasprintf("%s" SUBSCRIPTION, topic);
    if (mkdir(topic, 0700) < 0 || mkdir(channel->path, 0700) < 0)
        return -errno;
    r = configure(channel, "overflow=block\n");
    if (r < 0)
        return r;
    channel->send_fd = open_in(channel, "../../send", O_WRONLY);
    channel->recv_fd = open_in(channel, "recv", O_RDONLY | O_DIRECT);
    return channel->send_fd < 0 ? channel->send_fd : channel->recv_fd < 0 ? channel->recv_fd : 0;
}

static void topic_close(struct channel *channel)
{
    directory_close(channel);
    channel->path[strlen(channel->path) - strlen(SUBSCRIPTION)] = '\0';
    rmdir(channel->path);
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
    int r = write_all(channel->send_fd, channel->collected, channel->n_collected);

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

static int configure_ring(const struct channel *channel)
{
    AUTO_FREE char *text = xasprintf("slots=%zu\nslot_bytes=%zu\nproducers=one\nconsumers=one\n",
                                     channel_n_slots(channel->size_bytes),
                                     channel_slot_bytes(channel->size_bytes));

    return configure(channel, text);
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

static const struct transport mailbox = {
    .name = "ipcfs mailbox",
    .open = box_open,
    .attach = channel_no_attach,
    .send = channel_fd_send,
    .flush = channel_no_flush,
    .receive = channel_fd_receive,
    .close = directory_close,
};

static const struct transport disk = {
    .name = "ipcfs, on disk",
    .needs = "a mount with a store (-o store=DIR)",
    .open = disk_open,
    .attach = channel_no_attach,
    .send = channel_fd_send,
    .flush = channel_no_flush,
    .receive = channel_fd_receive,
    .close = directory_close,
};

static const struct transport topic = {
    .name = "ipcfs topic",
    .open = topic_open,
    .attach = channel_no_attach,
    .send = channel_fd_send,
    .flush = channel_no_flush,
    .receive = channel_fd_receive,
    .close = topic_close,
};

static const struct transport lines = {
    .name = "ipcfs lines",
    .is_stream = true,
    .open = lines_open,
    .attach = lines_attach,
    .send = lines_send,
    .flush = lines_flush,
    .receive = lines_receive,
    .close = directory_close,
};

static const struct transport ring = {
    .name = "ipcfs ring",
    .open = ring_open,
    .attach = ring_attach,
    .send = ring_send,
    .flush = channel_no_flush,
    .receive = ring_receive,
    .close = directory_close,
};

const struct transport *const transports[N_TRANSPORTS] = {
    [TRANSPORT_MAILBOX] = &mailbox,
    [TRANSPORT_DISK] = &disk,
    [TRANSPORT_TOPIC] = &topic,
    [TRANSPORT_LINES] = &lines,
    [TRANSPORT_RING] = &ring,
    [TRANSPORT_OTHER_MAILBOX] = &mailbox,
    [TRANSPORT_OTHER_TOPIC] = &topic,
    [TRANSPORT_OTHER_LINES] = &lines,
    [TRANSPORT_MQ] = &peer_posix_queue,
    [TRANSPORT_SYSV] = &peer_sysv_queue,
    [TRANSPORT_PIPE] = &peer_pipe,
    [TRANSPORT_DATAGRAM] = &peer_datagram,
    [TRANSPORT_SEQPACKET] = &peer_seqpacket,
    [TRANSPORT_EVENTFD] = &peer_shm_eventfd,
    [TRANSPORT_SHM] = &peer_shm,
};

const char *bench_title(enum transport_kind kind)
{
    static const char *const others[N_TRANSPORTS] = {
        [TRANSPORT_OTHER_MAILBOX] = "other mailbox",
        [TRANSPORT_OTHER_TOPIC] = "other topic",
        [TRANSPORT_OTHER_LINES] = "other lines",
    };

    return others[kind] ? others[kind] : transports[kind]->name;
}

int channel_open(struct channel *channel, enum transport_kind kind, const char *mount,
                 size_t size_bytes)
{
    int r;

    *channel = (struct channel){
        .transport = transports[kind],
        .mount = mount,
        .size_bytes = size_bytes,
        .send_fd = -1,
        .recv_fd = -1,
        .wake_fd = -1,
        .queue_id = -1,
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
