/* What the files of libipcring share: the handle, the slots, and what the hot path needs inline.
 *
 * The protocol, its orderings and their letters are in ring_abi.h; each letter stands where its half of the
 * pair is. The files, each of which uses only those below it:
 *
 *   ipcring_open.c      open, close, statistics
 *   ipcring_produce.c   claim, fill and publish    ipcring_consume.c   take, peek and release
 *   ipcring_each.c      consume where each sees everything
 *   ipcring_wait.c      spin, sleep and wake
 *   ipcring_peers.c     roles, and what dead peers leave behind
 *   ring_os.c           system calls
 *
 * A handle belongs to one thread at a time; there is no lock. Only what ring->head and its like point to is
 * shared, and never trusted: peers may die between any two lines and write anything anywhere. So every loop
 * that goes on only because a shared word changed is bounded (RETRIES), every position is masked before it
 * becomes an address, every length is checked, and the checked copy is the one that is used.
 *
 * Functions that cross files are named ipcring_*, so that the static library takes no name from its users;
 * only those in ipcring.map are exported.
 *
 * Context: the thread that has the handle; nothing sleeps where it does not say so. */
#ifndef IPCFS_CORE_LIB_IPCRING_INTERNAL_H
#define IPCFS_CORE_LIB_IPCRING_INTERNAL_H

#include "ipcring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "ring_os.h"

/* Of those who race for one slot somebody gets on each time; so many failures in a row mean that
 * someone plays with the words. Skipped slots, at most all of them, don't count. */
#define RETRIES 65536

/* A brief handle (ipcring_be_brief) skips so many slots at a time. */
#define RETRIES_BRIEF 8192

/* A load waits for an earlier store whose address has the same low twelve bits. A handle's members must not
 * look like the shared words, which are at the beginning of a page. */
#define HANDLE_ALIGN 4096
#define HANDLE_AWAY 1024

/* Positions of one lap that need no further check, up to an end. At the end: look closer. Whoever sets
 * next_head or next_tail sets the run's end too: any other position is taken to lie before it. */
struct run {
    uint64_t end;
    uint64_t word; /* FULL in their lap, of no length */
};

struct ipcring {
    char away[HANDLE_AWAY];

    /* What the common case needs. */
    uint64_t next_head; /* one producer: the true head; the shared one follows it */
    struct run put;     /* one producer: free, from next_head */
    uint64_t
        next_tail;  /* one consumer: the true tail, and the shared one; each: this one's position */
    struct run get; /* one consumer: to be looked at, from next_tail */
    char *slots;
    uint64_t mask; /* n_slots - 1 */
    size_t slot_bytes;
    size_t message_bytes;

    /* The shared words. */
    _Atomic uint64_t *head;
    _Atomic uint64_t *tail;
    _Atomic uint32_t *wait_data;
    _Atomic uint32_t *wait_space;
    _Atomic uint32_t *producer;
    _Atomic uint32_t *consumer;
    _Atomic uint32_t *owner;

    uint64_t n_slots;
    unsigned int order; /* n_slots is 2^order */
    uint64_t n_ahead;   /* the slots of a run; see SLIP_BYTES of ipcring_wait.c */
    bool slips;         /* waits for so many while messages flow */
    bool one_producer;
    bool one_consumer;
    bool each;        /* each consumer sees everything: one_consumer is false */
    bool no_fence;    /* H: this process is registered with membarrier */
    bool is_producer; /* holds the role of the one producer */
    bool is_consumer; /* of the one consumer */
    bool is_reserved; /* a place */
    bool is_shown;    /* the next message */
    bool can_judge;   /* other claimers of this pid namespace */
    bool is_brief;    /* gives up early, to come again */

    /* As producer. */
    uint64_t seen_tail; /* tail, some time ago */
    uint64_t reserved_pos;
    uint64_t
        claimed_word; /* many producers: what is in reserved_pos's slot until it is published */

    /* As consumer. */
    uint64_t blocked_word; /* a claim that is in the way */
    uint64_t blocked_pos;
    uint64_t judge_at_ns;
    uint64_t slipped_at; /* where tail was when that was last tried */
    uint64_t slip_flow;  /* after so many messages it is tried again */
    uint64_t n_missed;   /* each: because it was overtaken */

    uint64_t spin_ns;
    void *mapped; /* to be unmapped; NULL: the caller's */
    size_t mapped_bytes;
    struct ipcring_stat stat;
    uint32_t id; /* what this process writes into claims */
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static inline uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static inline _Atomic uint64_t *slot_word(const struct ipcring *ring, uint64_t pos)
{
    return (_Atomic uint64_t *)(void *)(ring->slots + (pos & ring->mask) * ring->slot_bytes);
}

static inline char *slot_payload(const struct ipcring *ring, uint64_t pos)
{
    return (char *)slot_word(ring, pos) + IPCRING_WORD_BYTES;
}

static inline bool is_closed(const struct ipcring *ring)
{
    /* Relaxed: whoever comes between is told the next time. */
    return atomic_load_explicit(ring->wait_data, memory_order_relaxed) & IPCRING_CLOSED;
}

/* --- Waiting: ipcring_wait.c --- */

/* Sets how @ring, just attached, spins and slips. */
void ipcring_wait_init(struct ipcring *ring);

/* Wakes all who sleep on @word, after a change that they wait for. Context: never blocks. */
void ipcring_wake_all(struct ipcring *ring, _Atomic uint32_t *word);

/* The same, as a caller's last call. Return: @r. */
int ipcring_wake_after(struct ipcring *ring, _Atomic uint32_t *waiters, int r);

/* Waits until another try is worth it, after @n_tries. Return: 0; -ETIMEDOUT; -EINTR; -EIDRM. Context: sleeps. */
int ipcring_wait_for(struct ipcring *ring, unsigned int event, uint64_t deadline_ns,
                     unsigned int n_tries);

/* Return: when @timeout_ns from now will be, on the clock of now_ns. */
uint64_t ipcring_deadline_of(int64_t timeout_ns);

/* Lets the producer get a run of messages ahead of this consumer; see SLIP_BYTES there. Context: spins for some
 * 20 microseconds at most. */
void ipcring_slip(struct ipcring *ring);

/* Tries @expression until it is not -EAGAIN any more, or the time is up. */
#define TRY_UNTIL(ring, event, timeout_ns, expression)                                             \
    ({                                                                                             \
        int r_ = (expression);                                                                     \
        if (__builtin_expect(r_ == -EAGAIN && (timeout_ns) != 0, 0)) {                             \
            uint64_t deadline_ns_ = ipcring_deadline_of(timeout_ns);                               \
            unsigned int i_ = 0;                                                                   \
            do {                                                                                   \
                int w_ = ipcring_wait_for((ring), (event), deadline_ns_, ++i_);                    \
                r_ = w_ < 0 ? w_ : (expression);                                                   \
            } while (r_ == -EAGAIN);                                                               \
        }                                                                                          \
        r_;                                                                                        \
    })

/* Changes @word to @value, with release order, and wakes who sleeps on @waiters: by plain stores and
 * loads, for the only one who changes @word. */
static inline void store_and_wake(struct ipcring *ring, _Atomic uint64_t *word, uint64_t value,
                                  _Atomic uint32_t *waiters)
{
    if (ring->no_fence) {
        atomic_store_explicit(word, value, memory_order_release); /* A, C */
        atomic_signal_fence(memory_order_seq_cst);                /* H, the compiler's half */
    } else {
        atomic_exchange(word, value); /* A, C and H's fence */
    }
    if (__builtin_expect(atomic_load(waiters) & IPCRING_SLEEPERS, 0)) /* H */
        ipcring_wake_all(ring, waiters);
}

/* --- Where each sees everything: ipcring_each.c --- */

/* Return: whether the payload that was copied of @slot, whose word was @word, is whole. */
static inline bool is_whole(_Atomic uint64_t *slot, uint64_t word)
{
    atomic_thread_fence(memory_order_acquire); /* P */
    /* Relaxed: the fence orders it. */
    return atomic_load_explicit(slot, memory_order_relaxed) == word;
}

/* Return: as ipcring_consume. Context: waits as @timeout_ns says. */
int ipcring_each_consume(struct ipcring *ring, void *data, size_t max_bytes, int64_t timeout_ns);

/* Return: as ipcring_consume_batch. Context: waits as @timeout_ns says. */
int ipcring_each_consume_batch(struct ipcring *ring, struct ipcring_msg *msgs, unsigned int n,
                               int64_t timeout_ns);

/* --- Peers: ipcring_peers.c --- */

/* Takes the role of the one producer or consumer, from a dead holder too.
 * Return: 0; -EBUSY: a living process has it. Context: may wait for /proc. */
int ipcring_take_role(struct ipcring *ring, _Atomic uint32_t *role);

/* Tail stands before the claim @word at @pos. Skips it if its claimer is dead, but looks into that
 * only now and then: most claims are published in no time.
 * Return: whether it is out of the way. Context: may wait for /proc. */
bool ipcring_unblock(struct ipcring *ring, uint64_t pos, uint64_t word);

static inline void advance_head(struct ipcring *ring, uint64_t pos)
{
    atomic_compare_exchange_strong_explicit(ring->head, &pos, pos + 1, memory_order_release,
                                            memory_order_relaxed); /* L */
}

/* Return: how often to try where @n_skipped slots may have to be passed. */
static inline uint64_t n_tries(const struct ipcring *ring, uint64_t n_skipped)
{
    return ring->is_brief ? RETRIES_BRIEF : RETRIES + n_skipped;
}

/* --- Runs --- */

/* Return: up to @n_max positions from @pos. What H does without a fence is for those whom G's
 * membarrier reaches: others get none. */
static inline struct run run_from(const struct ipcring *ring, uint64_t pos, uint64_t n_max)
{
    uint64_t n = ring->n_slots - (pos & ring->mask);

    if (n > n_max)
        n = n_max;
    return (struct run){
        .end = ring->no_fence ? pos + n : pos,
        .word = ipcring_word(ipcring_lap(pos, ring->order), IPCRING_FULL, 0),
    };
}

static inline void stop_put(struct ipcring *ring)
{
    ring->put.end = ring->next_head;
}

static inline void stop_get(struct ipcring *ring)
{
    ring->get.end = ring->next_tail;
}

/* --- Looking at slots --- */

enum look {
    LOOK_EMPTY,
    LOOK_FULL,
    LOOK_SKIPPED,
    LOOK_CLAIMED,
    LOOK_ODD, /* others have consumed it meanwhile, or each: it was overtaken; or it is damaged */
};

static inline enum look look(const struct ipcring *ring, uint64_t pos, uint64_t *ret_word)
{
    uint64_t word = atomic_load_explicit(slot_word(ring, pos), memory_order_acquire); /* B */
    uint32_t ahead = (ipcring_word_lap(word) - ipcring_lap(pos, ring->order)) & IPCRING_LAP_MASK;

    *ret_word = word;
    if (ahead == IPCRING_LAP_MASK)
        return LOOK_EMPTY;
    if (ahead != 0)
        return LOOK_ODD;
    switch (ipcring_word_state(word)) {
    case IPCRING_FULL:
        return LOOK_FULL;
    case IPCRING_SKIP:
        return LOOK_SKIPPED;
    case IPCRING_CLAIMED:
        if (!ring->one_producer)
            return LOOK_CLAIMED;
        /* Each: whoever has its role fills it, or its successor does. */
        return ring->each ? LOOK_EMPTY : LOOK_ODD;
    default:
        return LOOK_ODD;
    }
}

static inline uint64_t load_tail(const struct ipcring *ring)
{
    return ring->each || (ring->one_consumer && ring->is_consumer)
               ? ring->next_tail
               : atomic_load_explicit(ring->tail, memory_order_acquire); /* N */
}

/* Moves tail from @from to @to, if no other of many consumers has. Return: whether it did. */
static inline bool move_shared_tail(struct ipcring *ring, uint64_t from, uint64_t to)
{
    if (!atomic_compare_exchange_strong(ring->tail, &from, to)) /* C, H */
        return false;
    if (__builtin_expect(atomic_load(ring->wait_space) & IPCRING_SLEEPERS, 0)) /* H */
        ipcring_wake_all(ring, ring->wait_space);
    return true;
}

#endif
