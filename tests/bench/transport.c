#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the kernel adds to a message's size when it counts a socket's buffer, and more. */
#define SOCKET_OVERHEAD_BYTES 4096

/* Opens the two ends. Return: 0; a negative errno. */
static int open_ends(struct channel *channel, const char *send_path, const char *recv_path,
                     int recv_flags)
{
    int r;

    channel->send_fd = open(send_path, O_WRONLY | O_CLOEXEC);
    if (channel->send_fd < 0)
        return -errno;
    channel->recv_fd = open(recv_path, O_RDONLY | O_CLOEXEC | recv_flags);
    if (channel->recv_fd >= 0)
        return 0;
    r = -errno;
    close(channel->send_fd);
    return r;
}

static void close_ends(const struct channel *channel)
{
    close(channel->send_fd);
    close(channel->recv_fd);
}

static bool write_message(const struct channel *channel, const void *buf)
{
    return write(channel->send_fd, buf, channel->size_bytes) == (ssize_t)channel->size_bytes;
}

static bool read_message(const struct channel *channel, void *buf)
{
    return read(channel->recv_fd, buf, channel->size_bytes) == (ssize_t)channel->size_bytes;
}

/* O_DIRECT as in packet mode. The file's other flags make it change nothing, but then nobody has
 * to believe that. */
static int open_null(struct channel *channel, const struct bench_env *env, const char *name)
{
    char path[PATH_MAX];

    (void)name;
    snprintf(path, sizeof(path), "%s/null%zu", env->dirs[channel->transport->mount],
             channel->size_bytes);
    return open_ends(channel, path, path, O_DIRECT);
}

static int open_mailbox(struct channel *channel, const struct bench_env *env, const char *name,
                        int recv_flags)
{
    char box[PATH_MAX];
    char send_path[PATH_MAX + 8];
    char recv_path[PATH_MAX + 8];

    snprintf(box, sizeof(box), "%s/mbox/%s", env->dirs[channel->transport->mount], name);
    if (mkdir(box, 0700) < 0)
        return -errno;
    snprintf(send_path, sizeof(send_path), "%s/send", box);
    snprintf(recv_path, sizeof(recv_path), "%s/recv", box);
    return open_ends(channel, send_path, recv_path, recv_flags);
}

static int open_packet(struct channel *channel, const struct bench_env *env, const char *name)
{
    return open_mailbox(channel, env, name, O_DIRECT);
}

static int open_normal(struct channel *channel, const struct bench_env *env, const char *name)
{
    return open_mailbox(channel, env, name, 0);
}

/* As cat does: one open, one message. */
static bool read_to_end(const struct channel *channel, void *buf)
{
    char path[64];
    char byte;
    bool is_read;
    int fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", channel->recv_fd);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    is_read = read(fd, buf, channel->size_bytes) == (ssize_t)channel->size_bytes &&
              read(fd, &byte, 1) == 0;
    close(fd);
    return is_read;
}

/* What one system call moves at the most. */
#define LINES_BUFFER_BYTES (1 << 20)

static int open_mailbox_lines(struct channel *channel, const char *box)
{
    char send_path[PATH_MAX + 16];
    char recv_path[PATH_MAX + 16];
    int r;

    snprintf(send_path, sizeof(send_path), "%s/send.lines", box);
    snprintf(recv_path, sizeof(recv_path), "%s/recv.lines", box);
    r = open_ends(channel, send_path, recv_path, 0);
    if (r < 0)
        return r;
    channel->send_file = fdopen(channel->send_fd, "w");
    channel->recv_file = fdopen(channel->recv_fd, "r");
    if (!channel->send_file || !channel->recv_file)
        return -ENOMEM;
    setvbuf(channel->send_file, NULL, _IOFBF, LINES_BUFFER_BYTES);
    setvbuf(channel->recv_file, NULL, _IOFBF, LINES_BUFFER_BYTES);
    return 0;
}

static int open_lines(struct channel *channel, const struct bench_env *env, const char *name)
{
    char box[PATH_MAX];

    snprintf(box, sizeof(box), "%s/mbox/%s", env->dirs[channel->transport->mount], name);
    if (mkdir(box, 0700) < 0)
        return -errno;
    return open_mailbox_lines(channel, box);
}

/* The newline is the message's last byte here. */
static bool send_line(const struct channel *channel, const void *buf)
{
    return fwrite(buf, channel->size_bytes - 1, 1, channel->send_file) == 1 &&
           putc('\n', channel->send_file) == '\n';
}

static bool receive_line(const struct channel *channel, void *buf)
{
    return fread(buf, channel->size_bytes, 1, channel->recv_file) == 1;
}

static bool flush_lines(const struct channel *channel)
{
    return fflush(channel->send_file) == 0;
}

static void close_lines(const struct channel *channel)
{
    fclose(channel->send_file);
    fclose(channel->recv_file);
}

static int open_mq(struct channel *channel, const struct bench_env *env, const char *name)
{
    struct rlimit no_limit = { RLIM_INFINITY, RLIM_INFINITY };
    struct mq_attr attr = {
        .mq_maxmsg = (long)env->n_batch,
        .mq_msgsize = (long)channel->size_bytes,
    };
    char path[NAME_MAX];

    /* Only root may, and may then exceed /proc/sys/fs/mqueue too. */
    setrlimit(RLIMIT_MSGQUEUE, &no_limit);
    snprintf(path, sizeof(path), "/ipcfs-bench-%d-%s", (int)getpid(), name);
    channel->send_fd = mq_open(path, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    if (channel->send_fd < 0)
        return -errno;
    mq_unlink(path);
    channel->recv_fd = channel->send_fd;
    return 0;
}

static bool send_mq(const struct channel *channel, const void *buf)
{
    return mq_send(channel->send_fd, buf, channel->size_bytes, 0) == 0;
}

static bool receive_mq(const struct channel *channel, void *buf)
{
    return mq_receive(channel->recv_fd, buf, channel->size_bytes, NULL) ==
           (ssize_t)channel->size_bytes;
}

static void close_mq(const struct channel *channel)
{
    mq_close(channel->send_fd);
}

/* Return: whether the kernel allows a batch to wait in the socket. */
static bool set_socket_room(int fd, size_t bytes)
{
    int wanted = (int)bytes;
    int got = 0;
    socklen_t size = sizeof(got);

    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &wanted, sizeof(wanted)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof(wanted));
    return getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &got, &size) == 0 && got >= wanted;
}

static int open_seqpacket(struct channel *channel, const struct bench_env *env, const char *name)
{
    size_t room_bytes = env->n_batch * 2 * (channel->size_bytes + SOCKET_OVERHEAD_BYTES);
    int fds[2];

    (void)name;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    channel->send_fd = fds[0];
    channel->recv_fd = fds[1];
    if (set_socket_room(channel->send_fd, room_bytes))
        return 0;
    close_ends(channel);
    return -ENOBUFS;
}

static int open_pipe(struct channel *channel, const struct bench_env *env, const char *name)
{
    size_t room_bytes = env->n_batch * channel->size_bytes;
    int fds[2];

    (void)name;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    channel->send_fd = fds[1];
    channel->recv_fd = fds[0];
    if (room_bytes <= (size_t)fcntl(fds[0], F_GETPIPE_SZ) ||
        fcntl(fds[0], F_SETPIPE_SZ, (int)room_bytes) >= 0)
        return 0;
    close_ends(channel);
    return -ENOBUFS;
}

/* A pipe knows no messages: a reader can meet one half written. */
static bool receive_pipe(const struct channel *channel, void *buf)
{
    for (size_t n = 0; n < channel->size_bytes;) {
        ssize_t r = read(channel->recv_fd, (char *)buf + n, channel->size_bytes - n);

        if (r <= 0)
            return false;
        n += (size_t)r;
    }
    return true;
}

const struct transport transports[N_TRANSPORTS] = {
    [TRANSPORT_NULL_LIBFUSE] = { "null FUSE file", MOUNT_NULL, false, open_null, write_message,
                                 read_message, close_ends },
    [TRANSPORT_NULL_DEV] = { "null file, dev", MOUNT_NULL_DEV, false, open_null, write_message,
                             read_message, close_ends },
    [TRANSPORT_NULL_URING] = { "null file, uring", MOUNT_NULL_URING, false, open_null,
                               write_message, read_message, close_ends },
    [TRANSPORT_IPCFS_PACKET] = { "ipcfs (O_DIRECT), dev", MOUNT_IPCFS_DEV, true, open_packet,
                                 write_message, read_message, close_ends },
    [TRANSPORT_IPCFS_URING] = { "ipcfs (O_DIRECT), uring", MOUNT_IPCFS_URING, true, open_packet,
                                write_message, read_message, close_ends },
    [TRANSPORT_IPCFS] = { "ipcfs (to end of file)", MOUNT_IPCFS_DEV, true, open_normal,
                          write_message, read_to_end, close_ends },
    [TRANSPORT_IPCFS_LINES] = { "ipcfs (lines)", MOUNT_IPCFS_DEV, true, open_lines, send_line,
                                receive_line, close_lines, flush_lines },
    [TRANSPORT_MQ] = { "POSIX mq", N_MOUNTS, true, open_mq, send_mq, receive_mq, close_mq },
    [TRANSPORT_SEQPACKET] = { "AF_UNIX SEQPACKET", N_MOUNTS, true, open_seqpacket, write_message,
                              read_message, close_ends },
    [TRANSPORT_PIPE] = { "pipe", N_MOUNTS, true, open_pipe, write_message, receive_pipe,
                         close_ends },
};

int channel_open(struct channel *channel, enum transport_kind kind, size_t size_bytes,
                 const struct bench_env *env, const char *name)
{
    *channel = (struct channel){ .transport = &transports[kind], .size_bytes = size_bytes };
    if (transports[kind].mount != N_MOUNTS && !env->dirs[transports[kind].mount])
        return -ENODEV;
    return channel->transport->open(channel, env, name);
}

void channel_close(const struct channel *channel)
{
    channel->transport->close(channel);
}
