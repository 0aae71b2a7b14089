/* ring_bench [ROUNDS [MS [NAME]]]: how fast messages go from one process to another, beside other ways.
 *
 * Processes pinned to two processors: senders on one, receivers on the other. First each transport carries
 * messages of all sizes whose every byte is looked at; what loses, repeats or spoils one ends the program. In each round every
 * transport runs once for MS milliseconds, each round beginning with another, and its figure is the median of many short
 * windows, so that a moment in which a processor did something else doesn't count; ratios are taken within a round, and
 * their median, least and greatest are told. Beside that stands the throughput, which counts those moments too, and of
 * single round trips, each timed by itself, what 99.9 % stay below. A bounce of one bare word between the processors frames
 * each round: where it moves, so do the figures. With NAME only transports whose names begin so run, and the
 * plain ring. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/fixture.h"
#include "tests/lib/bench/transport.h"

#define ROUNDS_MAX 201
#define TRANSPORTS_MAX 24
#define N_SIZES 4
#define PAIRS 2
#define STEP 64 /* messages between two looks at the clock */
#define TRIP_SLOTS 64
#define TRIP_MS 10
#define TRIP_STEP 16
#define TRIPS_MIN 1000
#define WINDOW_NS 200000
#define TRIP_WINDOW_NS 20000
#define WINDOWS_MIN 16
#define WINDOWS_MAX 4096

char bench_out[BYTES_MAX] __attribute__((aligned(128)));
char bench_in[BYTES_MAX] __attribute__((aligned(128)));

static const size_t sizes[N_SIZES] = { 8, 64, 1024, BYTES_MAX };

/* What one way of measuring gave: for each transport, by round; 0: not on this machine. */
typedef double results[TRANSPORTS_MAX][ROUNDS_MAX];

static const struct transport *transports[TRANSPORTS_MAX];
static unsigned int n_transports;

/* --- For the transports --- */

void *bench_share(size_t n_bytes)
{
    void *p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        die("mmap: %m");
    memset(p, 0, n_bytes);
    return p;
}

void bench_unshare(void *memory, size_t n_bytes)
{
    munmap(memory, n_bytes);
}

void bench_need(long result, const char *what)
{
    if (result < 0)
        die("%s: %s", what, strerror(result == -1 ? errno : (int)-result));
}

static void add_transports(const struct transport *list, const char *prefix)
{
    for (; list->name; list++) {
        if (strncmp(list->name, prefix, strlen(prefix)) != 0 &&
            strcmp(list->name, "plain ring") != 0)
            continue;
        if (n_transports == TRANSPORTS_MAX)
            die("more than %d transports", TRANSPORTS_MAX);
        transports[n_transports++] = list;
    }
}

/* --- Medians --- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const double *values, unsigned int n)
{
    double sorted[WINDOWS_MAX];

    memcpy(sorted, values, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), compare);
    return sorted[n / 2];
}

/* Counts what was done between two looks at the clock. */
struct windows {
    uint64_t length_ns;
    uint64_t until_ns;
    uint64_t at_most_until_ns;
    uint64_t begin_ns;
    uint64_t start_ns;
    uint64_t n;
    uint64_t n_all;
    uint64_t all_ns;
    unsigned int n_windows;
    double ns_each[WINDOWS_MAX];
};

/* For @ms; longer where a busy machine leaves too few windows. */
static void windows_start(struct windows *w, uint64_t length_ns, unsigned int ms)
{
    w->length_ns = length_ns;
    w->n = 0;
    w->n_all = 0;
    w->n_windows = 0;
    w->begin_ns = w->start_ns = now_ns();
    w->until_ns = w->start_ns + ms * (uint64_t)MS;
    w->at_most_until_ns = w->start_ns + 10 * ms * (uint64_t)MS;
}

/* @n more were done. Return: whether to go on. */
static bool windows_add(struct windows *w, uint64_t n)
{
    uint64_t now = now_ns();

    w->n += n;
    w->n_all += n;
    w->all_ns = now - w->begin_ns;
    if (now - w->start_ns >= w->length_ns && w->n > 0) {
        w->ns_each[w->n_windows++] = (double)(now - w->start_ns) / (double)w->n;
        w->start_ns = now;
        w->n = 0;
    }
    if (w->n_windows == WINDOWS_MAX)
        return false;
    return w->n_windows < WINDOWS_MIN ? w->n_windows == 0 || now < w->at_most_until_ns
                                      : now < w->until_ns;
}

static double windows_median_ns(const struct windows *w)
{
    return median(w->ns_each, w->n_windows);
}

/* --- Processes --- */

static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0)
        die("processor %d: %m", cpu);
}

static pid_t new_process(int cpu)
{
    pid_t pid = fork();

    if (pid < 0)
        die("fork: %m");
    if (pid == 0)
        pin(cpu);
    return pid;
}

static void end_process(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void *join(const struct transport *t, void *channel)
{
    return t->join ? t->join(channel) : channel;
}

static void leave(const struct transport *t, void *joined)
{
    if (t->leave)
        t->leave(joined);
}

/* --- One way --- */

/* As many as fit a few megabytes; more at 8 bytes cost only caches. */
static unsigned int slots_for(size_t n_bytes)
{
    return n_bytes <= 64 ? 32768 : n_bytes <= 1024 ? 8192 : 64;
}

struct counter {
    _Alignas(128) _Atomic uint64_t n;
};

static pid_t start_sender(const struct transport *t, void *channel)
{
    pid_t pid = new_process(1);
    void *joined;

    if (pid != 0)
        return pid;
    joined = join(t, channel);
    for (;;)
        t->send(joined, STEP);
}

static pid_t start_receiver(const struct transport *t, void *channel, struct counter *counter)
{
    pid_t pid = new_process(0);
    void *joined;

    if (pid != 0)
        return pid;
    joined = join(t, channel);
    for (;;) {
        t->receive(joined, 1);
        atomic_fetch_add_explicit(&counter->n, 1, memory_order_relaxed);
    }
}

/* Twice around, so that everybody has seen every page. */
static void warm_up(const struct transport *t, void *joined, unsigned int slots)
{
    uint64_t until_ns = now_ns() + 20 * MS;

    for (unsigned int n = 0; n < 2 * slots && now_ns() < until_ns; n += STEP)
        t->receive(joined, STEP);
}

/* Messages a second; 0: not on this machine. */
struct rate {
    double in_the_median;
    double in_all;
};

/* Whoever of the @n_pairs receivers gets them. */
static struct rate receive_for(const struct transport *t, void *joined, struct counter *counters,
                               unsigned int n_pairs, unsigned int ms)
{
    struct windows windows;
    uint64_t seen = 0;
    uint64_t n;

    for (unsigned int i = 1; i < n_pairs; i++)
        seen += counters[i].n;
    windows_start(&windows, WINDOW_NS, ms);
    do {
        uint64_t others = 0;

        t->receive(joined, STEP);
        for (unsigned int i = 1; i < n_pairs; i++)
            others += counters[i].n;
        n = STEP + others - seen;
        seen = others;
    } while (windows_add(&windows, n));
    return (struct rate){
        .in_the_median = 1e9 / windows_median_ns(&windows),
        .in_all = 1e9 * (double)windows.n_all / (double)windows.all_ns,
    };
}

/* From as many senders as receivers. */
static struct rate one_way(const struct transport *t, size_t n_bytes, unsigned int n_pairs,
                           unsigned int ms)
{
    void *channel = t->open(n_bytes, slots_for(n_bytes));
    pid_t pids[2 * PAIRS] = { 0 };
    struct counter *counters;
    struct rate rate = { 0 };
    void *joined;

    if (!channel)
        return rate;
    counters = bench_share(PAIRS * sizeof(*counters));
    for (unsigned int i = 0; i < n_pairs; i++) {
        pids[2 * i] = t->send ? start_sender(t, channel) : 0;
        pids[2 * i + 1] = i > 0 ? start_receiver(t, channel, &counters[i]) : 0;
    }
    pin(0);
    joined = join(t, channel);
    warm_up(t, joined, slots_for(n_bytes));
    rate = receive_for(t, joined, counters, n_pairs, ms);
    for (unsigned int i = 0; i < 2 * n_pairs; i++)
        if (pids[i] > 0)
            end_process(pids[i]);
    leave(t, joined);
    t->close(channel);
    bench_unshare(counters, PAIRS * sizeof(*counters));
    return rate;
}

/* --- What arrives --- */

#define N_VERIFIED 1000

static char expected[BYTES_MAX];

static void fill(char *bytes, size_t n_bytes, uint64_t i)
{
    uint64_t random = (i + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;

    for (size_t at = 0; at < n_bytes; at += sizeof(random)) {
        uint64_t word = next_random(&random);

        memcpy(bytes + at, &word, sizeof(word));
    }
}

static _Noreturn void send_verified(const struct transport *t, void *channel, size_t n_bytes)
{
    void *joined = join(t, channel);

    for (uint64_t i = 0; i < N_VERIFIED; i++) {
        fill(bench_out, n_bytes, i);
        t->send(joined, 1);
    }
    /* What is left may lie in this process: a message that is copied out of it by its receiver. */
    for (;;)
        pause();
}

/* Each message whole, once, in order. */
static void verify(const struct transport *t, size_t n_bytes)
{
    void *channel = t->send ? t->open(n_bytes, slots_for(n_bytes)) : NULL;
    pid_t pid;
    void *joined;

    if (!channel)
        return;
    pid = new_process(1);
    if (pid == 0)
        send_verified(t, channel, n_bytes);
    pin(0);
    joined = join(t, channel);
    for (uint64_t i = 0; i < N_VERIFIED; i++) {
        fill(expected, n_bytes, i);
        t->receive(joined, 1);
        if (memcmp(bench_in, expected, n_bytes) != 0)
            die("%s: message %lu of %zu bytes arrives as another", t->name, (unsigned long)i,
                n_bytes);
    }
    end_process(pid);
    leave(t, joined);
    t->close(channel);
}

static void verify_all(void)
{
    for (unsigned int t = 0; t < n_transports; t++)
        for (unsigned int size = 0; size < N_SIZES; size++)
            verify(transports[t], sizes[size]);
}

/* --- Round trips --- */

/* Times in buckets, each a 64th wider than the one below. */
#define BUCKETS_EACH 64
#define N_BUCKETS (40 * BUCKETS_EACH)

struct times {
    uint64_t n;
    uint32_t buckets[N_BUCKETS];
};

static unsigned int bucket_of(uint64_t ns)
{
    unsigned int power;

    if (ns < BUCKETS_EACH)
        return (unsigned int)ns;
    power = 63 - (unsigned int)__builtin_clzll(ns);
    return (power - 5) * BUCKETS_EACH + (unsigned int)(ns >> (power - 6)) % BUCKETS_EACH;
}

/* Return: the least time of bucket @i. */
static double time_of(unsigned int i)
{
    unsigned int power = i / BUCKETS_EACH + 5;

    if (i < BUCKETS_EACH)
        return i;
    return (double)((uint64_t)(BUCKETS_EACH + i % BUCKETS_EACH) << (power - 6));
}

static void times_add(struct times *times, uint64_t ns)
{
    unsigned int i = bucket_of(ns);

    times->buckets[i < N_BUCKETS ? i : N_BUCKETS - 1]++;
    times->n++;
}

/* Return: what @part of all stay below. */
static double times_below(const struct times *times, double part)
{
    uint64_t left = (uint64_t)((double)times->n * part);
    unsigned int i = 0;

    while (i < N_BUCKETS - 1 && left >= times->buckets[i])
        left -= times->buckets[i++];
    return time_of(i + 1 < N_BUCKETS ? i + 1 : i);
}

/* Return: nanoseconds of a round trip of one word and nothing else. */
static double bounce(void)
{
    struct counter *words = bench_share(2 * sizeof(*words));
    struct windows windows;
    pid_t pid = new_process(1);

    if (pid == 0) {
        for (uint64_t i = 1;; i++) {
            while (atomic_load_explicit(&words[0].n, memory_order_acquire) != i)
                ;
            atomic_store_explicit(&words[1].n, i, memory_order_release);
        }
    }
    pin(0);
    windows_start(&windows, TRIP_WINDOW_NS, TRIP_MS);
    for (uint64_t i = 1;; i++) {
        atomic_store_explicit(&words[0].n, i, memory_order_release);
        while (atomic_load_explicit(&words[1].n, memory_order_acquire) != i)
            ;
        if (i % TRIP_STEP == 0 && !windows_add(&windows, TRIP_STEP))
            break;
    }
    end_process(pid);
    bench_unshare(words, 2 * sizeof(*words));
    return windows_median_ns(&windows);
}

static void answer_all(const struct transport *t, void *const channels[2], unsigned int n_messages)
{
    void *in = join(t, channels[0]);
    void *out = join(t, channels[1]);

    for (;;) {
        t->receive(in, n_messages);
        t->send(out, n_messages);
    }
}

/* For TRIP_MS; longer where a busy machine leaves too few. */
static void time_trips(const struct transport *t, void *out, void *in, struct times *times)
{
    uint64_t before = now_ns();
    uint64_t begin = before;
    uint64_t n = 0;

    while (before - begin < (n < TRIPS_MIN ? 10 : 1) * TRIP_MS * (uint64_t)MS) {
        uint64_t after;

        t->send(out, 1);
        t->receive(in, 1);
        after = now_ns();
        times_add(times, after - before);
        before = after;
        n++;
    }
}

/* @times: of single trips, if they are to be timed too. Return: nanoseconds until @n_messages of 8 bytes, sent one after
 * the other, have come back; 0: not on this machine. */
static double round_trip(const struct transport *t, unsigned int n_messages, struct times *times)
{
    void *channels[2] = { t->send ? t->open(8, TRIP_SLOTS) : NULL, NULL };
    struct windows windows;
    void *out;
    void *in;
    pid_t pid;

    if (!channels[0])
        return 0;
    channels[1] = t->open(8, TRIP_SLOTS);
    pid = new_process(1);
    if (pid == 0)
        answer_all(t, channels, n_messages);
    pin(0);
    out = join(t, channels[0]);
    in = join(t, channels[1]);
    windows_start(&windows, TRIP_WINDOW_NS, TRIP_MS);
    for (unsigned int i = 1;; i++) {
        t->send(out, n_messages);
        t->receive(in, n_messages);
        if (i % TRIP_STEP == 0 && !windows_add(&windows, TRIP_STEP))
            break;
    }
    if (times)
        time_trips(t, out, in, times);
    end_process(pid);
    leave(t, out);
    leave(t, in);
    t->close(channels[0]);
    t->close(channels[1]);
    return windows_median_ns(&windows);
}

/* --- Telling --- */

static results rates[N_SIZES];
static results rates_in_all[N_SIZES];
static results pair_rates[N_SIZES];
static results pair_rates_in_all[N_SIZES];
static results trips;
static struct times trip_times[TRANSPORTS_MAX];
static results batch_trips;
static double bounces[2][ROUNDS_MAX];

/* Tells the ratios of @values to @base of the same round; then @values, where they have a @unit, and @in_all, which may be
 * NULL. The line stays open. */
static void tell_open(const char *name, const double *values, const double *base,
                      const double *in_all, unsigned int n, double scale, const char *unit)
{
    double ratios[ROUNDS_MAX];

    if (values[0] == 0 || base[0] == 0) {
        printf("  %-44s %10s not on this machine", name, "");
        return;
    }
    for (unsigned int i = 0; i < n; i++)
        ratios[i] = values[i] / base[i];
    qsort(ratios, n, sizeof(*ratios), compare);
    printf("  %-44s %9.3fx (%.3f to %.3f)", name, ratios[n / 2], ratios[0], ratios[n - 1]);
    if (unit)
        printf("  %.3f %s", median(values, n) * scale, unit);
    if (in_all)
        printf(", %.3f in all", median(in_all, n) * scale);
}

static void tell(const char *name, const double *values, const double *base, unsigned int n,
                 double scale, const char *unit)
{
    tell_open(name, values, base, NULL, n, scale, unit);
    putchar('\n');
}

static unsigned int find(const char *name)
{
    unsigned int i = 0;

    while (i < n_transports && strcmp(transports[i]->name, name) != 0)
        i++;
    return i;
}

/* Return: the fastest among what isn't ours, by its median; @n_transports: there is none. */
static unsigned int best_of_others(const results values, bool batched, unsigned int rounds)
{
    unsigned int best = n_transports;
    double best_rate = 0;

    for (unsigned int t = 0; t < n_transports; t++) {
        const struct transport *transport = transports[t];
        double rate = median(values[t], rounds);

        if (strncmp(transport->name, "ring", 4) == 0 || transport->kind == LIMIT ||
            (transport->kind == BATCHED && !batched) || rate <= best_rate)
            continue;
        best = t;
        best_rate = rate;
    }
    return best;
}

static void tell_best(size_t n_bytes, const results values, unsigned int ring, bool batched,
                      unsigned int rounds)
{
    unsigned int best = best_of_others(values, batched, rounds);
    char line[80];

    snprintf(line, sizeof(line), "%zu bytes%s, to %s", n_bytes, batched ? ", batches" : "",
             transports[best]->name);
    tell(line, values[ring], values[best], rounds, 0, NULL);
}

/* --- Running --- */

static void run_one_way(unsigned int size, unsigned int t, unsigned int round, unsigned int ms)
{
    struct rate rate = one_way(transports[t], sizes[size], 1, ms);

    rates[size][t][round] = rate.in_the_median;
    rates_in_all[size][t][round] = rate.in_all;
    if (transports[t]->kind != MANY)
        return;
    rate = one_way(transports[t], sizes[size], PAIRS, ms);
    pair_rates[size][t][round] = rate.in_the_median;
    pair_rates_in_all[size][t][round] = rate.in_all;
}

static void run_round(unsigned int round, unsigned int ms)
{
    bounces[0][round] = bounce();
    for (unsigned int i = 0; i < n_transports; i++) {
        unsigned int t = (i + round) % n_transports;

        trips[t][round] = round_trip(transports[t], 1, &trip_times[t]);
        batch_trips[t][round] = round_trip(transports[t], BATCH, NULL);
    }
    for (unsigned int size = 0; size < N_SIZES; size++)
        for (unsigned int i = 0; i < n_transports; i++)
            run_one_way(size, (i + round) % n_transports, round, ms);
    bounces[1][round] = bounce();
    fprintf(stderr, "round %u: bounce %.0f ns before, %.0f after\n", round + 1, bounces[0][round],
            bounces[1][round]);
}

static void tell_trips(const char *title, const results values, const struct times *times,
                       unsigned int rounds)
{
    printf("%s\n", title);
    for (unsigned int t = 0; t < n_transports; t++) {
        if (!transports[t]->send)
            continue;
        tell_open(transports[t]->name, values[t], bounces[0], NULL, rounds, 1, "ns");
        if (times && times[t].n > 0)
            printf("; timed: median %.0f, p99.9 %.0f of %lu", times_below(&times[t], 0.5),
                   times_below(&times[t], 0.999), (unsigned long)times[t].n);
        putchar('\n');
    }
}

static void tell_throughput(const char *title, const results values, const results in_all,
                            const double *base, unsigned int rounds, bool pairs)
{
    printf("%s\n", title);
    for (unsigned int t = 0; t < n_transports; t++) {
        if (pairs && transports[t]->kind != MANY)
            continue;
        tell_open(transports[t]->name, values[t], base, in_all[t], rounds, 1e-6, "M/s");
        putchar('\n');
    }
}

static void tell_rates(unsigned int rounds)
{
    unsigned int plain = find("plain ring");
    unsigned int queue = find("boost message_queue");
    char title[80];

    for (unsigned int size = 0; size < N_SIZES; size++) {
        snprintf(title, sizeof(title), "one way, %zu bytes, to the plain ring", sizes[size]);
        tell_throughput(title, rates[size], rates_in_all[size], rates[size][plain], rounds, false);
    }
    for (unsigned int size = 0; size < N_SIZES && queue < n_transports; size++) {
        snprintf(title, sizeof(title), "%d to %d, %zu bytes, to boost's message_queue", PAIRS,
                 PAIRS, sizes[size]);
        tell_throughput(title, pair_rates[size], pair_rates_in_all[size], pair_rates[size][queue],
                        rounds, true);
    }
}

static void tell_aims(unsigned int rounds)
{
    unsigned int ring = find("ring");
    unsigned int batches = find("ring, batches");
    unsigned int many = find("ring, many/many");
    unsigned int queue = find("boost message_queue");
    unsigned int limit = find("memcpy");
    char line[80];

    if (ring == n_transports || batches == n_transports || many == n_transports ||
        limit == n_transports)
        return;
    printf("one to one, to the best of the others; the aim is 1.5\n");
    for (unsigned int size = 0; size < N_SIZES; size++) {
        tell_best(sizes[size], rates[size], ring, false, rounds);
        tell_best(sizes[size], rates[size], batches, true, rounds);
    }
    printf("many to many, to boost's message_queue; the aim is 10\n");
    for (unsigned int size = 0; size < N_SIZES && queue < n_transports; size++) {
        snprintf(line, sizeof(line), "%zu bytes", sizes[size]);
        tell(line, rates[size][many], rates[size][queue], rounds, 0, NULL);
    }
    printf("to what the machine can\n");
    tell("65536 bytes, to memcpy; aim 0.77", rates[N_SIZES - 1][ring], rates[N_SIZES - 1][limit],
         rounds, 0, NULL);
    tell("round trip, to bounce; aim 1.1", trips[ring], bounces[0], rounds, 0, NULL);
}

int main(int argc, char **argv)
{
    static const struct transport *const lists[] = {
        plain_transports,   ring_transports,
#ifdef HAVE_CK
        ck_transports,
#endif
#ifdef HAVE_BOOST
        boost_transports,
#endif
#ifdef HAVE_RIGTORP
        rigtorp_transports,
#endif
        kernel_transports,
    };
    unsigned int rounds = argc > 1 ? (unsigned int)atoi(argv[1]) : 5;
    unsigned int ms = argc > 2 ? (unsigned int)atoi(argv[2]) : 20;

    if (rounds < 1 || rounds > ROUNDS_MAX)
        die("1 to %d rounds", ROUNDS_MAX);
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
        die("one processor: nothing to measure");
    for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++)
        add_transports(lists[i], argc > 3 ? argv[3] : "");
#ifndef HAVE_CK
    printf("without Concurrency Kit: its header was not there (libck-dev)\n");
#endif
#ifndef HAVE_BOOST
    printf("without Boost: its headers or a C++ compiler were not there (libboost-dev)\n");
#endif
#ifndef HAVE_RIGTORP
    printf("without rigtorp's SPSCQueue: see tests/lib/bench/with_rigtorp\n");
#endif
    fflush(stdout);
    verify_all();
    for (unsigned int round = 0; round < rounds; round++)
        run_round(round, ms);
    printf("bounce of a word, after the round to before\n");
    tell("bare bounce", bounces[1], bounces[0], rounds, 1, "ns");
    tell_trips("round trip of a message of 8 bytes, to the bounce", trips, trip_times, rounds);
    tell_trips("round trip of 32 messages of 8 bytes, to the bounce", batch_trips, NULL, rounds);
    tell_rates(rounds);
    tell_aims(rounds);
    return 0;
}
