/* ring_broadcast [ROUNDS [MESSAGES [BYTES]]]: one producer and 1, 2 and 4 consumers, each a process, who all get all messages: by one ring
 * to each, beside as many rings with one consumer, into each of which the producer puts every message. Millions of messages
 * delivered a second, medians of the rounds, the two taking turns; and the medians of the rounds' ratios. With one consumer the aim is 0.8.
 *
 * A ring to each holds no producer back. So that all messages arrive, as they do by the others, the producer looks every half of a
 * ring how far the slowest consumer has come. Each message says which it is, and a consumer that misses one ends the run. */
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/lib/ipcring_daemon.h"
#include "tests/lib/fixture.h"

#define SLOTS 4096
#define CONSUMERS_MAX 4
#define ROUNDS_MAX 201
#define LINE_BYTES 128
/* Consumers say so often how far they have come. */
#define PARTS 8

static const unsigned int crowds[] = { 1, 2, 4 };

#define N_CROWDS (sizeof(crowds) / sizeof(*crowds))

/* What the processes share beside the rings, on lines of their own. */
struct shared {
    _Alignas(LINE_BYTES) _Atomic uint64_t n_ready;
    struct {
        _Alignas(LINE_BYTES) _Atomic uint64_t n_received;
    } consumers[CONSUMERS_MAX];
};

struct run {
    struct fixture rings[CONSUMERS_MAX];
    struct shared *shared;
    unsigned int n_consumers;
    unsigned int n_rings; /* 0: one, to each */
    uint64_t n_messages;
    size_t n_bytes;
};

static void pin(unsigned int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu % (unsigned int)sysconf(_SC_NPROCESSORS_ONLN), &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static bool is_to_each(const struct run *run)
{
    return run->n_rings == 0;
}

static void consume(const struct run *run, unsigned int which)
{
    struct ipcring *ring = fixture_open(&run->rings[is_to_each(run) ? 0 : which]);
    _Atomic uint64_t *n_received = &run->shared->consumers[which].n_received;
    char message[1024];

    /* The producer has a processor of its own. */
    pin(1 + which);
    if (is_to_each(run))
        ipcring_seek(ring, 0);
    atomic_fetch_add(&run->shared->n_ready, 1);
    for (uint64_t i = 0; i < run->n_messages; i++) {
        uint64_t got;

        if (ipcring_consume(ring, message, sizeof(message), IPCRING_FOREVER) != (int)run->n_bytes)
            die("consumer %u: message %lu did not come", which, (unsigned long)i);
        memcpy(&got, message, sizeof(got));
        if (got != i)
            die("consumer %u: %lu came for %lu", which, (unsigned long)got, (unsigned long)i);
        if ((i + 1) % (SLOTS / PARTS) == 0)
            atomic_store_explicit(n_received, i + 1, memory_order_release);
    }
    _exit(0);
}

static uint64_t slowest(const struct run *run)
{
    uint64_t least = UINT64_MAX;

    for (unsigned int i = 0; i < run->n_consumers; i++) {
        uint64_t n = atomic_load_explicit(&run->shared->consumers[i].n_received,
                                          memory_order_acquire);

        least = n < least ? n : least;
    }
    return least;
}

static void produce_into(struct ipcring *ring, const char *message, size_t n)
{
    int r = ipcring_produce(ring, message, n, IPCRING_FOREVER);

    if (r < 0)
        die("produce: %s", strerror(-r));
}

static void produce(const struct run *run)
{
    struct ipcring *rings[CONSUMERS_MAX];
    unsigned int n_rings = is_to_each(run) ? 1 : run->n_rings;
    char message[1024] = { 0 };
    uint64_t n_seen = 0;

    for (unsigned int i = 0; i < n_rings; i++)
        rings[i] = fixture_open(&run->rings[i]);
    for (uint64_t i = 0; i < run->n_messages; i++) {
        while (is_to_each(run) && i - n_seen >= SLOTS / 2) {
            n_seen = slowest(run);
            /* Consumers may be more than processors. */
            if (i - n_seen >= SLOTS / 2)
                sched_yield();
        }
        memcpy(message, &i, sizeof(i));
        for (unsigned int k = 0; k < n_rings; k++)
            produce_into(rings[k], message, run->n_bytes);
    }
    for (unsigned int i = 0; i < n_rings; i++)
        ipcring_close(rings[i]);
}

static void open_rings(struct run *run)
{
    uint32_t flags = is_to_each(run) ? IPCRING_EACH_CONSUMER | IPCRING_ONE_PRODUCER : ONE_ONE;
    unsigned int n = is_to_each(run) ? 1 : run->n_rings;

    for (unsigned int i = 0; i < n; i++) {
        fixture_init(&run->rings[i], SLOTS, (uint32_t)run->n_bytes + IPCRING_WORD_BYTES, flags, 0);
        memset((char *)run->rings[i].map + IPCRING_AT_SLOT_0, 0,
               run->rings[i].n_bytes - IPCRING_AT_SLOT_0);
    }
}

static void close_rings(struct run *run)
{
    for (unsigned int i = 0; i < (is_to_each(run) ? 1 : run->n_rings); i++)
        fixture_deinit(&run->rings[i]);
}

/* Return: millions of messages delivered a second. */
static double measure(struct run *run)
{
    uint64_t start_ns;
    int status;

    open_rings(run);
    memset(run->shared, 0, sizeof(*run->shared));
    for (unsigned int i = 0; i < run->n_consumers; i++) {
        pid_t pid = fork();

        if (pid < 0)
            die("fork: %m");
        if (pid == 0)
            consume(run, i);
    }
    pin(0);
    while (atomic_load(&run->shared->n_ready) < run->n_consumers)
        sched_yield();
    start_ns = now_ns();
    produce(run);
    for (unsigned int i = 0; i < run->n_consumers; i++) {
        if (wait(&status) < 0 || status != 0)
            exit(1);
    }
    start_ns = now_ns() - start_ns;
    close_rings(run);
    return (double)(run->n_messages * run->n_consumers) / (double)start_ns * 1e3;
}

static int compare(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;

    return (difference > 0) - (difference < 0);
}

static double median(double *values, unsigned int n)
{
    qsort(values, n, sizeof(*values), compare);
    return values[n / 2];
}

static void compare_crowd(struct run *run, unsigned int n_consumers, unsigned int n_rounds)
{
    double each[ROUNDS_MAX], single[ROUNDS_MAX], ratios[ROUNDS_MAX];
    double ratio;

    run->n_consumers = n_consumers;
    for (unsigned int i = 0; i < n_rounds; i++) {
        for (unsigned int turn = 0; turn < 2; turn++) {
            bool to_each = (i + turn) % 2 == 0;

            run->n_rings = to_each ? 0 : n_consumers;
            (to_each ? each : single)[i] = measure(run);
        }
        ratios[i] = each[i] / single[i];
    }
    ratio = median(ratios, n_rounds);
    printf("%9u %14.2f %14.2f %10.2f (%.2f to %.2f)\n", n_consumers, median(each, n_rounds),
           median(single, n_rounds), ratio, ratios[0], ratios[n_rounds - 1]);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct run run = { .n_messages = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000000,
                       .n_bytes = argc > 3 ? strtoul(argv[3], NULL, 10) : 64 };
    unsigned int n_rounds = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : 9;

    if (argc > 4 || n_rounds == 0 || n_rounds > ROUNDS_MAX || run.n_messages == 0 ||
        run.n_bytes < 8 || run.n_bytes > 1024 || run.n_bytes % 8 != 0) {
        fprintf(stderr, "usage: %s [ROUNDS [MESSAGES [BYTES]]]\n", argv[0]);
        return 2;
    }
    run.shared = mmap(NULL, sizeof(*run.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                      -1, 0);
    if (run.shared == MAP_FAILED)
        die("mmap: %m");
    printf("millions of messages of %zu bytes delivered a second, medians of %u rounds\n",
           run.n_bytes, n_rounds);
    printf("consumers   ring to each  single rings      ratio (least to most)\n");
    for (unsigned int i = 0; i < N_CROWDS; i++)
        compare_crowd(&run, crowds[i], n_rounds);
    return 0;
}
