/* stress one|many processes|threads N [sleepy]: everything that was produced arrives once, whole and
 * in order.
 *
 * Producers send N messages each, of varied lengths and by every call there is; consumers take them by
 * every call there is. "sleepy": nobody spins and the ring holds two, so that nearly every message is
 * slept for; a wake-up that is lost shows as a sleeper that only its own alarm woke. Under
 * ThreadSanitizer threads share one mapping: it tells races by address. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/fixture.h"

#define SLOT_BYTES 72
#define PEERS_MAX 3
#define WORDS_MAX ((SLOT_BYTES - 8) / 8)

/* A machine that is too busy to run a waker for 200 ms is no lost wake-up. */
#define RESCUES_ALLOWED 2

struct shared {
    atomic_ulong n_rescues;
    atomic_ulong n_sleeps;
    atomic_uint n_failed;
    atomic_uchar seen[]; /* by producer and number */
};

static struct fixture ring_memory;
static struct shared *shared;
static uint64_t n_messages;
static unsigned int n_peers;
static bool sleepy;
static bool threads;
static bool many;

static struct ipcring *open_ring(void)
{
    struct ipcring *ring = threads ? fixture_attach(&ring_memory) : fixture_open(&ring_memory);

    if (sleepy)
        ipcring_set_spin(ring, 0);
    return ring;
}

static void close_ring(struct ipcring *ring)
{
    struct ipcring_stat stat;

    ipcring_get_stat(ring, &stat);
    atomic_fetch_add(&shared->n_rescues, stat.n_rescues);
    atomic_fetch_add(&shared->n_sleeps, stat.n_sleeps);
    ipcring_close(ring);
}

/* Message @number of @producer: so many words, all made from the two. Return: bytes. */
static size_t make_message(uint64_t *words, unsigned int producer, uint64_t number)
{
    size_t n = 1 + number % WORDS_MAX;

    for (size_t i = 0; i < n; i++)
        words[i] = ((uint64_t)producer << 56 | number) + i * UINT64_C(0x0101010101);
    return n * 8;
}

static void check_message(const uint64_t *words, int n_bytes, uint64_t *next)
{
    uint64_t expected[WORDS_MAX];
    unsigned int producer = (unsigned int)(words[0] >> 56);
    uint64_t number = words[0] & 0xffffffffffffff;

    if (producer >= n_peers || number >= n_messages)
        die("a message that nobody sent: %016lx", (unsigned long)words[0]);
    if (n_bytes != (int)make_message(expected, producer, number) ||
        memcmp(words, expected, (size_t)n_bytes) != 0)
        die("message %u.%lu is damaged", producer, (unsigned long)number);
    if (atomic_fetch_add(&shared->seen[producer * n_messages + number], 1) != 0)
        die("message %u.%lu arrived twice", producer, (unsigned long)number);
    if (many ? number < next[producer] : number != next[producer])
        die("message %u.%lu arrived out of order", producer, (unsigned long)number);
    next[producer] = number + 1;
}

static void produce_one(struct ipcring *ring, unsigned int producer, uint64_t number)
{
    uint64_t words[WORDS_MAX];
    size_t n = make_message(words, producer, number);
    void *place;
    int r;

    /* In place only where nobody may copy it while it is written again: see copy_in. */
    if (number % 3 == 1 && !(many && threads)) {
        r = ipcring_reserve(ring, &place, IPCRING_FOREVER);
        if (r == 0) {
            memcpy(place, words, n);
            r = ipcring_commit(ring, n);
        }
    } else {
        r = ipcring_produce(ring, words, n, IPCRING_FOREVER);
    }
    if (r < 0)
        die("produce: %s", strerror(-r));
}

static void *run_producer(void *arg)
{
    unsigned int producer = (unsigned int)(uintptr_t)arg;
    struct ipcring *ring = open_ring();
    uint64_t number = 0;

    while (number < n_messages) {
        if (number % 7 == 0 && number + 2 < n_messages) {
            uint64_t words[2][WORDS_MAX];
            struct ipcring_msg msgs[2];
            int r;

            for (unsigned int i = 0; i < 2; i++) {
                msgs[i].data = words[i];
                msgs[i].n_bytes = make_message(words[i], producer, number + i);
            }
            r = ipcring_produce_batch(ring, msgs, 2, IPCRING_FOREVER);
            if (r < 0)
                die("produce_batch: %s", strerror(-r));
            number += (uint64_t)r;
        } else {
            produce_one(ring, producer, number++);
        }
    }
    close_ring(ring);
    return NULL;
}

/* Return: false at the empty message, the end. */
static bool consume_some(struct ipcring *ring, unsigned int how, uint64_t *next)
{
    uint64_t words[4][WORDS_MAX] = { { 0 } };
    struct ipcring_msg msgs[4];
    const void *shown;
    int r;

    if (how % 3 == 0 && !many) {
        r = ipcring_peek(ring, &shown, IPCRING_FOREVER);
        if (r > 0)
            check_message(shown, r, next);
        if (r >= 0)
            ipcring_release(ring);
        if (r < 0)
            die("peek: %s", strerror(-r));
        return r > 0;
    }
    if (how % 3 == 1) {
        for (int i = 0; i < 4; i++)
            msgs[i] = (struct ipcring_msg){ words[i], sizeof(words[i]) };
        /* Not more than one where the end may be among them. */
        r = ipcring_consume_batch(ring, msgs, many ? 1 : 4, IPCRING_FOREVER);
        if (r < 0)
            die("consume_batch: %s", strerror(-r));
        for (int i = 0; i < r; i++) {
            if (msgs[i].n_bytes == 0)
                return false;
            check_message(words[i], (int)msgs[i].n_bytes, next);
        }
        return true;
    }
    r = ipcring_consume(ring, words[0], sizeof(words[0]), IPCRING_FOREVER);
    if (r < 0)
        die("consume: %s", strerror(-r));
    if (r > 0)
        check_message(words[0], r, next);
    return r > 0;
}

static void *run_consumer(void *arg)
{
    struct ipcring *ring = open_ring();
    uint64_t next[PEERS_MAX] = { 0 };

    for (unsigned int how = 0; consume_some(ring, how, next); how++)
        ;
    close_ring(ring);
    return NULL;
}

struct peer {
    pid_t pid;
    pthread_t thread;
};

static void start(struct peer *peer, void *(*run)(void *), unsigned int number)
{
    if (threads) {
        if (pthread_create(&peer->thread, NULL, run, (void *)(uintptr_t)number) != 0)
            die("pthread_create");
        return;
    }
    peer->pid = fork();
    if (peer->pid == 0) {
        run((void *)(uintptr_t)number);
        _exit(0);
    }
}

static void finish(struct peer *peer)
{
    int status;

    if (threads) {
        pthread_join(peer->thread, NULL);
        return;
    }
    if (waitpid(peer->pid, &status, 0) != peer->pid || status != 0)
        atomic_fetch_add(&shared->n_failed, 1);
}

static void send_ends(void)
{
    struct ipcring *ring = open_ring();

    for (unsigned int i = 0; i < n_peers; i++)
        if (ipcring_produce(ring, NULL, 0, IPCRING_FOREVER) < 0)
            die("end");
    ipcring_close(ring);
}

static void run(uint64_t first_pos)
{
    size_t n_shared = sizeof(*shared) + PEERS_MAX * n_messages;
    struct peer producers[PEERS_MAX] = { { 0 } };
    struct peer consumers[PEERS_MAX] = { { 0 } };
    uint64_t start_ns = now_ns();

    shared = mmap(NULL, n_shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap: %m");
    fixture_init(&ring_memory, sleepy ? 2 : 64, SLOT_BYTES, many ? MANY_MANY : ONE_ONE, first_pos);
    for (unsigned int i = 0; i < n_peers; i++) {
        start(&consumers[i], run_consumer, i);
        start(&producers[i], run_producer, i);
    }
    for (unsigned int i = 0; i < n_peers; i++)
        finish(&producers[i]);
    send_ends();
    for (unsigned int i = 0; i < n_peers; i++)
        finish(&consumers[i]);
    if (shared->n_failed > 0)
        die("%u peers failed", shared->n_failed);
    for (size_t i = 0; i < n_peers * n_messages; i++)
        if (shared->seen[i] != 1)
            die("message %zu.%zu did not arrive", (size_t)(i / n_messages),
                (size_t)(i % n_messages));
    printf("%lu messages in %lu ms, %lu sleeps, %lu rescues\n",
           (unsigned long)(n_peers * n_messages), (unsigned long)((now_ns() - start_ns) / 1000000),
           shared->n_sleeps, shared->n_rescues);
    if (shared->n_rescues > RESCUES_ALLOWED)
        die("wake-ups were lost");
    fixture_deinit(&ring_memory);
    munmap(shared, n_shared);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        die("usage: stress one|many processes|threads N [sleepy]");
    many = strcmp(argv[1], "many") == 0;
    threads = strcmp(argv[2], "threads") == 0;
    n_messages = strtoull(argv[3], NULL, 10);
    sleepy = argc > 4;
    n_peers = many ? PEERS_MAX : 1;
    for (unsigned int i = 0; i < N_FIRST_POS; i++)
        run(first_pos_near_wrap(i, sleepy ? 1 : 6));
    return 0;
}
