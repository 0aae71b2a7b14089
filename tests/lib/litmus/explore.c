/* ring_explore SCENARIO [without LETTER[@FILE:LINE]] [deviations N] [runs N] [seed N]
 * ring_explore letters
 *
 * Explores core/lib/ipcring.c itself: its functions run as threads of threads.c in a map of memory.c, in all ways
 * that deviate from the plain one at most N times, and then in as many random ones. What is found ends it with
 * status 1, the last steps, and the seed that shows it again.
 *
 * It checks: what arrives is whole, in order, once; what was produced arrives; a payload is never touched by two
 * at once; a call fails only as it should; where nobody has died, nobody sleeps who could go on; in the end all
 * was sent and taken. Where somebody may die the others, and an heir, go on; only what the dead had in hand may
 * be missing.
 *
 * Where each consumer sees everything: it takes whole messages, each producer's in order, and at the end it has taken or
 * missed as many as there were.
 *
 * "without" takes out what a letter of ring_abi.h's table orders, everywhere or in one line; then it fails
 * where nothing is found. "letters" looks whether each ordering of the sources has a letter, and each letter an ordering. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/lib/ipcring_daemon.h"
#include "core/lib/ring_os.h"
#include "letters.h"
#include "memory.h"
#include "search.h"
#include "tests/lib/fixture.h"
#include "threads.h"

#define ORDER 1U
#define SLOTS (1U << ORDER)
#define N_WORDS 2U /* of a message */
#define MESSAGE_BYTES (N_WORDS * 8)
#define SLOT_BYTES (IPCRING_WORD_BYTES + MESSAGE_BYTES)
#define N_BATCH 3U
#define N_SENDS_MAX 8U

enum way {
    WAY_COPY,
    WAY_BATCH,
    WAY_PLACE, /* in place */
};

enum role {
    ROLE_NONE,
    PRODUCER,
    CONSUMER,
    SPARE_PRODUCER, /* takes the role when it is free */
    SPARE_CONSUMER,
    PRODUCER_HEIR, /* of the first producer, when that is dead */
    CONSUMER_HEIR,
    MAKER, /* of the ring, which others look for meanwhile; then produces */
};

struct scenario {
    const char *name;
    enum role roles[N_THREADS_MAX]; /* from 1 on */
    uint32_t flags;
    unsigned int n_sends; /* of each producer */
    enum way produce;
    enum way consume;
    bool deaths;
    bool is_unregistered; /* the first thread, with membarrier */
    bool spins;
};

#define ONE_PRODUCER IPCRING_ONE_PRODUCER
#define ONE_CONSUMER IPCRING_ONE_CONSUMER
#define EACH IPCRING_EACH_CONSUMER

static const struct scenario scenarios[] = {
    { "one", { 0, PRODUCER, CONSUMER }, ONE_ONE, 4 },
    { "one-batch", { 0, PRODUCER, CONSUMER }, ONE_ONE, 4, WAY_BATCH, WAY_BATCH },
    { "one-place", { 0, PRODUCER, CONSUMER }, ONE_ONE, 4, WAY_PLACE, WAY_PLACE },
    { "one-spin", { 0, PRODUCER, CONSUMER }, ONE_ONE, 3, .spins = true },
    { "one-unregistered", { 0, PRODUCER, CONSUMER }, ONE_ONE, 4, .is_unregistered = true },
    { "one-unregistered-consumer", { 0, CONSUMER, PRODUCER }, ONE_ONE, 4, .is_unregistered = true },
    { "one-death",
      { 0, PRODUCER, CONSUMER, PRODUCER_HEIR, CONSUMER_HEIR },
      ONE_ONE,
      3,
      .deaths = true },
    { "one-batch-death",
      { 0, PRODUCER, CONSUMER, PRODUCER_HEIR, CONSUMER_HEIR },
      ONE_ONE,
      3,
      WAY_BATCH,
      WAY_BATCH,
      .deaths = true },
    { "one-spare", { 0, SPARE_PRODUCER, SPARE_PRODUCER, CONSUMER }, ONE_ONE, 2 },
    { "one-spare-consumer", { 0, SPARE_CONSUMER, SPARE_CONSUMER, PRODUCER }, ONE_ONE, 4 },
    { "open", { 0, MAKER, CONSUMER }, ONE_ONE, 2 },
    { "many", { 0, PRODUCER, PRODUCER, CONSUMER, CONSUMER }, 0, 2 },
    { "many-two", { 0, PRODUCER, PRODUCER, CONSUMER }, 0, 3 },
    { "many-batch", { 0, PRODUCER, PRODUCER, CONSUMER, CONSUMER }, 0, 2, WAY_BATCH, WAY_BATCH },
    { "many-place", { 0, PRODUCER, PRODUCER, CONSUMER }, ONE_CONSUMER, 3, WAY_PLACE, WAY_PLACE },
    { "many-unregistered", { 0, PRODUCER, CONSUMER }, 0, 4, .is_unregistered = true },
    { "many-unregistered-consumer", { 0, CONSUMER, PRODUCER }, 0, 4, .is_unregistered = true },
    { "many-death", { 0, PRODUCER, PRODUCER, CONSUMER, CONSUMER }, 0, 2, .deaths = true },
    { "many-place-death",
      { 0, PRODUCER, CONSUMER, PRODUCER, CONSUMER_HEIR },
      ONE_CONSUMER,
      2,
      WAY_PLACE,
      WAY_COPY,
      .deaths = true },
    { "producers", { 0, PRODUCER, PRODUCER, CONSUMER }, ONE_CONSUMER, 3, .consume = WAY_BATCH },
    { "consumers", { 0, PRODUCER, CONSUMER, CONSUMER }, ONE_PRODUCER, 4, .produce = WAY_BATCH },
    { "each-one", { 0, PRODUCER, CONSUMER, CONSUMER }, EACH | ONE_PRODUCER, 5 },
    { "each-one-batch", { 0, PRODUCER, CONSUMER }, EACH | ONE_PRODUCER, 6, WAY_BATCH, WAY_BATCH },
    { "each-one-place", { 0, PRODUCER, CONSUMER }, EACH | ONE_PRODUCER, 5, WAY_PLACE },
    { "each-one-death",
      { 0, PRODUCER, CONSUMER, PRODUCER_HEIR },
      EACH | ONE_PRODUCER,
      4,
      .deaths = true },
    { "each-unregistered",
      { 0, PRODUCER, CONSUMER },
      EACH | ONE_PRODUCER,
      4,
      .is_unregistered = true },
    { "each-many", { 0, PRODUCER, PRODUCER, CONSUMER }, EACH, 4 },
    { "each-many-place", { 0, PRODUCER, PRODUCER, CONSUMER }, EACH, 3, WAY_PLACE },
    { "each-many-death", { 0, PRODUCER, PRODUCER, CONSUMER }, EACH, 3, .deaths = true },
};

/* What a thread has done. */
struct account {
    unsigned int n_sent;
    unsigned int
        last_taken[N_THREADS_MAX]; /* 1 + the number of each producer's last message it got */
    unsigned int n_taken;
};

static const struct scenario *scenario;
static void *map;
static struct ring_geometry geometry;
static struct ipcring *rings[N_THREADS_MAX];
static struct account accounts[N_THREADS_MAX];
static bool taken[N_THREADS_MAX][N_SENDS_MAX];
static uint64_t first_pos;

/* --- Messages --- */

static void make_message(uint64_t *words, unsigned int who, unsigned int number)
{
    words[0] = (uint64_t)who << 32 | number;
    words[1] = ~words[0];
}

static bool is_each(void)
{
    return scenario->flags & EACH;
}

static void take_message(unsigned int me, const uint64_t *words)
{
    unsigned int who = (unsigned int)(words[0] >> 32);
    unsigned int number = (uint32_t)words[0];

    if (words[1] != ~words[0] || who >= N_THREADS_MAX || number >= scenario->n_sends)
        violation("a torn message: %016" PRIx64 " %016" PRIx64, words[0], words[1]);
    if (taken[who][number] && !is_each())
        violation("message %u of %u is taken twice", number, who);
    if (number < accounts[me].last_taken[who])
        violation("message %u of %u comes too late", number, who);
    accounts[me].last_taken[who] = number + 1;
    accounts[me].n_taken++;
    taken[who][number] = true;
    threads_progress();
}

static void sent(unsigned int me, int r, unsigned int n)
{
    if (r < 0)
        violation("produce: %s", strerror(-r));
    accounts[me].n_sent += n;
    threads_progress();
}

/* --- Threads --- */

static void produce_one(unsigned int me)
{
    uint64_t words[N_WORDS];

    make_message(words, me, accounts[me].n_sent);
    sent(me, ipcring_produce(rings[me], words, sizeof(words), IPCRING_FOREVER), 1);
}

static void produce_batch(unsigned int me)
{
    uint64_t words[N_BATCH][N_WORDS];
    struct ipcring_msg msgs[N_BATCH];
    unsigned int n = 0;
    int r;

    for (; n < N_BATCH && accounts[me].n_sent + n < scenario->n_sends; n++) {
        make_message(words[n], me, accounts[me].n_sent + n);
        msgs[n] = (struct ipcring_msg){ words[n], sizeof(words[n]) };
    }
    r = ipcring_produce_batch(rings[me], msgs, n, IPCRING_FOREVER);
    sent(me, r, (unsigned int)r);
}

/* The second is given up first. */
static void produce_in_place(unsigned int me)
{
    uint64_t words[N_WORDS];
    void *data;
    int r;

    if (accounts[me].n_sent == 1) {
        r = ipcring_reserve(rings[me], &data, IPCRING_FOREVER);
        if (r < 0)
            violation("reserve: %s", strerror(-r));
        ipcring_cancel(rings[me]);
    }
    make_message(words, me, accounts[me].n_sent);
    r = ipcring_reserve(rings[me], &data, IPCRING_FOREVER);
    if (r < 0)
        violation("reserve: %s", strerror(-r));
    memory_write(data, words, N_WORDS);
    sent(me, ipcring_commit(rings[me], sizeof(words)), 1);
}

static void produce(unsigned int me)
{
    while (accounts[me].n_sent < scenario->n_sends) {
        if (scenario->produce == WAY_BATCH)
            produce_batch(me);
        else if (scenario->produce == WAY_PLACE)
            produce_in_place(me);
        else
            produce_one(me);
    }
}

static void expect_length(int r)
{
    if (r < 0)
        violation("consume: %s", strerror(-r));
    if (r != (int)MESSAGE_BYTES)
        violation("a message of %d bytes", r);
}

static void consume_one(unsigned int me)
{
    uint64_t words[N_WORDS];
    int r = ipcring_consume(rings[me], words, sizeof(words), IPCRING_FOREVER);

    if (r == -EOVERFLOW && is_each())
        return;
    expect_length(r);
    take_message(me, words);
}

static void consume_batch(unsigned int me)
{
    uint64_t words[N_BATCH][N_WORDS];
    struct ipcring_msg msgs[N_BATCH];
    int r;

    for (unsigned int i = 0; i < N_BATCH; i++)
        msgs[i] = (struct ipcring_msg){ words[i], sizeof(words[i]) };
    r = ipcring_consume_batch(rings[me], msgs, N_BATCH, IPCRING_FOREVER);
    if (r == -EOVERFLOW && is_each())
        return;
    if (r < 0)
        violation("consume: %s", strerror(-r));
    for (int i = 0; i < r; i++) {
        expect_length((int)msgs[i].n_bytes);
        take_message(me, words[i]);
    }
}

static void consume_in_place(unsigned int me)
{
    uint64_t words[N_WORDS];
    const void *data;

    expect_length(ipcring_peek(rings[me], &data, IPCRING_FOREVER));
    memory_read(words, data, N_WORDS);
    ipcring_release(rings[me]);
    take_message(me, words);
}

static void consume(unsigned int me)
{
    if (scenario->consume == WAY_BATCH)
        consume_batch(me);
    else if (scenario->consume == WAY_PLACE)
        consume_in_place(me);
    else
        consume_one(me);
}

static void run_producer(unsigned int me)
{
    produce(me);
    ipcring_leave_roles(rings[me]);
}

static void run_consumer(unsigned int me)
{
    for (;;)
        consume(me);
}

static void run_spare_producer(unsigned int me)
{
    uint64_t words[N_WORDS];
    int r;

    make_message(words, me, 0);
    while ((r = ipcring_produce(rings[me], words, sizeof(words), IPCRING_FOREVER)) == -EBUSY)
        threads_yield();
    sent(me, r, 1);
    run_producer(me);
}

/* Takes two, and leaves the role to the other. */
static void run_spare_consumer(unsigned int me)
{
    uint64_t words[N_WORDS];

    for (unsigned int n = 0; n < 2;) {
        int r = ipcring_consume(rings[me], words, sizeof(words), IPCRING_FOREVER);

        if (r == -EBUSY) {
            threads_yield();
            continue;
        }
        expect_length(r);
        take_message(me, words);
        n++;
    }
    ipcring_leave_roles(rings[me]);
}

static struct ipcring *attach(unsigned int me)
{
    struct ipcring *ring;
    int r = ipcring_attach(map, ring_map_bytes(&geometry), &ring);

    if (r < 0)
        return NULL;
    ipcring_set_spin(ring, scenario->spins ? 20000 : 0);
    rings[me] = ring;
    return ring;
}

static void run_maker(unsigned int me)
{
    ring_format(map, &geometry, first_pos);
    attach(me);
    run_producer(me);
}

/* A ring that is being made is none, or all of it. */
static void run_finder(unsigned int me)
{
    while (!attach(me))
        threads_yield();
    run_consumer(me);
}

/* --- Runs --- */

static bool is_producer(enum role role)
{
    return role == PRODUCER || role == SPARE_PRODUCER || role == PRODUCER_HEIR || role == MAKER;
}

static thread_fn *fn_of(enum role role)
{
    if (scenario->roles[1] == MAKER)
        return role == MAKER ? run_maker : run_finder;
    switch (role) {
    case SPARE_PRODUCER:
        return run_spare_producer;
    case SPARE_CONSUMER:
        return run_spare_consumer;
    case PRODUCER:
    case PRODUCER_HEIR:
        return run_producer;
    default:
        return run_consumer;
    }
}

static unsigned int prepare(struct thread_spec *specs)
{
    unsigned int n = 0;

    memset(accounts, 0, sizeof(accounts));
    memset(taken, 0, sizeof(taken));
    geometry = (struct ring_geometry){ SLOTS, SLOT_BYTES, scenario->flags };
    map = memory_start(&geometry);
    threads_act_as(0, false);
    if (scenario->roles[1] != MAKER)
        ring_format(map, &geometry, first_pos);
    for (unsigned int i = 1; i < N_THREADS_MAX && scenario->roles[i] != ROLE_NONE; i++) {
        enum role role = scenario->roles[i];
        bool is_heir = role == PRODUCER_HEIR || role == CONSUMER_HEIR;

        specs[i] = (struct thread_spec){
            .fn = fn_of(role),
            .may_die = scenario->deaths && !is_heir,
            .is_registered = !(scenario->is_unregistered && i == 1),
            .heir_of = is_heir ? (role == PRODUCER_HEIR ? 1 : 2) : 0,
        };
        threads_act_as(i, specs[i].is_registered);
        memory_thread_starts(i, 0);
        if (scenario->roles[1] != MAKER && !attach(i))
            violation("attach");
        n++;
    }
    return n;
}

/* Return: how many of @who's messages that it has produced have not arrived. */
static unsigned int count_missing(unsigned int who)
{
    unsigned int n = 0;

    for (unsigned int i = 0; i < accounts[who].n_sent; i++)
        n += !taken[who][i];
    return n;
}

static unsigned int count_sent(unsigned int n)
{
    unsigned int n_sent = 0;

    for (unsigned int i = 1; i <= n; i++)
        n_sent += accounts[i].n_sent;
    return n_sent;
}

/* What the dead had claimed, and what was given up, counts as missed, or for nothing. */
static void check_each(unsigned int n)
{
    for (unsigned int i = 1; i <= n; i++) {
        unsigned int n_known;

        if (is_producer(scenario->roles[i]) || threads_is_dead(i))
            continue;
        n_known = accounts[i].n_taken + (unsigned int)ipcring_missed(rings[i]);
        if (n_known != count_sent(n) && !threads_anybody_died() && scenario->produce != WAY_PLACE)
            violation("%u has taken or missed %u of %u messages", i, n_known, count_sent(n));
        if (n_known < count_sent(n))
            violation("%u knows of %u of %u messages", i, n_known, count_sent(n));
    }
}

static void check_rest(unsigned int n)
{
    unsigned int n_missing = 0;
    bool consumer_died = false;

    for (unsigned int i = 1; i <= n; i++) {
        bool was_there = scenario->roles[i] < PRODUCER_HEIR || threads_has_ended(i);
        struct ipcring_stat stat;

        if (is_producer(scenario->roles[i])) {
            n_missing += count_missing(i);
            if (was_there && !threads_is_dead(i) && !threads_has_ended(i))
                violation("producer %u waits for ever", i);
        } else {
            consumer_died |= threads_is_dead(i);
        }
        if (!rings[i] || threads_anybody_died())
            continue;
        ipcring_get_stat(rings[i], &stat);
        if (stat.n_rescues > 0)
            violation("%u slept though it could go on", i);
    }
    if (is_each())
        check_each(n);
    else if (n_missing > (consumer_died ? scenario->consume == WAY_BATCH ? N_BATCH : 1 : 0))
        violation("%u messages have not arrived", n_missing);
}

static void run_once(uint64_t number)
{
    struct thread_spec specs[N_THREADS_MAX] = { 0 };
    unsigned int n;

    first_pos = first_pos_near_wrap((unsigned int)(number % N_FIRST_POS), ORDER);
    memset(rings, 0, sizeof(rings));
    n = prepare(specs);
    threads_run(specs, n);
    check_rest(n);
}

static uint64_t current_seed;
static bool is_random;

static void say_run(void)
{
    printf("scenario %s, ", scenario->name);
    if (is_random)
        printf("again: runs 1 seed %" PRIu64 "\n", current_seed);
    else
        printf("exhaustive run %" PRIu64 "\n", current_seed);
}

static void explore(unsigned int n_deviations, uint64_t n_runs, uint64_t seed)
{
    uint64_t n = 0;

    for (uint64_t first = 1; n_deviations > 0 && first < 4; first += 2) {
        search_start_exhaustive(n_deviations);
        do {
            current_seed = n++;
            run_once(first);
        } while (search_next());
    }
    printf("%s: all %" PRIu64 " runs of up to %u deviations\n", scenario->name, n, n_deviations);
    is_random = true;
    for (uint64_t i = 0; i < n_runs; i++) {
        current_seed = seed + i;
        search_start_random(current_seed);
        run_once(current_seed);
    }
    printf("%s: %" PRIu64 " random runs from seed %" PRIu64 "\n", scenario->name, n_runs, seed);
}

static void take_out(char *what)
{
    char *at = strchr(what, '@');
    char *colon = at ? strchr(at, ':') : NULL;

    letters_without(what[0]);
    if (!colon)
        return;
    *colon = '\0';
    letters_without_only_at(at + 1, atoi(colon + 1));
}

static const struct scenario *find_scenario(const char *name)
{
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        if (strcmp(scenarios[i].name, name) == 0)
            return &scenarios[i];
    die("no such scenario: %s", name);
}

int main(int argc, char **argv)
{
    unsigned int n_deviations = 2;
    uint64_t n_runs = 20000;
    uint64_t seed = 1;

    if (argc < 2)
        die("usage: ring_explore SCENARIO [without LETTER] [deviations N] [runs N] [seed N]");
    if (strcmp(argv[1], "letters") == 0)
        return letters_check_sources() > 0;
    scenario = find_scenario(argv[1]);
    threads_say_run = say_run;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "without") == 0)
            take_out(argv[i + 1]);
        else if (strcmp(argv[i], "deviations") == 0)
            n_deviations = (unsigned int)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "runs") == 0)
            n_runs = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
    }
    explore(n_deviations, n_runs, seed);
    if (letters_anything_lacks())
        printf("nothing is found\n");
    return letters_anything_lacks();
}
