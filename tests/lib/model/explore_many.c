/* explore_many [all|without WHAT]: every interleaving of two producers and two consumers in a ring of two
 * slots, with a death at any step.
 *
 * It restates the protocol of ring_abi.h as a machine whose steps each touch one shared word; the
 * words, laps and positions are those of the header, and positions start just below the wrap of 64 bits,
 * which is one of laps too; with "all", below each wrap in turn. So it covers the logic of claims, helping, skipping, taking, sleeping and waking, as sequentially
 * consistent; what weaker memory does is explore_one's (store buffers) and ThreadSanitizer's. Each
 * producer sends N_SENDS messages, so that every slot is used again.
 *
 * It checks: each message is taken once, whole, in its producer's order; every one that was published is
 * taken; what was not is never seen; no word is taken for damage; when nobody can move all is done.
 * Where nobody has died, a sleeper that could go on is a lost wake-up; after a death its alarm
 * (IPCRING_SLEEP_NS) wakes it.
 *
 * It does not look for those who run in circles for ever.
 *
 * "without" leaves a step out, to see that the machine tells: skip, recheck, swap (tail is stored and not
 * swapped), wake, space (no look at tail). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/fixture.h"
#include "visited.h"

#define ORDER 1U
#define N_SLOTS 2U
#define N_SENDS 2U
#define N_DEATHS 1U
#define N_PEERS 4U /* two producers, then two consumers */

enum pc {
    P_LOAD_HEAD,
    P_LOAD_WORD,
    P_HELP,
    P_LOAD_TAIL,
    P_ODD_HEAD,
    P_ODD_WORD,
    P_CLAIM,
    P_CONFIRM,
    P_WRITE_A,
    P_WRITE_B,
    P_PUBLISH,
    P_PASS_TAIL, /* what the dead left in a full ring */
    P_PASS_WORD,
    P_PASS_SKIP,
    P_PASS_HEAD,
    P_PASS_TAKE,
    P_PASS_LOOK,
    P_PASS_SWAP_WAIT,
    P_PASS_WAKE,
    P_LOOK,
    P_SWAP_WAIT,
    P_WAKE,
    P_SLEEP_FLAG,
    P_SLEEP_HEAD,
    P_SLEEP_TAIL,
    C_LOAD_TAIL,
    C_LOAD_WORD,
    C_ODD,
    C_READ_A,
    C_READ_B,
    C_TAKE,
    C_LOOK,
    C_SWAP_WAIT,
    C_WAKE,
    C_SKIP,
    C_SKIP_HEAD,
    C_SLEEP_FLAG,
    C_SLEEP_TAIL,
    C_SLEEP_WORD,
    FUTEX_CALL,
    ASLEEP,
    DONE,
    DEAD,
};

struct peer {
    uint64_t pos;
    uint64_t word;
    uint64_t seen_tail;
    uint32_t wait; /* the value it sleeps on, or swaps */
    uint8_t pc;
    uint8_t n_sent;
    uint8_t a;
    uint8_t b;
};

struct state {
    uint64_t head;
    uint64_t tail;
    uint64_t words[N_SLOTS];
    uint32_t wait_data;
    uint32_t wait_space;
    struct peer peers[N_PEERS];
    uint8_t a[N_SLOTS]; /* a payload is two cells, so that it can be torn */
    uint8_t b[N_SLOTS];
    uint8_t published; /* by message */
    uint8_t taken;
    uint8_t n_deaths;
    uint8_t padding;
};

static struct visited *visited;
static const char *without = "";

static bool lacks(const char *what)
{
    return strcmp(without, what) == 0;
}

static _Noreturn void violation(const struct state *s, const char *what)
{
    printf("found: %s\nhead %lx tail %lx words %016lx %016lx wait %x %x published %x taken %x\n",
           what, (unsigned long)s->head, (unsigned long)s->tail, (unsigned long)s->words[0],
           (unsigned long)s->words[1], s->wait_data, s->wait_space, s->published, s->taken);
    for (unsigned int i = 0; i < N_PEERS; i++)
        printf("peer %u: at %u pos %lx word %016lx\n", i, s->peers[i].pc,
               (unsigned long)s->peers[i].pos, (unsigned long)s->peers[i].word);
    exit(1);
}

static bool swap64(uint64_t *word, uint64_t from, uint64_t to)
{
    if (*word != from)
        return false;
    *word = to;
    return true;
}

static uint32_t lap_of(uint64_t pos)
{
    return ipcring_lap(pos, ORDER);
}

static uint32_t ahead_of(uint64_t word, uint64_t pos)
{
    return (ipcring_word_lap(word) - lap_of(pos)) & IPCRING_LAP_MASK;
}

/* Messages are 1 to 4: bit and number. */
static uint8_t message_of(unsigned int producer, unsigned int number)
{
    return (uint8_t)(1 + producer * N_SENDS + number);
}

static uint64_t claim_of(unsigned int who, uint64_t pos)
{
    return ipcring_word(lap_of(pos), IPCRING_CLAIMED, who + 1);
}

static bool claimer_is_dead(const struct state *s, uint64_t word)
{
    return s->peers[ipcring_word_low(word) - 1].pc == DEAD;
}

static void skip(struct state *s, const struct peer *p)
{
    swap64(&s->words[p->pos % N_SLOTS], p->word,
           ipcring_word(ipcring_word_lap(p->word), IPCRING_SKIP, 0));
}

static void wake_all(struct state *s, bool producers)
{
    for (unsigned int i = producers ? 0 : 2; i < (producers ? 2U : 4U); i++)
        if (s->peers[i].pc == ASLEEP)
            s->peers[i].pc = producers ? P_LOAD_HEAD : C_LOAD_TAIL;
}

static void go_to(struct peer *p, enum pc pc)
{
    p->pc = (uint8_t)pc;
}

static void sent(struct peer *p)
{
    p->n_sent++;
    go_to(p, p->n_sent == N_SENDS ? DONE : P_LOAD_HEAD);
}

static void check_taken(struct state *s, const struct peer *p)
{
    uint8_t bit = (uint8_t)(1U << p->a);
    unsigned int number = (p->a - 1U) % N_SENDS;

    if (p->a == 0 || p->a != p->b)
        violation(s, "a torn message");
    if (!(s->published & bit))
        violation(s, "a message that was not published");
    if (s->taken & bit)
        violation(s, "a message taken twice");
    if (number > 0 && !(s->taken & bit >> 1))
        violation(s, "messages out of order");
    s->taken |= bit;
}

/* Peer @who, a producer that found the ring full, goes past what the dead have left at its tail, or sleeps. */
static void step_of_full(struct state *s, unsigned int who)
{
    struct peer *p = &s->peers[who];

    switch (p->pc) {
    case P_PASS_TAIL:
        p->pos = s->tail;
        return go_to(p, P_PASS_WORD);
    case P_PASS_WORD:
        p->word = s->words[p->pos % N_SLOTS];
        if (ahead_of(p->word, p->pos) != 0)
            return go_to(p, P_SLEEP_FLAG);
        if (ipcring_word_state(p->word) == IPCRING_SKIP)
            return go_to(p, P_PASS_TAKE);
        if (ipcring_word_state(p->word) == IPCRING_CLAIMED && claimer_is_dead(s, p->word))
            return go_to(p, P_PASS_SKIP);
        return go_to(p, P_SLEEP_FLAG);
    case P_PASS_SKIP:
        skip(s, p);
        return go_to(p, P_PASS_HEAD);
    case P_PASS_HEAD:
        swap64(&s->head, p->pos, p->pos + 1);
        return go_to(p, P_PASS_TAKE);
    case P_PASS_TAKE:
        if (lacks("swap"))
            s->tail = p->pos + 1;
        else if (!swap64(&s->tail, p->pos, p->pos + 1))
            return go_to(p, P_SLEEP_FLAG);
        return go_to(p, P_PASS_LOOK);
    case P_PASS_LOOK:
        p->wait = s->wait_space;
        return go_to(p, p->wait & IPCRING_SLEEPERS ? P_PASS_SWAP_WAIT : P_LOAD_HEAD);
    case P_PASS_SWAP_WAIT:
        if (s->wait_space != p->wait)
            return go_to(p, P_LOAD_HEAD);
        s->wait_space++;
        return go_to(p, P_PASS_WAKE);
    case P_PASS_WAKE:
        wake_all(s, true);
        return go_to(p, P_LOAD_HEAD);
    case P_SLEEP_FLAG:
        s->wait_space |= IPCRING_SLEEPERS;
        p->wait = s->wait_space;
        return go_to(p, lacks("recheck") ? FUTEX_CALL : P_SLEEP_HEAD);
    case P_SLEEP_HEAD:
        p->pos = s->head;
        return go_to(p, P_SLEEP_TAIL);
    case P_SLEEP_TAIL:
        return go_to(p, p->pos - s->tail == N_SLOTS ? FUTEX_CALL : P_LOAD_HEAD);
    default:
        return;
    }
}

/* Peer @who, a producer, takes one step. */
static void step_producer(struct state *s, unsigned int who)
{
    struct peer *p = &s->peers[who];
    unsigned int slot = p->pos % N_SLOTS;
    uint8_t message = message_of(who, p->n_sent);

    switch (p->pc) {
    case P_LOAD_HEAD:
        p->pos = s->head;
        return go_to(p, P_LOAD_WORD);
    case P_LOAD_WORD:
        p->word = s->words[slot];
        if (ahead_of(p->word, p->pos) == 0)
            return go_to(p, P_HELP);
        if (ahead_of(p->word, p->pos) != IPCRING_LAP_MASK)
            return go_to(p, P_ODD_HEAD);
        if (!lacks("space") && p->pos - p->seen_tail >= N_SLOTS)
            return go_to(p, P_LOAD_TAIL);
        return go_to(p, P_CLAIM);
    case P_HELP:
        swap64(&s->head, p->pos, p->pos + 1);
        return go_to(p, P_LOAD_HEAD);
    case P_LOAD_TAIL:
        p->seen_tail = s->tail;
        if (p->pos - s->tail > N_SLOTS)
            return go_to(p, P_ODD_HEAD);
        if (p->pos - s->tail == N_SLOTS)
            return go_to(p, P_PASS_TAIL);
        return go_to(p, P_CLAIM);
    case P_ODD_HEAD:
        return go_to(p, s->head == p->pos ? P_ODD_WORD : P_LOAD_HEAD);
    case P_ODD_WORD:
        if (s->words[slot] == p->word)
            violation(s, "a producer takes the ring for damaged");
        return go_to(p, P_LOAD_HEAD);
    case P_CLAIM:
        if (ipcring_word_state(p->word) == IPCRING_CLAIMED ||
            !swap64(&s->words[slot], p->word, claim_of(who, p->pos)))
            return go_to(p, P_LOAD_HEAD);
        return go_to(p, P_CONFIRM);
    case P_CONFIRM:
        if (!swap64(&s->head, p->pos, p->pos + 1) && s->head - p->pos - 1 >= N_SLOTS)
            violation(s, "a claim of a position that is past");
        return go_to(p, P_WRITE_A);
    case P_WRITE_A:
        s->a[slot] = message;
        return go_to(p, P_WRITE_B);
    case P_WRITE_B:
        s->b[slot] = message;
        return go_to(p, P_PUBLISH);
    case P_PUBLISH:
        if (!swap64(&s->words[slot], claim_of(who, p->pos),
                    ipcring_word(lap_of(p->pos), IPCRING_FULL, 8)))
            violation(s, "a living claimer was skipped");
        s->published |= (uint8_t)(1U << message);
        return go_to(p, P_LOOK);
    case P_LOOK:
        p->wait = s->wait_data;
        if (lacks("wake") || !(p->wait & IPCRING_SLEEPERS))
            return sent(p);
        return go_to(p, P_SWAP_WAIT);
    case P_SWAP_WAIT:
        if (s->wait_data != p->wait)
            return sent(p);
        s->wait_data++;
        return go_to(p, P_WAKE);
    case P_WAKE:
        wake_all(s, false);
        return sent(p);
    case FUTEX_CALL:
        return go_to(p, s->wait_space == p->wait ? ASLEEP : P_LOAD_HEAD);
    default:
        return step_of_full(s, who);
    }
}

static void step_consumer(struct state *s, unsigned int who)
{
    struct peer *p = &s->peers[who];
    unsigned int slot = p->pos % N_SLOTS;
    uint32_t ahead;

    switch (p->pc) {
    case C_LOAD_TAIL:
        p->pos = s->tail;
        return go_to(p, C_LOAD_WORD);
    case C_LOAD_WORD:
        p->word = s->words[slot];
        ahead = ahead_of(p->word, p->pos);
        if (ahead == IPCRING_LAP_MASK)
            return go_to(p, C_SLEEP_FLAG);
        if (ahead != 0)
            return go_to(p, C_ODD);
        p->a = p->b = 0;
        if (ipcring_word_state(p->word) == IPCRING_FULL)
            return go_to(p, C_READ_A);
        if (ipcring_word_state(p->word) == IPCRING_SKIP)
            return go_to(p, C_TAKE);
        return go_to(p, claimer_is_dead(s, p->word) && !lacks("skip") ? C_SKIP : C_SLEEP_FLAG);
    case C_ODD:
        if (s->tail == p->pos)
            violation(s, "a consumer takes the ring for damaged");
        return go_to(p, C_LOAD_TAIL);
    case C_READ_A:
        p->a = s->a[slot];
        return go_to(p, C_READ_B);
    case C_READ_B:
        p->b = s->b[slot];
        return go_to(p, C_TAKE);
    case C_TAKE:
        if (lacks("swap"))
            s->tail = p->pos + 1;
        else if (!swap64(&s->tail, p->pos, p->pos + 1))
            return go_to(p, C_LOAD_TAIL);
        if (ipcring_word_state(p->word) == IPCRING_FULL)
            check_taken(s, p);
        return go_to(p, C_LOOK);
    case C_LOOK:
        p->wait = s->wait_space;
        return go_to(p, p->wait & IPCRING_SLEEPERS ? C_SWAP_WAIT : C_LOAD_TAIL);
    case C_SWAP_WAIT:
        if (s->wait_space != p->wait)
            return go_to(p, C_LOAD_TAIL);
        s->wait_space++;
        return go_to(p, C_WAKE);
    case C_WAKE:
        wake_all(s, true);
        return go_to(p, C_LOAD_TAIL);
    case C_SKIP:
        skip(s, p);
        return go_to(p, C_SKIP_HEAD);
    case C_SKIP_HEAD:
        swap64(&s->head, p->pos, p->pos + 1);
        return go_to(p, C_LOAD_TAIL);
    case C_SLEEP_FLAG:
        s->wait_data |= IPCRING_SLEEPERS;
        p->wait = s->wait_data;
        return go_to(p, lacks("recheck") ? FUTEX_CALL : C_SLEEP_TAIL);
    case C_SLEEP_TAIL:
        p->pos = s->tail;
        return go_to(p, C_SLEEP_WORD);
    case C_SLEEP_WORD:
        p->word = s->words[slot];
        ahead = ahead_of(p->word, p->pos);
        if (ahead == IPCRING_LAP_MASK ||
            (ahead == 0 && ipcring_word_state(p->word) == IPCRING_CLAIMED &&
             !claimer_is_dead(s, p->word)))
            return go_to(p, FUTEX_CALL);
        return go_to(p, C_LOAD_TAIL);
    case FUTEX_CALL:
        return go_to(p, s->wait_data == p->wait ? ASLEEP : C_LOAD_TAIL);
    default:
        return;
    }
}

/* Whether one who looks now could go on. */
static bool could_go_on(const struct state *s, bool producer)
{
    uint64_t word = s->words[s->tail % N_SLOTS];

    if (producer)
        return s->head - s->tail < N_SLOTS;
    if (ahead_of(word, s->tail) != 0)
        return false;
    return ipcring_word_state(word) != IPCRING_CLAIMED ||
           (!lacks("skip") && claimer_is_dead(s, word));
}

static void add(struct state *s);

/* Nobody can move. */
static void check_rest(const struct state *s)
{
    bool any_awake = false;
    bool consumer_lives = s->peers[2].pc != DEAD || s->peers[3].pc != DEAD;

    for (unsigned int i = 0; i < N_PEERS; i++) {
        struct state next = *s;

        if (s->peers[i].pc != ASLEEP || !could_go_on(s, i < 2))
            continue;
        if (s->n_deaths == 0)
            violation(s, "a wake-up was lost");
        any_awake = true;
        go_to(&next.peers[i], i < 2 ? P_LOAD_HEAD : C_LOAD_TAIL);
        add(&next);
    }
    if (any_awake || !consumer_lives)
        return;
    if (s->published != s->taken)
        violation(s, "a published message never arrives");
    for (unsigned int i = 0; i < 2; i++)
        if (s->peers[i].pc != DONE && s->peers[i].pc != DEAD)
            violation(s, "a producer waits for ever");
}

/* Adds what is the same for all that is to come as one state: what a peer remembers and will not use,
 * wait words' counts that nobody compares with, payloads that were taken, which consumer is which. */
static void add(struct state *s)
{
    bool held[2] = { false, false };

    for (unsigned int i = 0; i < N_PEERS; i++) {
        struct peer *p = &s->peers[i];

        if (p->pc == DEAD || p->pc == DONE)
            *p = (struct peer){ .pc = p->pc, .n_sent = p->n_sent };
        if (p->pc == P_LOAD_HEAD || p->pc == C_LOAD_TAIL || p->pc == P_SLEEP_FLAG ||
            p->pc == C_SLEEP_FLAG || p->pc == P_WAKE || p->pc == C_WAKE || p->pc == P_PASS_WAKE)
            p->pos = p->word = p->wait = p->a = p->b = 0;
        if (p->pc == P_LOOK || p->pc == C_LOOK || p->pc == ASLEEP || p->pc == FUTEX_CALL)
            p->pos = p->word = p->a = p->b = 0;
        if (p->pc == P_SWAP_WAIT || p->pc == C_SWAP_WAIT || p->pc == P_PASS_LOOK ||
            p->pc == P_PASS_SWAP_WAIT)
            p->pos = p->word = p->a = p->b = 0;
        if (p->pc == ASLEEP)
            p->wait = 0;
        /* Producers swap wait_data, and sleep on the other, save where they do what consumers would. */
        if (p->wait != 0)
            held[(i < 2) != (p->pc == P_SWAP_WAIT || p->pc == C_SWAP_WAIT)] = true;
    }
    if (!held[0])
        s->wait_data &= IPCRING_SLEEPERS;
    if (!held[1])
        s->wait_space &= IPCRING_SLEEPERS;
    for (unsigned int i = 0; i < N_SLOTS; i++)
        if (s->taken >> s->a[i] & 1 && s->a[i] == s->b[i])
            s->a[i] = s->b[i] = 0;
    if (memcmp(&s->peers[2], &s->peers[3], sizeof(s->peers[2])) > 0) {
        struct peer p = s->peers[2];

        s->peers[2] = s->peers[3];
        s->peers[3] = p;
    }
    visited_add(visited, s);
}

static void explore_from(uint64_t first_pos)
{
    struct state s;

    memset(&s, 0, sizeof(s));
    s.head = s.tail = first_pos;
    for (unsigned int i = 0; i < N_SLOTS; i++)
        s.words[(first_pos + i) % N_SLOTS] = ipcring_word(lap_of(first_pos + i) - 1, IPCRING_SKIP,
                                                          0);
    for (unsigned int i = 0; i < N_PEERS; i++) {
        s.peers[i].seen_tail = first_pos;
        s.peers[i].pc = i < 2 ? P_LOAD_HEAD : C_LOAD_TAIL;
    }
    add(&s);
    while (visited_next(visited, &s)) {
        bool moved = false;

        for (unsigned int i = 0; i < N_PEERS; i++) {
            struct state next = s;

            if (s.peers[i].pc == ASLEEP || s.peers[i].pc == DONE || s.peers[i].pc == DEAD)
                continue;
            moved = true;
            if (i < 2)
                step_producer(&next, i);
            else
                step_consumer(&next, i);
            add(&next);
            if (s.n_deaths < N_DEATHS) {
                next = s;
                next.n_deaths++;
                go_to(&next.peers[i], DEAD);
                add(&next);
            }
        }
        if (!moved)
            check_rest(&s);
    }
}

int main(int argc, char **argv)
{
    unsigned int first = N_FIRST_POS - 1;

    if (argc > 2 && strcmp(argv[1], "without") == 0)
        without = argv[2];
    else if (argc > 1 && strcmp(argv[1], "all") == 0)
        first = 0;
    for (unsigned int i = first; i < N_FIRST_POS; i++) {
        visited = visited_new(sizeof(struct state));
        explore_from(first_pos_near_wrap(i, ORDER));
        printf("from %016lx: %zu states\n", (unsigned long)first_pos_near_wrap(i, ORDER),
               visited_count(visited));
        fflush(stdout);
        visited_free(visited);
    }
    return 0;
}
