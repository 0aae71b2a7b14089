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
#define N_CALLERS_MAX 16

/* The channels of one size; [1] carries the answers of a ping-pong. */
struct channels {
    struct channel ways[N_TRANSPORTS][2];
    bool is_open[N_TRANSPORTS];
    /* Of the smallest size: a channel for each of many callers. */
    struct channel crowd[N_TRANSPORTS][N_CALLERS_MAX];
    bool has_crowd[N_TRANSPORTS];
};

/* A child that plays the other part. It tells when it is ready and when it has done. */
struct partner {
    pid_t pid;
    int fd;
};

struct exchange_figures {
    struct figures send;
    struct figures receive;
};

static char *buf;
static const struct bench_env *the_env;

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

/* Return: the CPU time that the daemon behind @channel has taken; 0: there is none. */
static uint64_t daemon_ns(const struct channel *channel)
{
    enum mount_kind mount = channel->transport->mount;
    struct timespec ts;
    clockid_t clock;

    if (mount == N_MOUNTS || clock_getcpuclockid(the_env->pids[mount], &clock) != 0 ||
        clock_gettime(clock, &ts) < 0)
        return 0;
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int compare_ns(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Return: the mean and the 99th percentile of @n figures, which it sorts. */
static struct figures summarize(uint64_t *ns, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += ns[i];
    qsort(ns, n, sizeof(*ns), compare_ns);
    return (struct figures){ .ns = (double)sum / (double)n, .p99_ns = (double)ns[n * 99 / 100] };
}

/* Does @move @n times and notes how long each took. */
static void time_each(void (*move)(const struct channel *channel), const struct channel *channel,
                      size_t n, uint64_t *ns)
{
    uint64_t start = now_ns();

    for (size_t i = 0; i < n; i++) {
        uint64_t end;

        move(channel);
        end = now_ns();
        ns[i] = end - start;
        start = end;
    }
}

/* Sends batch after batch and receives each again. Return: the figures for one of either. */
static struct exchange_figures exchange(const struct channel *channel, size_t n_ops, size_t n_batch)
{
    size_t n_batches = (n_ops + n_batch - 1) / n_batch;
    size_t n = n_batches * n_batch;
    uint64_t *ns = malloc(2 * n * sizeof(*ns));
    uint64_t cpu_ns = daemon_ns(channel);
    struct exchange_figures figures;

    if (!ns)
        die("memory", "can't have it");
    for (size_t i = 0; i < n; i += n_batch) {
        time_each(send_one, channel, n_batch, ns + i);
        time_each(receive_one, channel, n_batch, ns + n + i);
    }
    cpu_ns = daemon_ns(channel) - cpu_ns;
    figures.send = summarize(ns, n);
    figures.receive = summarize(ns + n, n);
    figures.send.daemon_ns = figures.receive.daemon_ns = (double)cpu_ns / (double)(2 * n);
    free(ns);
    return figures;
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
        sched_setaffinity(0, sizeof(*the_env->partner_cpus), the_env->partner_cpus);
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

    if (partner->fd >= 0)
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

/* A process that exchanges messages with itself once @gate is at its end. */
static pid_t start_caller(const struct channel *channel, size_t n_ops, size_t n_batch,
                          const int gate[2])
{
    pid_t parent = getpid();
    pid_t pid = fork();
    char byte;

    if (pid < 0)
        die("a caller", "can't start it");
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_FAILURE);
    close(gate[1]);
    if (read(gate[0], &byte, 1) != 0)
        _exit(EXIT_FAILURE);
    exchange(channel, n_ops, n_batch);
    _exit(EXIT_SUCCESS);
}

/* Return: the figures of one send or receive of @n_callers at once. */
static struct figures crowd(const struct channel *channels, size_t n_callers, size_t n_ops,
                            size_t n_batch)
{
    size_t n_each = (n_ops / n_callers + n_batch - 1) / n_batch * n_batch;
    double n = (double)(2 * n_each * n_callers);
    uint64_t cpu_ns = daemon_ns(channels);
    pid_t pids[N_CALLERS_MAX];
    uint64_t start;
    int gate[2];

    if (pipe(gate) < 0)
        die("a pipe", "can't have it");
    for (size_t i = 0; i < n_callers; i++)
        pids[i] = start_caller(&channels[i], n_each, n_batch, gate);
    close(gate[0]);
    start = now_ns();
    close(gate[1]);
    for (size_t i = 0; i < n_callers; i++)
        end_partner(&(struct partner){ .pid = pids[i], .fd = -1 });
    return (struct figures){ .ns = (double)(now_ns() - start) / n,
                             .daemon_ns = (double)(daemon_ns(channels) - cpu_ns) / n };
}

/* Return: 0; a negative errno: not all @n can be had. */
static int open_several(struct channel *ret_channels, size_t n, enum transport_kind transport,
                        size_t size_bytes, const struct bench_env *env, const char *kind)
{
    char name[64];
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        snprintf(name, sizeof(name), "bench%d%s%zu%c", (int)transport, kind, size_bytes,
                 (char)('a' + i));
        r = channel_open(&ret_channels[i], transport, size_bytes, env, name);
        for (size_t j = 0; r < 0 && j < i; j++)
            channel_close(&ret_channels[j]);
    }
    return r;
}

static struct channels open_channels(size_t size_bytes, const struct bench_env *env)
{
    bool is_smallest = size_bytes == message_sizes_bytes[0];
    struct channels channels = { 0 };

    for (size_t t = 0; t < N_TRANSPORTS; t++) {
        enum transport_kind transport = (enum transport_kind)t;
        int r = open_several(channels.ways[t], 2, transport, size_bytes, env, "pair");

        channels.is_open[t] = r == 0;
        errno = -r;
        if (r < 0 && r != -ENODEV && t <= TRANSPORT_IPCFS_LINES)
            die(transports[t].name, "can't open it");
        if (is_smallest && r == 0 && !transports[t].flush)
            channels.has_crowd[t] = open_several(channels.crowd[t], N_CALLERS_MAX, transport,
                                                 size_bytes, env, "crowd") == 0;
    }
    return channels;
}

static void close_channels(const struct channels *channels)
{
    for (size_t t = 0; t < N_TRANSPORTS; t++) {
        for (size_t i = 0; i < 2 && channels->is_open[t]; i++)
            channel_close(&channels->ways[t][i]);
        for (size_t i = 0; i < N_CALLERS_MAX && channels->has_crowd[t]; i++)
            channel_close(&channels->crowd[t][i]);
    }
}

static void measure_crowds(const struct channels *channels, size_t size,
                           enum transport_kind transport, size_t round, struct results *results)
{
    const struct channel *callers = channels->crowd[transport];

    results_set(results, MEASURE_CROWD_4, size, transport, round,
                crowd(callers, 4, results->n_ops, results->n_batch));
    results_set(results, MEASURE_CROWD_16, size, transport, round,
                crowd(callers, 16, results->n_ops, results->n_batch));
}

static void measure(const struct channels *channels, size_t size, enum transport_kind transport,
                    size_t round, struct results *results)
{
    const struct channel *ways = channels->ways[transport];
    bool is_stream = transports[transport].flush;

    if (!is_stream) {
        struct exchange_figures figures = exchange(&ways[0], results->n_ops, results->n_batch);

        results_set(results, MEASURE_SEND, size, transport, round, figures.send);
        results_set(results, MEASURE_RECEIVE, size, transport, round, figures.receive);
    }
    if (channels->has_crowd[transport] && !results->exchange_only)
        measure_crowds(channels, size, transport, round, results);
    if (!transports[transport].connects || results->exchange_only)
        return;
    if (!is_stream)
        results_set(results, MEASURE_PINGPONG, size, transport, round,
                    (struct figures){ .ns = pingpong_ns(ways, results->n_ops) });
    results_set(results, MEASURE_STREAM, size, transport, round,
                (struct figures){ .ns = stream_ns(ways, results->n_ops) });
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

    the_env = env;
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
