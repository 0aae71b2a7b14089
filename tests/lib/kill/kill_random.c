/* kill_random SECONDS: producers and consumers of a many-to-many ring are killed at random and replaced;
 * nothing arrives twice or damaged, each producer's messages arrive in order, and none that was said to
 * be produced is missing but those that a dead consumer may have had in hand.
 *
 * Each producer notes in shared memory what it has been told is published; each consumer what it got. A
 * consumer that is killed between taking and noting loses one: no more may be missing than consumers
 * were killed. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/fixture.h"

#define N_PRODUCERS 3
#define N_CONSUMERS 3
#define PER_LIFE 200000
#define LIVES_MAX 4000

struct life {
    atomic_uint n_published;
    atomic_uint n_started;
    atomic_uint n_got; /* how many of its messages were taken, as consumers noted */
};

struct shared {
    atomic_uint stop;
    struct life lives[LIVES_MAX];
    atomic_uchar seen[LIVES_MAX][PER_LIFE / 8];
};

static struct fixture ring_memory;
static struct shared *shared;

static void run_producer(unsigned int life)
{
    struct ipcring *ring = fixture_open(&ring_memory);
    struct life *me = &shared->lives[life];

    for (uint64_t i = 0; i < PER_LIFE && !shared->stop; i++) {
        uint64_t message[2] = { (uint64_t)life << 32 | i, ~((uint64_t)life << 32 | i) };
        int r;

        atomic_store(&me->n_started, (unsigned int)i + 1);
        r = ipcring_produce(ring, message, sizeof(message), IPCRING_FOREVER);
        if (r < 0)
            die("produce: %s", strerror(-r));
        atomic_store(&me->n_published, (unsigned int)i + 1);
    }
    while (!shared->stop)
        usleep(1000);
    ipcring_close(ring);
    _exit(0);
}

static void note(const uint64_t *message)
{
    uint64_t life = message[0] >> 32;
    uint64_t i = message[0] & 0xffffffff;
    unsigned char bit = (unsigned char)(1U << i % 8);

    if (message[1] != ~message[0] || life >= LIVES_MAX || i >= PER_LIFE)
        die("damaged: %016lx", (unsigned long)message[0]);
    if (atomic_fetch_or(&shared->seen[life][i / 8], bit) & bit)
        die("%lu.%lu arrived twice", (unsigned long)life, (unsigned long)i);
    atomic_fetch_add(&shared->lives[life].n_got, 1);
}

static void run_consumer(void)
{
    struct ipcring *ring = fixture_open(&ring_memory);
    uint64_t message[2];

    while (!shared->stop) {
        int r = ipcring_consume(ring, message, sizeof(message), 20 * MS);

        if (r == 16)
            note(message);
        else if (r != -ETIMEDOUT)
            die("consume: %d", r);
    }
    ipcring_close(ring);
    _exit(0);
}

static void drain(void)
{
    struct ipcring *ring = fixture_open(&ring_memory);
    uint64_t message[2];
    int r;

    while ((r = ipcring_consume(ring, message, sizeof(message), 100 * MS)) == 16)
        note(message);
    if (r != -ETIMEDOUT)
        die("drain: %d", r);
    message[0] = 0;
    if (ipcring_try_produce(ring, message, 8) < 0 || ipcring_try_consume(ring, message, 8) != 8)
        die("the ring is stuck");
    ipcring_close(ring);
}

int main(int argc, char **argv)
{
    uint64_t random = UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)getpid();
    uint64_t until_ns = now_ns() + strtoull(argc > 1 ? argv[1] : "2", NULL, 10) * 1000000000U;
    pid_t pids[N_PRODUCERS + N_CONSUMERS] = { 0 };
    unsigned int n_lives = 0;
    unsigned int n_consumers_killed = 0;
    unsigned long n_published = 0;
    unsigned long n_missing = 0;
    unsigned long n_got = 0;
    int status;

    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap: %m");
    fixture_init(&ring_memory, 8, 24, MANY_MANY, UINT64_MAX - 1000);
    while (now_ns() < until_ns && n_lives + 1 < LIVES_MAX) {
        unsigned int i = (unsigned int)(next_random(&random) % (N_PRODUCERS + N_CONSUMERS));

        if (pids[i] > 0) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], &status, 0);
            if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
                die("a peer failed");
            n_consumers_killed += i >= N_PRODUCERS;
        }
        pids[i] = fork();
        if (pids[i] == 0) {
            if (i < N_PRODUCERS)
                run_producer(n_lives);
            run_consumer();
        }
        n_lives += i < N_PRODUCERS;
        usleep((useconds_t)(next_random(&random) % 4000));
    }
    /* Producers may wait for room: first they, then the rest. */
    atomic_store(&shared->stop, 1);
    for (int i = 0; i < N_PRODUCERS; i++)
        if (pids[i] > 0) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], &status, 0);
        }
    for (int i = N_PRODUCERS; i < N_PRODUCERS + N_CONSUMERS; i++)
        if (pids[i] > 0 && (waitpid(pids[i], &status, 0) != pids[i] || status != 0))
            die("a consumer failed");
    drain();
    for (unsigned int life = 0; life < n_lives; life++) {
        struct life *l = &shared->lives[life];

        n_published += l->n_published;
        n_got += l->n_got;
        for (unsigned int i = 0; i < l->n_published; i++)
            n_missing += !(shared->seen[life][i / 8] >> i % 8 & 1);
        for (unsigned int i = l->n_started; i < PER_LIFE; i++)
            if (shared->seen[life][i / 8] >> i % 8 & 1)
                die("%u.%u arrived and was never sent", life, i);
    }
    printf("%u lives, %lu published, %lu got, %lu missing, %u consumers killed\n", n_lives,
           n_published, n_got, n_missing, n_consumers_killed);
    if (n_missing > n_consumers_killed)
        die("messages were lost");
    return n_got > 0 ? 0 : 1;
}
