/* scribble SECONDS [SEED]: a peer writes whatever it likes all over the map, and makes a ring of another kind of it, while others use
 * the library.
 *
 * They must not crash, nor stay in a call much longer than its timeout, nor return what is neither an
 * errno nor a length that fits; and a neighbour's ring carries its messages. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/lib/ring_os.h"
#include "tests/lib/fixture.h"

#define SLOT_BYTES 32
#define SLOTS 8
#define ORDER 3 /* of SLOTS */
#define CALL_NS ((uint64_t)(2000 * MS))

/* Multiples of 8: many processors have no other atomic 64 bits. */
static const size_t at_words[] = {
    IPCRING_AT_HEAD,
    IPCRING_AT_TAIL,
    IPCRING_AT_PRODUCER,
    IPCRING_AT_CONSUMER,
    IPCRING_AT_WAIT_DATA,
    IPCRING_AT_SLOT_0,
    IPCRING_AT_SLOT_0 + SLOT_BYTES,
    IPCRING_AT_WAIT_SPACE,
    IPCRING_AT_MAGIC,
    IPCRING_AT_SLOTS,
    IPCRING_AT_VERSION, /* and the flags */
};

static const uint32_t kinds[] = {
    MANY_MANY, IPCRING_ONE_PRODUCER,  IPCRING_ONE_CONSUMER,
    ONE_ONE,   IPCRING_EACH_CONSUMER, IPCRING_EACH_CONSUMER | IPCRING_ONE_PRODUCER
};

#define N_KINDS (sizeof(kinds) / sizeof(*kinds))

static _Noreturn void run_scribbler(struct fixture *f, uint64_t random)
{
    char *map = f->map;

    for (;;) {
        uint64_t kind = next_random(&random) % 8;
        uint64_t value = next_random(&random);
        size_t at = at_words[next_random(&random) % (sizeof(at_words) / sizeof(*at_words))];

        if (kind < 2) {
            /* Nearly right is worse than random. */
            atomic_fetch_add(ring_u64(map, at), value % 5 - 2);
        } else if (kind < 4) {
            atomic_store(ring_u64(map, at), value);
        } else if (kind == 4) {
            /* A word of a lap that somebody looks for. */
            uint64_t head = atomic_load(ring_u64(map, IPCRING_AT_HEAD));
            uint32_t lap = ipcring_lap(head, ORDER) + (uint32_t)(value >> 8) % 3 - 1;

            at = IPCRING_AT_SLOT_0 + value % SLOTS * SLOT_BYTES;
            atomic_store(ring_u64(map, at), ipcring_word(lap, (uint32_t)(value >> 16) % 4,
                                                         (uint32_t)(value >> 20) % 40));
        } else if (kind == 5) {
            map[value % f->n_bytes] = (char)(value >> 32);
        } else if (kind == 6) {
            /* Let them work for a while. */
            memset(map, 0, f->n_bytes);
            ring_format(map, &(struct ring_geometry){ SLOTS, SLOT_BYTES, kinds[value % N_KINDS] },
                        first_pos_near_wrap(value % N_FIRST_POS, ORDER));
            usleep((useconds_t)(value % 3000));
        } else {
            usleep((useconds_t)(value % 200));
        }
    }
}

static void check(const char *call, int r, uint64_t start_ns)
{
    uint64_t took = now_ns() - start_ns;

    if (r < -4095 || r > SLOT_BYTES - 8)
        die("%s returned %d", call, r);
    if (took > CALL_NS)
        die("%s took %lu ms", call, (unsigned long)(took / 1000000));
}

static void use(struct ipcring *ring, uint64_t random)
{
    char buffer[4][64] = { { 0 } };
    struct ipcring_msg msgs[4];
    size_t n = random >> 8 & 31;
    uint64_t start_ns = now_ns();
    struct ipcring_stat stat;
    const void *shown;
    void *place;

    for (int i = 0; i < 4; i++)
        msgs[i] = (struct ipcring_msg){ buffer[i], 24 };
    switch (random % 8) {
    case 0:
        return check("produce", ipcring_produce(ring, buffer, n, MS), start_ns);
    case 1:
        return check("consume", ipcring_consume(ring, buffer, n, MS), start_ns);
    case 2:
        return check("try_produce", ipcring_try_produce(ring, buffer, n), start_ns);
    case 3:
        return check("try_consume", ipcring_try_consume(ring, buffer, n), start_ns);
    case 4:
        return check("produce_batch", ipcring_produce_batch(ring, msgs, 4, MS), start_ns);
    case 5:
        return check("consume_batch", ipcring_consume_batch(ring, msgs, 4, MS), start_ns);
    case 6:
        if (ipcring_reserve(ring, &place, MS) == 0) {
            memset(place, 1, ipcring_message_bytes(ring));
            check("commit", ipcring_commit(ring, n), start_ns);
            ipcring_cancel(ring);
        }
        return check("reserve", 0, start_ns);
    default:
        n = (size_t)ipcring_peek(ring, &shown, MS);
        check("peek", (int)n, start_ns);
        if ((int)n >= 0) {
            memcpy(buffer, shown, n);
            ipcring_release(ring);
        }
        ipcring_get_stat(ring, &stat);
        /* Where each sees everything it may have been overtaken; how far head is from there is anybody's word. */
        if (!(stat.flags & IPCRING_EACH_CONSUMER) && stat.head - stat.tail > SLOTS)
            die("a ring that holds %lu", (unsigned long)(stat.head - stat.tail));
    }
}

static _Noreturn void run_user(const struct fixture *f, uint64_t random, uint64_t until_ns)
{
    unsigned long n_opened = 0;

    while (now_ns() < until_ns) {
        struct ipcring *ring;
        int r = ipcring_open_fd(f->fd, &ring);

        if (r < 0 && r != -EPROTO)
            die("open: %s", strerror(-r));
        if (r < 0)
            continue;
        n_opened++;
        for (int i = 0; i < 200; i++)
            use(ring, next_random(&random));
        ipcring_close(ring);
    }
    if (n_opened == 0)
        die("it could never be opened");
    exit(0);
}

static void run_neighbour(uint64_t until_ns)
{
    struct fixture f;
    struct ipcring *ring;
    uint64_t got;

    fixture_init(&f, 4, 16, ONE_ONE, 0);
    ring = fixture_open(&f);
    for (uint64_t n = 0; now_ns() < until_ns; n++)
        if (ipcring_produce(ring, &n, 8, MS) < 0 || ipcring_consume(ring, &got, 8, MS) != 8 ||
            got != n)
            die("the neighbour suffers");
    ipcring_close(ring);
    fixture_deinit(&f);
}

int main(int argc, char **argv)
{
    uint64_t until_ns = now_ns() + strtoull(argc > 1 ? argv[1] : "2", NULL, 10) * 1000000000U;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : now_ns();
    struct fixture f;
    pid_t scribbler;
    pid_t users[2];
    int failed = 0;
    int status;

    printf("seed %lu\n", (unsigned long)seed);
    fflush(stdout);
    fixture_init(&f, SLOTS, SLOT_BYTES, MANY_MANY, 0);
    scribbler = fork();
    if (scribbler == 0)
        run_scribbler(&f, seed | 1);
    for (unsigned int i = 0; i < 2; i++) {
        users[i] = fork();
        if (users[i] == 0)
            run_user(&f, (seed ^ (i + 2) * UINT64_C(0x9e3779b97f4a7c15)) | 1, until_ns);
    }
    run_neighbour(until_ns);
    for (int i = 0; i < 2; i++)
        failed |= waitpid(users[i], &status, 0) != users[i] || status != 0;
    kill(scribbler, SIGKILL);
    if (waitpid(scribbler, &status, 0) != scribbler || !WIFSIGNALED(status) ||
        WTERMSIG(status) != SIGKILL)
        die("the scribbler ended by itself, status %d", status);
    return failed;
}
