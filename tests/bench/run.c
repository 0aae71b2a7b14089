/* In each round and for each size every transport has its turn, and each round begins with another
 * one. A first round isn't counted: it is to fill caches, arenas and page tables. */
#include "run.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#define N_WARM_UP_PINGPONGS 16

/* The channels of one size; [1] carries the answers of a ping-pong. */
struct channels {
    struct channel ways[N_TRANSPORTS][2];
    bool is_open[N_TRANSPORTS];
};

/* A child that plays the other part. It tells when it is ready and when it has done. */
struct partner {
    pid_t pid;
    int fd;
};

struct exchange_ns {
    double send;
    double receive;
};

static char *buf;

__attribute__((noreturn)) static void die(const char *who, const char *what)
{
    fprintf(stderr, "bench: %s: %s: %s\n", who, what, strerror(errno));
    exit(EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void send_one(const struct channel *channel)
{
    if (!channel->transport->send(channel, buf))
        die(channel->transport->name, "can't send");
}

static void receive_one(const struct channel *channel)
{
    if (!channel->transport->receive(channel, buf))
        die(channel->transport->name, "can't receive");
}

/* Sends batch after batch and receives each again. Return: the ns for one of either. */
static struct exchange_ns exchange(const struct channel *channel, size_t n_ops, size_t n_batch)
{
    uint64_t send_ns = 0;
    uint64_t receive_ns = 0;
    size_t n_batches = (n_ops + n_batch - 1) / n_batch;

    for (size_t i = 0; i < n_batches; i++) {
        uint64_t start = now_ns();
        uint64_t middle;

        for (size_t j = 0; j < n_batch; j++)
            send_one(channel);
        middle = now_ns();
        for (size_t j = 0; j < n_batch; j++)
            receive_one(channel);
        send_ns += middle - start;
        receive_ns += now_ns() - middle;
    }
    return (struct exchange_ns){
        .send = (double)send_ns / (double)(n_batches * n_batch),
        .receive = (double)receive_ns / (double)(n_batches * n_batch),
    };
}

static void tell(int fd)
{
    uint64_t ns = now_ns();

    if (write(fd, &ns, sizeof(ns)) != sizeof(ns))
        die("the other process", "can't tell it");
}

/* Return: when the partner told it. */
static uint64_t hear(const struct partner *partner)
{
    uint64_t ns;

    if (read(partner->fd, &ns, sizeof(ns)) != sizeof(ns)) {
        errno = ESRCH;
        die("the other process", "is gone");
    }
    return ns;
}

/* Neither process outlives the other: one of them may wait for the other's message. */
static struct partner start_partner(void (*play)(const struct channel *ways, size_t n),
                                    const struct channel *ways, size_t n)
{
    struct partner partner;
    pid_t parent = getpid();
    int fds[2];

    if (pipe(fds) < 0 || (partner.pid = fork()) < 0)
        die("the other process", "can't start it");
    if (partner.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(EXIT_FAILURE);
        tell(fds[1]);
        play(ways, n);
        tell(fds[1]);
        _exit(EXIT_SUCCESS);
    }
    close(fds[1]);
    partner.fd = fds[0];
    hear(&partner);
    return partner;
}

static void end_partner(const struct partner *partner)
{
    int status;

    close(partner->fd);
    if (waitpid(partner->pid, &status, 0) < 0 || status != 0)
        die("the other process", "failed");
}

static void play_pong(const struct channel *ways, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        receive_one(&ways[0]);
        send_one(&ways[1]);
    }
}

static void play_ping(const struct channel *ways, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        send_one(&ways[0]);
        receive_one(&ways[1]);
    }
}

static double pingpong_ns(const struct channel *ways, size_t n_ops)
{
    struct partner partner = start_partner(play_pong, ways, N_WARM_UP_PINGPONGS + n_ops);
    uint64_t start;
    uint64_t end;

    play_ping(ways, N_WARM_UP_PINGPONGS);
    start = now_ns();
    play_ping(ways, n_ops);
    end = now_ns();
    end_partner(&partner);
    return (double)(end - start) / (double)n_ops;
}

static void play_receiver(const struct channel *ways, size_t n)
{
    for (size_t i = 0; i < n; i++)
        receive_one(&ways[0]);
}

static double stream_ns(const struct channel *ways, size_t n_ops)
{
    struct partner partner = start_partner(play_receiver, ways, n_ops);
    uint64_t start = now_ns();
    uint64_t end;

    for (size_t i = 0; i < n_ops; i++)
        send_one(&ways[0]);
    if (ways[0].transport->flush && !ways[0].transport->flush(&ways[0]))
        die(ways[0].transport->name, "can't send");
    end = hear(&partner);
    end_partner(&partner);
    return (double)(end - start) / (double)n_ops;
}

static struct channels open_channels(size_t size_bytes, const struct bench_env *env)
{
    struct channels channels = { 0 };
    char name[2][64];

    for (size_t t = 0; t < N_TRANSPORTS; t++) {
        int r = 0;

        for (size_t i = 0; i < 2 && r == 0; i++) {
            snprintf(name[i], sizeof(name[i]), "bench%zu%c%zu", t, i == 0 ? 'a' : 'b', size_bytes);
            r = channel_open(&channels.ways[t][i], (enum transport_kind)t, size_bytes, env,
                             name[i]);
            if (r < 0 && i == 1)
                channel_close(&channels.ways[t][0]);
        }
        channels.is_open[t] = r == 0;
        errno = -r;
        if (r < 0 && t <= TRANSPORT_IPCFS_LINES)
            die(transports[t].name, "can't open it");
    }
    return channels;
}

static void close_channels(const struct channels *channels)
{
    for (size_t t = 0; t < N_TRANSPORTS; t++) {
        if (channels->is_open[t]) {
            channel_close(&channels->ways[t][0]);
            channel_close(&channels->ways[t][1]);
        }
    }
}

static void measure(const struct channels *channels, size_t size, enum transport_kind transport,
                    size_t round, struct results *results)
{
    const struct channel *ways = channels->ways[transport];
    bool is_stream = transports[transport].flush;

    if (!is_stream) {
        struct exchange_ns ns = exchange(&ways[0], results->n_ops, results->n_batch);

        results_set(results, MEASURE_SEND, size, transport, round, ns.send);
        results_set(results, MEASURE_RECEIVE, size, transport, round, ns.receive);
    }
    if (!transports[transport].connects || results->exchange_only)
        return;
    if (!is_stream)
        results_set(results, MEASURE_PINGPONG, size, transport, round,
                    pingpong_ns(ways, results->n_ops));
    results_set(results, MEASURE_STREAM, size, transport, round, stream_ns(ways, results->n_ops));
}

/* One after another, beginning with the one whose turn it is. */
static void run_round(const struct channels channels[N_SIZES], size_t turn, size_t round,
                      struct results *results)
{
    for (size_t s = 0; s < N_SIZES; s++) {
        for (size_t i = 0; i < N_TRANSPORTS; i++) {
            enum transport_kind transport = (enum transport_kind)((turn + i) % N_TRANSPORTS);

            if (channels[s].is_open[transport])
                measure(&channels[s], s, transport, round, results);
        }
    }
}

void run_rounds(const struct bench_env *env, struct results *results)
{
    struct channels channels[N_SIZES];

    buf = aligned_alloc(PAGE_BYTES, message_sizes_bytes[N_SIZES - 1]);
    if (!buf)
        die("a buffer", "can't have it");
    memset(buf, 'b', message_sizes_bytes[N_SIZES - 1]);
    for (size_t s = 0; s < N_SIZES; s++)
        channels[s] = open_channels(message_sizes_bytes[s], env);
    run_round(channels, 0, 0, results); /* the next one overwrites it */
    for (size_t i = 0; i < results->n_rounds; i++)
        run_round(channels, i, i, results);
    for (size_t s = 0; s < N_SIZES; s++)
        close_channels(&channels[s]);
    free(buf);
}
