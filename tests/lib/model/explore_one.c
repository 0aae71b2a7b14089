/* explore_one [without WHAT]: every interleaving of one producer and one consumer in a ring of two
 * slots, on processors that hold stores back, with a death at any step and a successor.
 *
 * Each peer has a store buffer as x86 has: its plain stores become visible later, in order; it sees its
 * own at once; a swap empties it first, and a membarrier empties the other's. Who dies leaves its buffer to drain.
 * Positions start just below each wrap.
 *
 * It checks: messages arrive whole and in order, none twice and none lost, also where a successor goes on;
 * where nobody has died, nobody sleeps who could go on; in the end all was sent and taken. All this once
 * with single messages, and once with batches: head and tail are stored, and sleepers looked for, once for
 * as many as there are room or messages for.
 *
 * "without" leaves a step out or puts it elsewhere, to see that the machine tells: membarrier, recheck,
 * wake, order (published before the payload is written), copy (tail stored before the copy), scan (a
 * successor takes head as it is). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/fixture.h"
#include "visited.h"

#define ORDER 1U
#define N_SLOTS 2U
#define N_SENDS 4U
#define N_DEATHS 1U
#define N_STORES 12

enum pc {
    P_START,
    P_SCAN,
    P_SPACE,
    P_LOAD_TAIL,
    P_WRITE_A,
    P_WRITE_B,
    P_PUBLISH,
    P_STORE_HEAD,
    C_START,
    C_LOAD_WORD,
    C_READ_A,
    C_READ_B,
    C_MORE,
    C_STORE_TAIL,
    LOOK, /* for those who sleep on the other side */
    SWAP_WAIT,
    WAKE,
    SLEEP_FLAG,
    SLEEP_BARRIER,
    SLEEP_RECHECK,
    FUTEX_CALL,
    ASLEEP,
    DONE,
};

/* The shared words. The two waits are only ever swapped. */
enum at {
    AT_WORD,
    AT_A = AT_WORD + N_SLOTS,
    AT_B = AT_A + N_SLOTS,
    AT_HEAD = AT_B + N_SLOTS,
    AT_TAIL,
    N_AT
};

struct store {
    uint64_t value;
    uint64_t at;
};

struct peer {
    uint64_t pos;
    uint64_t seen_tail;
    struct store stores[N_STORES];
    uint32_t wait;
    uint8_t n_stores;
    uint8_t pc;
    uint8_t a;
    uint8_t b;
    uint8_t n_batch; /* copied, and tail not stored yet */
    uint8_t padding[7];
};

struct state {
    uint64_t words[N_AT];
    uint32_t wait[2]; /* where the producer, the consumer sleeps */
    struct peer peers[2];
    uint8_t n_published;
    uint8_t n_taken;
    uint8_t n_deaths;
    uint8_t padding[5];
};

static struct visited *visited;
static const char *without = "";
static bool batches;

static bool lacks(const char *what)
{
    return strcmp(without, what) == 0;
}

static _Noreturn void violation(const struct state *s, const char *what)
{
    printf("found: %s\npublished %u taken %u deaths %u at %u %u\n", what, s->n_published,
           s->n_taken, s->n_deaths, s->peers[0].pc, s->peers[1].pc);
    exit(1);
}

static void go_to(struct peer *p, enum pc pc)
{
    p->pc = (uint8_t)pc;
}

static uint64_t load(const struct state *s, unsigned int who, unsigned int at)
{
    const struct peer *p = &s->peers[who];

    for (unsigned int i = p->n_stores; i-- > 0;)
        if (p->stores[i].at == at)
            return p->stores[i].value;
    return s->words[at];
}

static void store(struct state *s, unsigned int who, unsigned int at, uint64_t value)
{
    struct peer *p = &s->peers[who];

    if (p->n_stores == N_STORES)
        violation(s, "the machine's store buffer is too small");
    p->stores[p->n_stores++] = (struct store){ value, at };
}

static void drain_one(struct state *s, unsigned int who)
{
    struct peer *p = &s->peers[who];

    s->words[p->stores[0].at] = p->stores[0].value;
    p->n_stores--;
    memmove(p->stores, p->stores + 1, sizeof(p->stores) - sizeof(p->stores[0]));
    p->stores[N_STORES - 1] = (struct store){ 0, 0 };
}

static void drain(struct state *s, unsigned int who)
{
    while (s->peers[who].n_stores > 0)
        drain_one(s, who);
}

static bool is_full_word(uint64_t word, uint64_t pos)
{
    return word == ipcring_word(ipcring_lap(pos, ORDER), IPCRING_FULL, 8);
}

static void publish(struct state *s)
{
    uint64_t pos = s->peers[0].pos;

    store(s, 0, AT_WORD + pos % N_SLOTS, ipcring_word(ipcring_lap(pos, ORDER), IPCRING_FULL, 8));
    s->n_published++;
}

static void copied(struct state *s)
{
    struct peer *c = &s->peers[1];

    if (c->a != c->b || c->a != s->n_taken + c->n_batch + 1)
        violation(s, c->a != c->b ? "a torn message" : "a message lost, or taken twice");
    c->n_batch++;
    c->pos++;
}

/* @who could go on if it looked now. */
static bool is_ready(const struct state *s, unsigned int who)
{
    uint64_t pos = s->peers[who].pos;

    if (who == 0)
        return pos - load(s, 0, AT_TAIL) < N_SLOTS;
    return is_full_word(load(s, 1, AT_WORD + pos % N_SLOTS), pos);
}

/* The steps both have. */
static void step_common(struct state *s, unsigned int who)
{
    static const enum pc again[] = { P_SPACE, C_LOAD_WORD };
    struct peer *p = &s->peers[who];
    uint32_t *mine = &s->wait[who];
    uint32_t *others = &s->wait[!who];

    switch (p->pc) {
    case LOOK:
        p->wait = *others;
        return go_to(p, !lacks("wake") && p->wait & IPCRING_SLEEPERS ? SWAP_WAIT : again[who]);
    case SWAP_WAIT:
        drain(s, who);
        if (*others != p->wait)
            return go_to(p, again[who]);
        ++*others;
        return go_to(p, WAKE);
    case WAKE:
        if (s->peers[!who].pc == ASLEEP)
            go_to(&s->peers[!who], again[!who]);
        return go_to(p, again[who]);
    case SLEEP_FLAG:
        drain(s, who);
        *mine |= IPCRING_SLEEPERS;
        p->wait = *mine;
        return go_to(p, lacks("membarrier") ? SLEEP_RECHECK : SLEEP_BARRIER);
    case SLEEP_BARRIER:
        drain(s, !who);
        return go_to(p, lacks("recheck") ? FUTEX_CALL : SLEEP_RECHECK);
    case SLEEP_RECHECK:
        return go_to(p, is_ready(s, who) ? again[who] : FUTEX_CALL);
    case FUTEX_CALL:
        return go_to(p, *mine == p->wait ? ASLEEP : again[who]);
    default:
        return;
    }
}

static void step_producer(struct state *s)
{
    struct peer *p = &s->peers[0];
    unsigned int slot = p->pos % N_SLOTS;

    switch (p->pc) {
    case P_START:
        p->pos = load(s, 0, AT_HEAD);
        p->seen_tail = p->pos - N_SLOTS;
        return go_to(p, lacks("scan") ? P_SPACE : P_SCAN);
    case P_SCAN:
        if (is_full_word(load(s, 0, AT_WORD + slot), p->pos))
            p->pos++;
        else
            go_to(p, P_SPACE);
        return;
    case P_SPACE:
        if (s->n_published >= N_SENDS)
            return go_to(p, DONE);
        return go_to(p, p->pos - p->seen_tail < N_SLOTS ? P_WRITE_A : P_LOAD_TAIL);
    case P_LOAD_TAIL:
        p->seen_tail = load(s, 0, AT_TAIL);
        if (p->pos - p->seen_tail > N_SLOTS)
            violation(s, "a producer takes the ring for damaged");
        return go_to(p, p->pos - p->seen_tail < N_SLOTS ? P_WRITE_A : SLEEP_FLAG);
    case P_WRITE_A:
        p->a = (uint8_t)(s->n_published + 1);
        if (lacks("order"))
            publish(s);
        store(s, 0, AT_A + slot, p->a);
        return go_to(p, P_WRITE_B);
    case P_WRITE_B:
        store(s, 0, AT_B + slot, p->a);
        return go_to(p, P_PUBLISH);
    case P_PUBLISH:
        if (!lacks("order"))
            publish(s);
        p->pos++;
        if (batches && s->n_published < N_SENDS && p->pos - p->seen_tail < N_SLOTS)
            return go_to(p, P_WRITE_A);
        return go_to(p, P_STORE_HEAD);
    case P_STORE_HEAD:
        store(s, 0, AT_HEAD, p->pos);
        return go_to(p, LOOK);
    default:
        step_common(s, 0);
    }
}

static void step_consumer(struct state *s)
{
    struct peer *p = &s->peers[1];
    unsigned int slot = p->pos % N_SLOTS;

    switch (p->pc) {
    case C_START:
        p->pos = load(s, 1, AT_TAIL);
        return go_to(p, C_LOAD_WORD);
    case C_LOAD_WORD:
        if (!is_full_word(load(s, 1, AT_WORD + slot), p->pos))
            return go_to(p, SLEEP_FLAG);
        if (lacks("copy"))
            store(s, 1, AT_TAIL, p->pos + 1);
        return go_to(p, C_READ_A);
    case C_READ_A:
        p->a = (uint8_t)load(s, 1, AT_A + slot);
        return go_to(p, C_READ_B);
    case C_READ_B:
        p->b = (uint8_t)load(s, 1, AT_B + slot);
        copied(s);
        return go_to(p, batches && p->n_batch < N_SLOTS && !lacks("copy") ? C_MORE : C_STORE_TAIL);
    case C_MORE:
        return go_to(p, is_full_word(load(s, 1, AT_WORD + slot), p->pos) ? C_READ_A : C_STORE_TAIL);
    case C_STORE_TAIL:
        s->n_taken = (uint8_t)(s->n_taken + p->n_batch);
        p->n_batch = 0;
        if (!lacks("copy"))
            store(s, 1, AT_TAIL, p->pos);
        return go_to(p, LOOK);
    default:
        step_common(s, 1);
    }
}

static void add_death(const struct state *s, unsigned int who)
{
    struct state next = *s;

    next.n_deaths++;
    drain(&next, who);
    memset(&next.peers[who], 0, sizeof(next.peers[who]));
    go_to(&next.peers[who], who == 0 ? P_START : C_START);
    visited_add(visited, &next);
}

static void check_rest(const struct state *s)
{
    bool any_awake = false;

    for (unsigned int who = 0; who < 2; who++) {
        struct state next = *s;

        if (s->peers[who].pc != ASLEEP || !is_ready(s, who))
            continue;
        if (s->n_deaths == 0)
            violation(s, "a wake-up was lost");
        any_awake = true;
        go_to(&next.peers[who], who == 0 ? P_SPACE : C_LOAD_WORD);
        visited_add(visited, &next);
    }
    if (!any_awake && (s->n_published != N_SENDS || s->n_taken != N_SENDS))
        violation(s, "somebody waits for ever");
}

static void explore_from(uint64_t first_pos)
{
    struct state s;

    memset(&s, 0, sizeof(s));
    s.words[AT_HEAD] = s.words[AT_TAIL] = first_pos;
    for (uint64_t pos = first_pos; pos != first_pos + N_SLOTS; pos++)
        s.words[AT_WORD + pos % N_SLOTS] = ipcring_word(ipcring_lap(pos, ORDER) - 1, IPCRING_SKIP,
                                                        0);
    go_to(&s.peers[0], P_START);
    go_to(&s.peers[1], C_START);
    visited_add(visited, &s);
    while (visited_next(visited, &s)) {
        bool moved = false;

        for (unsigned int who = 0; who < 2; who++) {
            struct state next = s;

            if (s.peers[who].n_stores > 0) {
                drain_one(&next, who);
                visited_add(visited, &next);
                moved = true;
            }
            if (s.peers[who].pc == ASLEEP || s.peers[who].pc == DONE)
                continue;
            moved = true;
            next = s;
            if (who == 0)
                step_producer(&next);
            else
                step_consumer(&next);
            visited_add(visited, &next);
            if (s.n_deaths < N_DEATHS)
                add_death(&s, who);
        }
        if (!moved)
            check_rest(&s);
    }
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "without") == 0)
        without = argv[2];
    for (unsigned int i = 0; i < 2 * N_FIRST_POS; i++) {
        uint64_t first_pos = first_pos_near_wrap(i / 2, ORDER);

        batches = i % 2;
        visited = visited_new(sizeof(struct state));
        explore_from(first_pos);
        printf("from %016lx%s: %zu states\n", (unsigned long)first_pos, batches ? ", batches" : "",
               visited_count(visited));
        visited_free(visited);
    }
    return 0;
}
