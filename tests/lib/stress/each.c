/* each one|many overtake | kill | stress N: a ring whose consumers each see everything, with one or many producers.
 *
 * "overtake": a consumer is stopped after each instruction of a call in turn; producers come round meanwhile; then it goes
 * on, and has a whole message, the one that was next, or is told how many it missed; and what it gets then is what there
 * is.
 * "kill": a producer is killed after each instruction of a call in turn; then others go on, round the ring and once more,
 * and consumers that were there before and that come now see what was published, once, in order.
 * "stress": producers send N messages each, as fast as they can, to consumers in other processes: each message is whole
 * and in its producer's order, and each consumer has taken or missed as many as there were. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/lib/ring_os.h"
#include "tests/lib/fixture.h"

#define SLOTS UINT64_C(4)
#define ORDER 2U
#define N_WORDS 5U /* copied in more than one step */
#define MESSAGE_BYTES (8 * N_WORDS)
#define SLOT_BYTES (8 + MESSAGE_BYTES)
#define STEPS_MAX 100000
#define PATIENCE (20000 * MS)
#define N_PEERS 3U

static uint32_t flags = IPCRING_EACH_CONSUMER;

static void make_message(uint64_t *words, uint64_t value)
{
    for (unsigned int i = 0; i < N_WORDS; i++)
        words[i] = value ^ i * UINT64_C(0x9e3779b97f4a7c15);
}

static bool is_whole(const uint64_t *words)
{
    uint64_t expected[N_WORDS];

    make_message(expected, words[0]);
    return memcmp(words, expected, sizeof(expected)) == 0;
}

static void produce(struct ipcring *ring, uint64_t value)
{
    uint64_t words[N_WORDS];
    int r;

    make_message(words, value);
    r = ipcring_produce(ring, words, sizeof(words), PATIENCE);
    if (r < 0)
        die("produce %lu: %s", (unsigned long)value, strerror(-r));
}

/* Return: the message; or a negative errno in *@ret_r. */
static uint64_t consume(struct ipcring *ring, int64_t timeout_ns, int *ret_r)
{
    uint64_t words[N_WORDS] = { 0 };

    *ret_r = ipcring_consume(ring, words, sizeof(words), timeout_ns);
    if (*ret_r >= 0 && (*ret_r != (int)sizeof(words) || !is_whole(words)))
        die("a torn message: %d %016lx", *ret_r, (unsigned long)words[0]);
    return words[0];
}

/* Return: whether the call was still running after @n_steps. */
static bool step(pid_t pid, unsigned int n_steps)
{
    bool running = true;
    int status;

    waitpid(pid, &status, 0);
    for (unsigned int i = 0; i < n_steps && running; i++) {
        ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
        waitpid(pid, &status, 0);
        running = WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
    }
    return running;
}

/* --- overtake --- */

#define N_BEFORE 2U

/* Ends with status 0: it had a message; 1: it was overtaken; 2: something is wrong. */
static void run_overtaken(const struct fixture *f)
{
    struct ipcring *ring = fixture_open(f);
    uint64_t next = N_BEFORE;
    uint64_t words[N_WORDS];
    uint64_t value;
    int status = 0;
    int r;

    /* What was there before it is not for it; the parent has published one since. */
    raise(SIGSTOP);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    r = ipcring_try_consume(ring, words, sizeof(words));
    raise(SIGSTOP);
    if (r == -EOVERFLOW) {
        status = 1;
        next += ipcring_missed(ring);
    } else if (r != (int)sizeof(words) || !is_whole(words) || words[0] != next++) {
        fprintf(stderr, "overtaken: %d %016lx\n", r, (unsigned long)words[0]);
        _exit(2);
    }
    for (;;) {
        value = consume(ring, 0, &r);
        if (r == -EAGAIN)
            break;
        if (r == -EOVERFLOW) {
            next = N_BEFORE + (status == 0) + ipcring_missed(ring);
            continue;
        }
        if (r < 0 || value != next++) {
            fprintf(stderr, "then: %d %lu and not %lu\n", r, (unsigned long)value,
                    (unsigned long)next - 1);
            _exit(2);
        }
    }
    _exit(next == N_BEFORE + 1 + 2 * SLOTS ? status : 2);
}

/* Return: whether it was overtaken. */
static bool overtake(unsigned int n_steps, bool *ret_running)
{
    struct fixture f;
    struct ipcring *ring;
    int status;
    pid_t pid;

    fixture_init(&f, SLOTS, SLOT_BYTES, flags, first_pos_near_wrap(n_steps % N_FIRST_POS, ORDER));
    ring = fixture_open(&f);
    for (uint64_t i = 0; i < N_BEFORE; i++)
        produce(ring, i);
    pid = fork();
    if (pid == 0)
        run_overtaken(&f);
    waitpid(pid, &status, WUNTRACED);
    produce(ring, N_BEFORE);
    kill(pid, SIGCONT);
    *ret_running = step(pid, n_steps);
    for (uint64_t i = 1; i <= 2 * SLOTS; i++)
        produce(ring, N_BEFORE + i);
    do {
        ptrace(PTRACE_CONT, pid, NULL, NULL);
        waitpid(pid, &status, 0);
    } while (WIFSTOPPED(status));
    if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
        die("after %u steps", n_steps);
    ipcring_close(ring);
    fixture_deinit(&f);
    return WEXITSTATUS(status) == 1;
}

static void overtake_at_each_step(void)
{
    unsigned int n_overtaken = 0;
    unsigned int n_had = 0;
    unsigned int n_ended = 0;

    for (unsigned int n_steps = 0; n_ended < N_FIRST_POS; n_steps++) {
        bool running;

        if (overtake(n_steps, &running))
            n_overtaken++;
        else
            n_had++;
        n_ended = running ? 0 : n_ended + 1;
    }
    if (n_overtaken == 0 || n_had == 0)
        die("always the same: %u overtaken, %u not", n_overtaken, n_had);
    printf("overtaken at %u instructions, not at %u\n", n_overtaken, n_had);
}

/* --- kill --- */

enum { VICTIMS = 1000, AFTER = 2000 };

static void run_victim(const struct fixture *f)
{
    struct ipcring *ring = fixture_open(f);
    uint64_t words[N_WORDS];

    /* Full once: what it writes over was a message. */
    for (uint64_t i = 0; i <= SLOTS; i++)
        produce(ring, i);
    make_message(words, VICTIMS);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    ipcring_try_produce(ring, words, sizeof(words));
    raise(SIGSTOP);
    _exit(0);
}

/* What @ring, which has seen it all, has to show after the victim's death. Return: whether the victim's was there. */
static bool expect_rest(struct ipcring *ring, unsigned int n_steps, uint64_t n_after)
{
    bool arrived = false;
    uint64_t next = AFTER;
    uint64_t value;
    int r;

    for (;;) {
        value = consume(ring, PATIENCE, &r);
        if (r == -EOVERFLOW)
            continue;
        if (r < 0)
            die("after %u steps: %s", n_steps, strerror(-r));
        if (value == VICTIMS && !arrived && next == AFTER) {
            arrived = true;
        } else if (value >= AFTER) {
            if (value < next)
                die("after %u steps: %lu comes again", n_steps, (unsigned long)value);
            next = value + 1;
        } else if (value > SLOTS || next != AFTER) {
            die("after %u steps: %lu", n_steps, (unsigned long)value);
        }
        if (next == AFTER + n_after)
            return arrived;
    }
}

static bool kill_after(unsigned int n_steps)
{
    uint64_t n_after = 2 * SLOTS + 1;
    struct ipcring *early;
    struct ipcring *late;
    struct ipcring *ring;
    struct fixture f;
    bool running;
    pid_t pid;
    int r;

    fixture_init(&f, SLOTS, SLOT_BYTES, flags, first_pos_near_wrap(n_steps % N_FIRST_POS, ORDER));
    early = fixture_open(&f);
    pid = fork();
    if (pid == 0)
        run_victim(&f);
    running = step(pid, n_steps);
    kill(pid, SIGKILL);
    waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
    late = fixture_open(&f);
    ring = fixture_open(&f);
    produce(ring, AFTER);
    expect_rest(early, n_steps, 1);
    if (consume(late, PATIENCE, &r) == VICTIMS)
        consume(late, PATIENCE, &r);
    if (r < 0)
        die("after %u steps: who comes late: %s", n_steps, strerror(-r));
    for (uint64_t i = 1; i < n_after; i++)
        produce(ring, AFTER + i);
    expect_rest(early, n_steps, n_after);
    expect_rest(late, n_steps, n_after);
    waitpid(pid, NULL, 0);
    ipcring_close(early);
    ipcring_close(late);
    ipcring_close(ring);
    fixture_deinit(&f);
    return running;
}

static void kill_at_each_step(void)
{
    unsigned int n_ended = 0;
    unsigned int n_steps;

    for (n_steps = 0; n_ended < N_FIRST_POS && n_steps < STEPS_MAX; n_steps++)
        n_ended = kill_after(n_steps) ? 0 : n_ended + 1;
    printf("%u deaths\n", n_steps);
}

/* --- stress --- */

static struct fixture shared_ring;
static atomic_uint *n_ready;
static uint64_t n_messages;

/* @who's message @number. */
static void run_producer(unsigned int who)
{
    struct ipcring *ring = fixture_open(&shared_ring);

    while (atomic_load(n_ready) < N_PEERS)
        usleep(100);
    for (uint64_t number = 0; number < n_messages; number++) {
        produce(ring, (uint64_t)who << 32 | number);
        /* Consumers are to have their turn on a busy machine too. */
        if (number % 64 == 0)
            usleep(1);
    }
    ipcring_close(ring);
    _exit(0);
}

static void run_consumer(unsigned int n_producers)
{
    struct ipcring *ring = fixture_open(&shared_ring);
    uint64_t next[N_PEERS] = { 0 };
    uint64_t n_taken = 0;
    int r;

    atomic_fetch_add(n_ready, 1);
    while (n_taken + ipcring_missed(ring) < n_producers * n_messages) {
        uint64_t value = consume(ring, PATIENCE, &r);
        uint64_t who = value >> 32;
        uint64_t number = value & 0xffffffff;

        if (r == -EOVERFLOW)
            continue;
        if (r < 0)
            die("consume: %s, %lu taken, %lu missed", strerror(-r), (unsigned long)n_taken,
                (unsigned long)ipcring_missed(ring));
        if (who >= n_producers || number < next[who] || number >= n_messages)
            die("message %lu.%lu after %lu", (unsigned long)who, (unsigned long)number,
                (unsigned long)next[who]);
        next[who] = number + 1;
        n_taken++;
    }
    consume(ring, 0, &r);
    if (r != -EAGAIN)
        die("more than there was: %d", r);
    printf("%lu taken, %lu missed\n", (unsigned long)n_taken, (unsigned long)ipcring_missed(ring));
    fflush(stdout);
    _exit(0);
}

static void stress(uint64_t first_pos)
{
    unsigned int n_producers = flags & IPCRING_ONE_PRODUCER ? 1 : N_PEERS;
    pid_t pids[2 * N_PEERS];
    unsigned int n = 0;

    n_ready = mmap(NULL, sizeof(*n_ready), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                   0);
    if (n_ready == MAP_FAILED)
        die("mmap: %m");
    fixture_init(&shared_ring, 16, SLOT_BYTES, flags, first_pos);
    for (unsigned int i = 0; i < N_PEERS; i++)
        if ((pids[n++] = fork()) == 0)
            run_consumer(n_producers);
    for (unsigned int i = 0; i < n_producers; i++)
        if ((pids[n++] = fork()) == 0)
            run_producer(i);
    for (unsigned int i = 0; i < n; i++) {
        int status;

        if (waitpid(pids[i], &status, 0) != pids[i] || status != 0)
            die("a peer failed");
    }
    fixture_deinit(&shared_ring);
    munmap(n_ready, sizeof(*n_ready));
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: each one|many overtake | kill | stress N");
    if (strcmp(argv[1], "one") == 0)
        flags |= IPCRING_ONE_PRODUCER;
    if (strcmp(argv[2], "overtake") == 0) {
        overtake_at_each_step();
    } else if (strcmp(argv[2], "kill") == 0) {
        kill_at_each_step();
    } else {
        n_messages = argc > 3 ? strtoull(argv[3], NULL, 10) : 100000;
        for (unsigned int i = 0; i < N_FIRST_POS; i++)
            stress(first_pos_near_wrap(i, 4));
    }
    return 0;
}
