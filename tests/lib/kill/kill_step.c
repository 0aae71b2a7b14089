/* kill_step one|many one|many produce|consume [first|place|batch]: a process is killed after each
 * instruction of the operation in turn; then the others go on, and what was published arrives once. Of a
 * batch that is produced the first messages arrive, as many as were published; of one that is consumed all
 * are taken or none. The ring has one or many producers, one or many consumers. With "first" the role is
 * taken in the call; with "place" the message is not copied.
 *
 * The victim stops itself, is single-stepped N instructions into the call, and dies; N grows until the
 * call ends before. Every second victim is reaped only after its ring has been used: a zombie is as
 * dead. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/lib/ring_os.h"
#include "tests/lib/fixture.h"

#define SLOTS UINT64_C(4)
#define SLOT_BYTES 16
#define STEPS_MAX 100000

/* Beyond this only a peer that waits for the dead takes. */
#define PATIENCE (20000 * MS)

enum { OLD = 1, VICTIMS = 2, NEW = 3 };

/* Messages of a batch, from BATCHED on. */
#define N_BATCH 3U
#define BATCHED UINT64_C(100)

static uint32_t flags;
static bool producing;
static bool batch;
static bool place;
static bool warm; /* the victim has taken its role, by a message, before it calls */

static void call_batch(struct ipcring *ring)
{
    uint64_t values[N_BATCH];
    struct ipcring_msg msgs[N_BATCH];

    for (unsigned int i = 0; i < N_BATCH; i++) {
        values[i] = BATCHED + i;
        msgs[i] = (struct ipcring_msg){ &values[i], 8 };
    }
    if (producing)
        ipcring_produce_batch(ring, msgs, N_BATCH, 0);
    else
        ipcring_consume_batch(ring, msgs, N_BATCH, 0);
}

static void call_in_place(struct ipcring *ring)
{
    const uint64_t value = VICTIMS;
    const void *shown;
    void *data;

    if (producing && ipcring_reserve(ring, &data, 0) == 0) {
        memcpy(data, &value, sizeof(value));
        ipcring_commit(ring, sizeof(value));
    } else if (!producing && ipcring_peek(ring, &shown, 0) == 8) {
        ipcring_release(ring);
    }
}

static void run_victim(const struct fixture *f)
{
    struct ipcring *ring = fixture_open(f);
    uint64_t value = VICTIMS;

    if (warm && producing) {
        value = 0;
        ipcring_try_produce(ring, &value, 8);
        value = VICTIMS;
    } else if (warm) {
        ipcring_try_consume(ring, &value, 8);
    }
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    if (batch)
        call_batch(ring);
    else if (place)
        call_in_place(ring);
    else if (producing)
        ipcring_try_produce(ring, &value, 8);
    else
        ipcring_try_consume(ring, &value, 8);
    raise(SIGSTOP);
    _exit(0);
}

/* Return: whether the call was still running after @n_steps. The victim is dead, and perhaps not
 * reaped. */
static bool step_and_kill(pid_t pid, unsigned int n_steps)
{
    int status;
    bool running = true;

    waitpid(pid, &status, 0);
    for (unsigned int i = 0; i < n_steps && running; i++) {
        ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
        waitpid(pid, &status, 0);
        running = WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
    }
    kill(pid, SIGKILL);
    /* A tracer is told of the death first; reaping waits. */
    waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
    return running;
}

static void expect(struct ipcring *ring, uint64_t value, unsigned int n_steps)
{
    uint64_t got = 0;
    int r = ipcring_consume(ring, &got, 8, PATIENCE);

    if (r != 8 || got != value)
        die("after %u steps: %d %lu and not %lu", n_steps, r, (unsigned long)got,
            (unsigned long)value);
}

static void produce(struct ipcring *ring, uint64_t value, unsigned int n_steps)
{
    int r = ipcring_produce(ring, &value, 8, PATIENCE);

    if (r < 0)
        die("after %u steps: produce: %s", n_steps, strerror(-r));
}

/* Return: whether the slot of the ring's message number @i says that it is there. */
static bool is_published(const struct fixture *f, unsigned int n_steps, uint64_t i)
{
    uint64_t pos = first_pos_near_wrap(n_steps % N_FIRST_POS, 2) + i;
    uint64_t word = atomic_load(ring_u64(f->map, IPCRING_AT_SLOT_0 + pos % SLOTS * SLOT_BYTES));

    return word == ipcring_word(ipcring_lap(pos, 2), IPCRING_FULL, 8);
}

/* The producer died after @n_steps. Return: whether its message was published. */
static bool check_dead_producer(const struct fixture *f, unsigned int n_steps)
{
    struct ipcring *ring = fixture_open(f);
    bool published = is_published(f, n_steps, 1);
    bool arrived = false;
    uint64_t got = 0;

    expect(ring, warm ? 0 : OLD, n_steps);
    /* Around the ring and once more, so that the victim's slot is used again. */
    for (uint64_t i = 0; i < 2 * SLOTS + 1; i++) {
        produce(ring, NEW + i, n_steps);
        if (ipcring_consume(ring, &got, 8, PATIENCE) != 8)
            die("after %u steps: nothing arrives", n_steps);
        if (got == VICTIMS && i == 0) {
            arrived = true;
            expect(ring, NEW, n_steps);
        } else if (got != NEW + i) {
            die("after %u steps: %lu and not %lu", n_steps, (unsigned long)got,
                (unsigned long)(NEW + i));
        }
    }
    if (ipcring_try_consume(ring, &got, 8) != -EAGAIN)
        die("after %u steps: something is left", n_steps);
    if (arrived != published)
        die("after %u steps: %s", n_steps, arrived ? "it was not published" : "it is lost");
    ipcring_close(ring);
    return published;
}

/* The consumer died after @n_steps. Return: whether it had taken its message. */
static bool check_dead_consumer(const struct fixture *f, unsigned int n_steps)
{
    struct ipcring *ring = fixture_open(f);
    uint64_t got = 0;
    bool taken;

    if (ipcring_consume(ring, &got, 8, PATIENCE) != 8 || (got != OLD && got != NEW))
        die("after %u steps: %lu", n_steps, (unsigned long)got);
    taken = got == NEW;
    if (!taken)
        expect(ring, NEW, n_steps);
    for (uint64_t i = 0; i < 2 * SLOTS; i++) {
        produce(ring, i, n_steps);
        expect(ring, i, n_steps);
    }
    ipcring_close(ring);
    return taken;
}

/* The same for a batch; its first message is the ring's second. Return: whether all were published. */
static bool check_dead_batch_producer(const struct fixture *f, unsigned int n_steps)
{
    struct ipcring *ring = fixture_open(f);
    uint64_t n_published = 0;

    while (n_published < N_BATCH && is_published(f, n_steps, 1 + n_published))
        n_published++;
    expect(ring, warm ? 0 : OLD, n_steps);
    produce(ring, NEW, n_steps);
    for (uint64_t i = 0; i < n_published; i++)
        expect(ring, BATCHED + i, n_steps);
    expect(ring, NEW, n_steps);
    for (uint64_t i = 0; i < 2 * SLOTS; i++) {
        produce(ring, i, n_steps);
        expect(ring, i, n_steps);
    }
    ipcring_close(ring);
    return n_published == N_BATCH;
}

/* Return: whether the batch was taken. */
static bool check_dead_batch_consumer(const struct fixture *f, unsigned int n_steps)
{
    struct ipcring *ring = fixture_open(f);
    uint64_t got = 0;
    bool taken;

    produce(ring, NEW, n_steps);
    if (ipcring_consume(ring, &got, 8, PATIENCE) != 8 || (got != NEW && got != BATCHED))
        die("after %u steps: %lu", n_steps, (unsigned long)got);
    taken = got == NEW;
    for (uint64_t i = 1; i < N_BATCH && !taken; i++)
        expect(ring, BATCHED + i, n_steps);
    if (!taken)
        expect(ring, NEW, n_steps);
    for (uint64_t i = 0; i < 2 * SLOTS; i++) {
        produce(ring, i, n_steps);
        expect(ring, i, n_steps);
    }
    ipcring_close(ring);
    return taken;
}

static bool check(const struct fixture *f, unsigned int n_steps)
{
    if (batch)
        return producing ? check_dead_batch_producer(f, n_steps)
                         : check_dead_batch_consumer(f, n_steps);
    return producing ? check_dead_producer(f, n_steps) : check_dead_consumer(f, n_steps);
}

static void prepare(const struct fixture *f)
{
    struct ipcring *ring;
    uint64_t value;

    /* The victim produces a first one itself. */
    if (producing && warm)
        return;
    ring = fixture_open(f);
    if (warm)
        produce(ring, 0, 0);
    for (value = 0; !producing && batch && value < N_BATCH; value++)
        produce(ring, BATCHED + value, 0);
    if (producing || !batch)
        produce(ring, OLD, 0);
    if (!producing && !batch)
        produce(ring, NEW, 0);
    ipcring_close(ring);
}

int main(int argc, char **argv)
{
    unsigned int n_steps;
    unsigned int n_ended = 0;
    bool done[N_FIRST_POS] = { false }; /* where the ring begins decides which way a call goes */
    unsigned int done_at = 0;

    if (argc < 4)
        die("usage: kill_step one|many one|many produce|consume [first|place|batch]");
    if (strcmp(argv[1], "one") == 0)
        flags |= IPCRING_ONE_PRODUCER;
    if (strcmp(argv[2], "one") == 0)
        flags |= IPCRING_ONE_CONSUMER;
    producing = strcmp(argv[3], "produce") == 0;
    batch = argc > 4 && strcmp(argv[4], "batch") == 0;
    place = argc > 4 && strcmp(argv[4], "place") == 0;
    warm = flags & (producing ? IPCRING_ONE_PRODUCER : IPCRING_ONE_CONSUMER) &&
           !(argc > 4 && strcmp(argv[4], "first") == 0);
    for (n_steps = 0; n_ended < N_FIRST_POS && n_steps < STEPS_MAX; n_steps++) {
        bool *was_done = &done[n_steps % N_FIRST_POS];
        struct fixture f;
        bool now_done;
        pid_t pid;

        fixture_init(&f, SLOTS, SLOT_BYTES, flags, first_pos_near_wrap(n_steps % N_FIRST_POS, 2));
        prepare(&f);
        pid = fork();
        if (pid == 0)
            run_victim(&f);
        n_ended = step_and_kill(pid, n_steps) ? 0 : n_ended + 1;
        if (n_steps % 2 == 0)
            waitpid(pid, NULL, 0);
        now_done = check(&f, n_steps);
        if (n_steps % 2 != 0)
            waitpid(pid, NULL, 0);
        if (*was_done && !now_done)
            die("done after fewer steps, not done after %u", n_steps);
        if (now_done && done_at == 0)
            done_at = n_steps;
        *was_done = now_done;
        fixture_deinit(&f);
    }
    for (unsigned int i = 0; i < N_FIRST_POS; i++)
        if (!done[i])
            done_at = 0;
    if (done_at == 0)
        die("the call never had its effect, or had it from the start");
    printf("%u deaths; effect at instruction %u\n", n_steps, done_at);
    return 0;
}
