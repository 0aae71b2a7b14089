/* What the kernel offers: a pipe, a socket, a POSIX queue. */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/bench/transport.h"

struct kernel_channel {
    int fds[2]; /* to receive from, to send to */
    mqd_t mq;
    size_t n_bytes;
};

static struct kernel_channel *new_channel(size_t n_bytes)
{
    struct kernel_channel *c = calloc(1, sizeof(*c));

    if (c)
        c->n_bytes = n_bytes;
    return c;
}

static void *open_pipe(size_t n_bytes, unsigned int slots)
{
    struct kernel_channel *c = new_channel(n_bytes);

    (void)slots;
    if (c)
        bench_need(pipe(c->fds), "pipe");
    return c;
}

static void *open_socket(size_t n_bytes, unsigned int slots)
{
    struct kernel_channel *c = new_channel(n_bytes);

    (void)slots;
    if (c)
        bench_need(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, c->fds), "socketpair");
    return c;
}

static void close_fds(void *channel)
{
    struct kernel_channel *c = channel;

    close(c->fds[0]);
    close(c->fds[1]);
    free(c);
}

static void send_fd(void *joined, unsigned int n)
{
    struct kernel_channel *c = joined;

    for (unsigned int i = 0; i < n; i++) {
        for (size_t done = 0; done < c->n_bytes;) {
            ssize_t r = write(c->fds[1], bench_out + done, c->n_bytes - done);

            bench_need(r, "write");
            done += (size_t)r;
        }
    }
}

static void receive_fd(void *joined, unsigned int n)
{
    struct kernel_channel *c = joined;

    for (unsigned int i = 0; i < n; i++) {
        for (size_t done = 0; done < c->n_bytes;) {
            ssize_t r = read(c->fds[0], bench_in + done, c->n_bytes - done);

            bench_need(r, "read");
            done += (size_t)r;
        }
    }
}

/* Limits of the machine may forbid long messages. */
static void *open_mq(size_t n_bytes, unsigned int slots)
{
    struct mq_attr attr = { .mq_maxmsg = 10, .mq_msgsize = (long)n_bytes };
    struct kernel_channel *c = new_channel(n_bytes);
    char name[32];

    (void)slots;
    if (!c)
        return NULL;
    snprintf(name, sizeof(name), "/ring_bench_%d", getpid());
    c->mq = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    if (c->mq == (mqd_t)-1) {
        free(c);
        return NULL;
    }
    mq_unlink(name);
    return c;
}

static void close_mq(void *channel)
{
    struct kernel_channel *c = channel;

    mq_close(c->mq);
    free(c);
}

static void send_mq(void *joined, unsigned int n)
{
    struct kernel_channel *c = joined;

    for (unsigned int i = 0; i < n; i++)
        bench_need(mq_send(c->mq, bench_out, c->n_bytes, 0), "mq_send");
}

static void receive_mq(void *joined, unsigned int n)
{
    struct kernel_channel *c = joined;

    for (unsigned int i = 0; i < n; i++)
        bench_need(mq_receive(c->mq, bench_in, c->n_bytes, NULL), "mq_receive");
}

const struct transport kernel_transports[] = {
    { "pipe", SINGLE, open_pipe, close_fds, NULL, NULL, send_fd, receive_fd },
    { "SEQPACKET", SINGLE, open_socket, close_fds, NULL, NULL, send_fd, receive_fd },
    { "POSIX queue", SINGLE, open_mq, close_mq, NULL, NULL, send_mq, receive_mq },
    { NULL },
};
