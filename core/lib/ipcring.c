/* What producers and consumers do in a ring. The protocol, its orderings and their letters are in
 * ring_abi.h; each letter stands where its half of the pair is.
 *
 * Peers may die between any two lines and write anything anywhere. So every loop that only goes on
 * because a shared word changed is bounded (RETRIES), every position is masked before it becomes an
 * address, every length is checked, and what was checked is the copy that is used. */
#include "ipcring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ring_os.h"

/* Of those who race for one slot somebody gets on each time; so many failures in a row mean that
 * someone plays with the words. What is skipped, at most all slots, is none. */
#define RETRIES 65536

/* Who is brief skips so many at a time. */
#define RETRIES_BRIEF 8192

/* Messages that a batch takes with one store of tail. */
#define BATCH_MAX 64

/* Messages that a batch publishes between two looks for sleepers. */
#define TELL_EVERY 32

/* So far ahead of where it writes a producer asks for slots, in bytes: a consumer has them. */
#define TAKE_AHEAD 512

/* A load waits for an earlier store whose address has the same low twelve bits. What lies in a handle must
 * not look like the shared words, which are at the beginning of a page. */
#define HANDLE_ALIGN 4096
#define HANDLE_AWAY 1024

/* Messages up to here are copied without a call. */
#define SMALL_BYTES 64

/* Messages from here on are copied to whole lines. A slot's payload begins 8 bytes after a line does, and
 * what memcpy does best with many bytes (rep movsb) takes twice as long then. */
#define LARGE_BYTES 4096
#define LINE_BYTES 64

#define SPIN_NS_DEFAULT 20000

/* Looks that a consumer takes at once, without a pause: the next message is often on its way. */
#define FIRST_SPINS 256

#define SPINS_PER_LOOK_AT_CLOCK 32
#define TRIES_PER_LOOK_AT_CLOCK 64

/* A claim is judged when it has been in the way for this long. */
#define JUDGE_FIRST_NS 1000000

/* A consumer on its producer's heels costs both a miss for each message. So after every SLIP_BYTES of
 * slots, and when it finds the ring empty, it looks whether the producer is so far ahead again, and else
 * waits for that ("temporal slipping": Giacomoni, Moseley, Vachharajani, FastForward, PPoPP 2008): up to
 * SLIP_SPINS, some 20 microseconds, and not on when head has not moved in SLIP_SPINS_PER_LOOK of them. Where
 * that was in vain it tries again only after SLIP_FLOW_MIN messages, then twice as many, up to SLIP_FLOW_MAX:
 * who gets single messages, or trips of them, hardly ever waits for more. Not where slots are so large that
 * misses cost nothing beside the copy. It is never more than a SLIP_SHARE of the ring; where that is less than
 * SLIP_BYTES_MIN it is not worth it. */
#define SLIP_BYTES 16384
#define SLIP_BYTES_MIN 4096
#define SLIP_SLOT_BYTES_MAX 2048
#define SLIP_SHARE 4
#define SLIP_FLOW_MIN 64
#define SLIP_FLOW_MAX 65536
#define SLIP_SPINS 1024
#define SLIP_SPINS_PER_LOOK 32

/* A producer that has found the ring full looks rarely, to leave tail to the consumer, and until an
 * eighth is free. */
#define FREE_SHARE 8
#define FREE_LOOKS 8
#define FREE_SPINS_PER_LOOK 16

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
    uint64_t next_tail; /* one consumer: the true tail, and the shared one */
    struct run get;     /* one consumer: to be looked at, from next_tail */
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
    uint64_t n_ahead;   /* the slots of a run; see SLIP_BYTES */
    bool slips;         /* waits for so many while messages flow */
    bool one_producer;
    bool one_consumer;
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

    uint64_t spin_ns;
    void *mapped; /* to be unmapped; NULL: the caller's */
    size_t mapped_bytes;
    struct ipcring_stat stat;
    uint32_t id; /* what this process writes into claims */
};

/* --- Small things --- */

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static uint64_t now_ns(void)
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

/* Asks for the line of @p for writing. It may lie anywhere. */
static inline void take_line(const char *p)
{
#ifdef __x86_64__
    /* Without effect where a processor has no such instruction. */
    __asm__ __volatile__("prefetchw %0" ::"m"(*p));
#else
    __builtin_prefetch(p, 1);
#endif
}

/* Many consumers may copy a payload that is being written again, and find out at C. That is a race
 * only in name; ThreadSanitizer is shown word-wise atomics. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
static void copy_in(char *to, const void *from, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = 0;

        memcpy(&word, (const char *)from + i, n - i < 8 ? n - i : 8);
        atomic_store_explicit(ring_u64(to, i), word, memory_order_relaxed);
    }
}

static void copy_out(void *to, char *from, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = atomic_load_explicit(ring_u64(from, i), memory_order_relaxed);

        memcpy((char *)to + i, &word, n - i < 8 ? n - i : 8);
    }
}
#else
static inline void copy_large(char *to, const char *from, size_t n)
{
    size_t to_line = -(uintptr_t)to & (LINE_BYTES - 1);

    memcpy(to, from, LINE_BYTES);
    memcpy(to + to_line, from + to_line, n - to_line);
}

/* Small ones without a call; the two halves may overlap. */
static inline void copy(char *to, const char *from, size_t n)
{
    if (n == 8) {
        memcpy(to, from, 8);
    } else if (n >= LARGE_BYTES) {
        copy_large(to, from, n);
    } else if (n > SMALL_BYTES) {
        memcpy(to, from, n);
    } else if (n >= 32) {
        memcpy(to, from, 32);
        memcpy(to + n - 32, from + n - 32, 32);
    } else if (n >= 16) {
        memcpy(to, from, 16);
        memcpy(to + n - 16, from + n - 16, 16);
    } else if (n > 8) {
        memcpy(to, from, 8);
        memcpy(to + n - 8, from + n - 8, 8);
    } else {
        for (size_t i = 0; i < n; i++)
            to[i] = from[i];
    }
}

static inline void copy_in(char *to, const void *from, size_t n)
{
    copy(to, from, n);
}

static inline void copy_out(void *to, char *from, size_t n)
{
    copy(to, from, n);
}
#endif

static inline bool is_closed(const struct ipcring *ring)
{
    /* Relaxed: whoever comes between is told the next time. */
    return atomic_load_explicit(ring->wait_data, memory_order_relaxed) & IPCRING_CLOSED;
}

static void wake(struct ipcring *ring, _Atomic uint32_t *word)
{
    if (ipcring_os_wake(word))
        ring->stat.n_wakes++;
}

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
        wake(ring, waiters);
}

/* --- Runs --- */

/* Return: up to @n_max positions from @pos. What H does without a fence is for those whom G's
 * membarrier reaches: others get none. */
static struct run run_from(const struct ipcring *ring, uint64_t pos, uint64_t n_max)
{
    uint64_t n = ring->n_slots - (pos & ring->mask);

    if (n > n_max)
        n = n_max;
    return (struct run){
        .end = ring->no_fence ? pos + n : pos,
        .word = ipcring_word(ipcring_lap(pos, ring->order), IPCRING_FULL, 0),
    };
}

/* After a change of next_head or seen_tail. */
static __attribute__((noinline)) void aim_put(struct ipcring *ring)
{
    ring->put = run_from(ring, ring->next_head,
                         ring->n_slots - (ring->next_head - ring->seen_tail));
}

static void stop_put(struct ipcring *ring)
{
    ring->put.end = ring->next_head;
}

/* After a change of next_tail. */
static __attribute__((noinline)) void aim_get(struct ipcring *ring)
{
    ring->get = run_from(ring, ring->next_tail, ring->n_ahead);
}

static void stop_get(struct ipcring *ring)
{
    ring->get.end = ring->next_tail;
}

/* --- Roles and dead peers --- */

/* Return: whether @id claimed something and is surely dead. */
static bool is_dead(const struct ipcring *ring, uint32_t id)
{
    return ring->can_judge && !(id & IPCRING_ID_FOREIGN) && id != ring->id &&
           ipcring_os_claimer_is_dead(id);
}

static int take_role(struct ipcring *ring, _Atomic uint32_t *role)
{
    uint32_t holder = atomic_load_explicit(role, memory_order_acquire); /* K */

    if (holder != 0 && !is_dead(ring, holder))
        return -EBUSY;
    if (!atomic_compare_exchange_strong_explicit(role, &holder, ring->id, memory_order_acq_rel,
                                                 memory_order_relaxed)) /* K */
        return -EBUSY;
    return 0;
}

static void give_role_back(struct ipcring *ring, _Atomic uint32_t *role)
{
    uint32_t holder = ring->id;

    atomic_compare_exchange_strong_explicit(role, &holder, 0, memory_order_acq_rel,
                                            memory_order_relaxed); /* K */
}

/* Whether the one producer, whose positions from head on are filled in order, has published @pos. */
static bool is_published(const struct ipcring *ring, uint64_t pos)
{
    uint64_t word = atomic_load_explicit(slot_word(ring, pos), memory_order_relaxed);

    return word >> 32 == ipcring_word(ipcring_lap(pos, ring->order), IPCRING_FULL, 0) >> 32;
}

/* The predecessor may have died between publishing and storing head. Halves what head can be each time:
 * whoever holds the ring up by what he writes into it gets few looks. */
static void find_head(struct ipcring *ring)
{
    uint64_t head = atomic_load_explicit(ring->head, memory_order_relaxed); /* K ordered it */
    uint64_t n = ring->n_slots;

    while (n > 0) {
        uint64_t half = n / 2;

        if (is_published(ring, head + half)) {
            head += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    ring->next_head = head;
    stop_put(ring);
    ring->seen_tail = atomic_load_explicit(ring->tail, memory_order_acquire); /* D */
}

static int become_producer(struct ipcring *ring)
{
    int r = take_role(ring, ring->producer);

    if (r < 0)
        return r;
    ring->is_producer = true;
    find_head(ring);
    return 0;
}

static int become_consumer(struct ipcring *ring)
{
    int r = take_role(ring, ring->consumer);

    if (r < 0)
        return r;
    ring->is_consumer = true;
    ring->next_tail = atomic_load_explicit(ring->tail, memory_order_relaxed); /* K ordered it */
    stop_get(ring);
    return 0;
}

/* --- Producing --- */

/* Return: 0: position @head has room; -EAGAIN: full; -EPROTO: tail can't be there. */
static inline int check_space(struct ipcring *ring, uint64_t head)
{
    uint64_t used;

    if (__builtin_expect(head - ring->seen_tail < ring->n_slots, 1))
        return 0;
    ring->seen_tail = atomic_load_explicit(ring->tail, memory_order_acquire); /* D */
    used = head - ring->seen_tail;
    if (used < ring->n_slots)
        return 0;
    return used == ring->n_slots ? -EAGAIN : -EPROTO;
}

static void advance_head(struct ipcring *ring, uint64_t pos)
{
    atomic_compare_exchange_strong_explicit(ring->head, &pos, pos + 1, memory_order_release,
                                            memory_order_relaxed); /* L */
}

/* The claim of @pos has succeeded: @free_word gave way to @claimed. Head then is @pos, or others have
 * helped it on; not by more than the ring holds, for nobody passes a slot that is claimed.
 * Return: false: it is. This process slept for exactly 2^30 laps between load and claim, took a later
 * lap's slot for its own, and has put its word back. */
static bool confirm_claim(struct ipcring *ring, uint64_t pos, uint64_t free_word, uint64_t claimed)
{
    uint64_t head = pos;

    if (atomic_compare_exchange_strong_explicit(ring->head, &head, pos + 1, memory_order_release,
                                                memory_order_relaxed)) /* L */
        return true;
    if (head - pos - 1 < ring->n_slots)
        return true;
    atomic_compare_exchange_strong(slot_word(ring, pos), &claimed, free_word); /* E */
    return false;
}

static bool pass_skipped(struct ipcring *ring);

/* Return: how often to try where @n_skipped slots may have to be passed. */
static inline uint64_t n_tries(const struct ipcring *ring, uint64_t n_skipped)
{
    return ring->is_brief ? RETRIES_BRIEF : RETRIES + n_skipped;
}

/* Claims the slot at head, against other producers. Return: 0 and the reservation; -EAGAIN; -EPROTO. */
static int claim(struct ipcring *ring)
{
    for (uint64_t i = 0; i < n_tries(ring, 0); i++) {
        uint64_t pos = atomic_load_explicit(ring->head, memory_order_acquire); /* M */
        _Atomic uint64_t *slot = slot_word(ring, pos);
        uint64_t word = atomic_load_explicit(slot, memory_order_acquire); /* F */
        uint32_t lap = ipcring_lap(pos, ring->order);
        uint32_t ahead = (ipcring_word_lap(word) - lap) & IPCRING_LAP_MASK;
        uint64_t claimed = ipcring_word(lap, IPCRING_CLAIMED, ring->id);
        int r = -EPROTO;

        if (ahead == 0) {
            /* Claimed by one who has not come to advance head, and may never. */
            advance_head(ring, pos);
            continue;
        }
        if (ahead == IPCRING_LAP_MASK)
            r = check_space(ring, pos);
        if (r == -EAGAIN && pass_skipped(ring))
            continue;
        if (r == -EAGAIN)
            return r;
        if (r == 0 && ipcring_word_state(word) != IPCRING_CLAIMED) {
            uint64_t expected = word;

            take_line((const char *)slot + TAKE_AHEAD);
            if (!atomic_compare_exchange_strong_explicit(
                    slot, &expected, claimed, memory_order_acq_rel, memory_order_relaxed)) /* E */
                continue;
            if (!confirm_claim(ring, pos, word, claimed))
                continue;
            ring->reserved_pos = pos;
            ring->claimed_word = claimed;
            return 0;
        }
        /* F: were this a race, head would have moved, or the word where head's claimer died and was
         * skipped. A word of the last lap that is still claimed though tail has passed it was loaded
         * before it was published: look again. */
        if (r == -EPROTO && atomic_load_explicit(ring->head, memory_order_relaxed) == pos &&
            atomic_load_explicit(slot, memory_order_relaxed) == word)
            return r;
    }
    return ring->is_brief ? -EAGAIN : -EPROTO;
}

/* Return: 0: position reserved_pos is this process's to fill; -EAGAIN; -EIDRM; -EBUSY; -EPROTO. */
static inline int begin(struct ipcring *ring)
{
    int r;

    if (__builtin_expect(is_closed(ring), 0))
        return -EIDRM;
    if (ring->is_reserved)
        return -EALREADY;
    if (!ring->one_producer)
        return claim(ring);
    if (__builtin_expect(!ring->is_producer, 0)) {
        r = become_producer(ring);
        if (r < 0)
            return r;
    }
    ring->reserved_pos = ring->next_head;
    return check_space(ring, ring->next_head);
}

/* Return: 0; -ESTALE: others have skipped the claim. */
static inline int publish(struct ipcring *ring, size_t n_bytes)
{
    uint64_t pos = ring->reserved_pos;
    uint64_t word = ipcring_word(ipcring_lap(pos, ring->order), IPCRING_FULL, (uint32_t)n_bytes);

    if (ring->one_producer) {
        ring->next_head = pos + 1;
        aim_put(ring);
        store_and_wake(ring, slot_word(ring, pos), word, ring->wait_data);
        /* Relaxed: for a successor, who looks further by itself, and for statistics. */
        atomic_store_explicit(ring->head, pos + 1, memory_order_relaxed);
        return 0;
    }
    if (!atomic_compare_exchange_strong(slot_word(ring, pos), &ring->claimed_word, word)) /* A, H */
        return -ESTALE;
    if (__builtin_expect(atomic_load(ring->wait_data) & IPCRING_SLEEPERS, 0)) /* H */
        wake(ring, ring->wait_data);
    return 0;
}

static inline int produce_now(struct ipcring *ring, const void *data, size_t n_bytes)
{
    int r = begin(ring);

    if (r < 0)
        return r;
    copy_in(slot_payload(ring, ring->reserved_pos), data, n_bytes);
    r = publish(ring, n_bytes);
    return r == -ESTALE ? -EAGAIN : r;
}

/* --- Consuming --- */

enum look {
    LOOK_EMPTY,
    LOOK_FULL,
    LOOK_SKIPPED,
    LOOK_CLAIMED,
    LOOK_ODD, /* others have consumed it meanwhile; or it is damaged */
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
        return ring->one_producer ? LOOK_ODD : LOOK_CLAIMED;
    default:
        return LOOK_ODD;
    }
}

static inline uint64_t load_tail(const struct ipcring *ring)
{
    return ring->one_consumer && ring->is_consumer
               ? ring->next_tail
               : atomic_load_explicit(ring->tail, memory_order_acquire); /* N */
}

/* Tail stands before the claim @word at @pos. Skips it if its claimer is dead, but looks into that
 * only now and then: most claims are published in no time.
 * Return: whether it is out of the way. */
static bool unblock(struct ipcring *ring, uint64_t pos, uint64_t word)
{
    uint64_t now = now_ns();
    uint64_t skip = ipcring_word(ipcring_word_lap(word), IPCRING_SKIP, 0);

    if (ring->blocked_word != word || ring->blocked_pos != pos) {
        ring->blocked_word = word;
        ring->blocked_pos = pos;
        ring->judge_at_ns = now + JUDGE_FIRST_NS;
        return false;
    }
    if (now < ring->judge_at_ns)
        return false;
    ring->judge_at_ns = now + IPCRING_JUDGE_NS;
    if (!is_dead(ring, ipcring_word_low(word)))
        return false;
    if (atomic_compare_exchange_strong(slot_word(ring, pos), &word, skip)) /* A */
        ring->stat.n_skipped++;
    advance_head(ring, pos);
    return true;
}

/* Moves tail from @from to @to, if no other consumer has. */
static inline bool move_tail(struct ipcring *ring, uint64_t from, uint64_t to)
{
    if (ring->one_consumer) {
        ring->next_tail = to;
        aim_get(ring);
        store_and_wake(ring, ring->tail, to, ring->wait_space);
        return true;
    }
    if (!atomic_compare_exchange_strong(ring->tail, &from, to)) /* C, H */
        return false;
    if (__builtin_expect(atomic_load(ring->wait_space) & IPCRING_SLEEPERS, 0)) /* H */
        wake(ring, ring->wait_space);
    return true;
}

/* A full ring may be full of what the dead have left, and no consumer about: with many consumers anybody may
 * do what they would. Return: whether there is room now. */
static bool pass_skipped(struct ipcring *ring)
{
    uint64_t pos = load_tail(ring);
    enum look what;
    uint64_t word;

    if (ring->one_consumer)
        return false;
    what = look(ring, pos, &word);
    if (what == LOOK_CLAIMED && unblock(ring, pos, word))
        what = LOOK_SKIPPED;
    return what == LOOK_SKIPPED && move_tail(ring, pos, pos + 1);
}

/* Tail is at @pos, where nothing can be taken: @what was found, @word.
 * Return: -EAGAIN; -EPROTO; 0: look again. */
static int nothing_at(struct ipcring *ring, uint64_t pos, enum look what, uint64_t word)
{
    if (what == LOOK_EMPTY)
        return -EAGAIN;
    if (what == LOOK_CLAIMED)
        return unblock(ring, pos, word) ? 0 : -EAGAIN;
    /* B with E: were this a race, tail would have moved. */
    return load_tail(ring) == pos ? -EPROTO : 0;
}

static inline int begin_to_consume(struct ipcring *ring)
{
    if (__builtin_expect(is_closed(ring), 0))
        return -EIDRM;
    if (ring->one_consumer && __builtin_expect(!ring->is_consumer, 0))
        return become_consumer(ring);
    return 0;
}

/* Return: 0: @pos held a message of *@ret_n bytes; -ENOMSG: none; -EMSGSIZE: it is longer than
 * @max_bytes; -EPROTO: longer than any can be. */
static inline int copy_message(struct ipcring *ring, uint64_t pos, void *data, size_t max_bytes,
                               uint32_t *ret_n)
{
    uint64_t word;
    enum look what = look(ring, pos, &word);
    size_t n = ipcring_word_low(word);

    if (__builtin_expect(what != LOOK_FULL, 0))
        return -ENOMSG;
    if (__builtin_expect(n > ring->message_bytes, 0))
        return -EPROTO;
    if (__builtin_expect(n > max_bytes, 0))
        return -EMSGSIZE;
    copy_out(data, slot_payload(ring, pos), n);
    *ret_n = (uint32_t)n;
    return 0;
}

/* Return: how many messages were taken; 0: look again; -EAGAIN and the like. */
static inline int take_once(struct ipcring *ring, struct ipcring_msg *msgs, unsigned int n)
{
    uint32_t lengths[BATCH_MAX];
    uint64_t first = load_tail(ring);
    uint64_t pos = first;
    unsigned int count = 0;
    int r = 0;

    while (count < n && pos - first < ring->n_slots) {
        r = copy_message(ring, pos, msgs[count].data, msgs[count].n_bytes, &lengths[count]);
        if (r < 0)
            break;
        pos++;
        count++;
    }
    if (count == 0) {
        uint64_t word;
        enum look what = look(ring, pos, &word);

        if (r == -ENOMSG && what != LOOK_SKIPPED)
            return what == LOOK_FULL ? 0 : nothing_at(ring, pos, what, word);
        if (r != -ENOMSG)
            return load_tail(ring) == pos ? r : 0;
        pos++;
    }
    if (!move_tail(ring, first, pos))
        return 0;
    for (unsigned int i = 0; i < count; i++)
        msgs[i].n_bytes = lengths[i];
    return (int)count;
}

static inline int take(struct ipcring *ring, struct ipcring_msg *msgs, unsigned int n)
{
    int r = begin_to_consume(ring);

    if (r < 0)
        return r;
    ring->is_shown = false;
    for (uint64_t i = 0; i < n_tries(ring, ring->n_slots); i++) {
        r = take_once(ring, msgs, n);
        if (r != 0)
            return r;
    }
    return ring->is_brief ? -EAGAIN : -EPROTO;
}

static inline int take_one(struct ipcring *ring, void *data, size_t max_bytes)
{
    struct ipcring_msg msg = { data, max_bytes };
    int r = take(ring, &msg, 1);

    return r < 0 ? r : (int)msg.n_bytes;
}

/* --- Waiting --- */

/* Return: whether a consume would have something to say. */
static bool is_readable(struct ipcring *ring, uint64_t *ret_sleep_ns)
{
    uint64_t pos = load_tail(ring);
    uint64_t word;
    enum look what = look(ring, pos, &word);

    if (what == LOOK_EMPTY)
        return false;
    if (what != LOOK_CLAIMED)
        return true;
    *ret_sleep_ns = IPCRING_JUDGE_NS;
    return unblock(ring, pos, word);
}

/* Return: how many messages there is room for. */
static uint64_t n_free(struct ipcring *ring)
{
    uint64_t head = ring->is_producer ? ring->next_head
                                      : atomic_load_explicit(ring->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(ring->tail, memory_order_acquire); /* D */

    return head - tail <= ring->n_slots ? ring->n_slots - (head - tail) : ring->n_slots;
}

/* Return: whether a produce would have something to say. */
static bool is_writable(struct ipcring *ring, uint64_t *ret_sleep_ns)
{
    uint64_t pos;
    uint64_t word;
    enum look what;

    if (n_free(ring) > 0)
        return true;
    /* As pass_skipped: there may be no consumer who would do it. */
    if (ring->one_producer || ring->one_consumer)
        return false;
    pos = load_tail(ring);
    what = look(ring, pos, &word);
    if (what != LOOK_CLAIMED)
        return what == LOOK_SKIPPED;
    *ret_sleep_ns = IPCRING_JUDGE_NS;
    return unblock(ring, pos, word);
}

static bool is_ready(struct ipcring *ring, unsigned int event, uint64_t *ret_sleep_ns)
{
    return event == IPCRING_READABLE ? is_readable(ring, ret_sleep_ns)
                                     : is_writable(ring, ret_sleep_ns);
}

/* There is nothing to do but to sleep. Return: 0; -EIDRM: who made the ring is gone, and can't say so. Who finds nothing
 * left in the ring then closes it, or others would go on to put in what nobody takes. */
static int check_owner(struct ipcring *ring, unsigned int event)
{
    uint64_t word;

    /* Relaxed: it is looked at before each sleep. */
    if (!(atomic_load_explicit(ring->owner, memory_order_relaxed) & IPCRING_OWNER_DIED))
        return 0;
    if (event == IPCRING_READABLE) {
        if (look(ring, load_tail(ring), &word) != LOOK_EMPTY)
            return 0;
        atomic_fetch_or(ring->wait_data, IPCRING_CLOSED);  /* H */
        atomic_fetch_or(ring->wait_space, IPCRING_CLOSED); /* H */
        ipcring_wake(ring);
    }
    return -EIDRM;
}

int ipcring_arm(struct ipcring *ring, unsigned int event, uint32_t **ret_word, uint32_t *ret_value,
                uint64_t *ret_ns)
{
    _Atomic uint32_t *word = event == IPCRING_READABLE ? ring->wait_data : ring->wait_space;
    uint64_t sleep_ns = IPCRING_SLEEP_NS;
    uint32_t value;
    int r;

    if (event != IPCRING_READABLE && event != IPCRING_WRITABLE)
        return -EINVAL;
    value = atomic_fetch_or(word, IPCRING_SLEEPERS) | IPCRING_SLEEPERS; /* G */
    if (value & IPCRING_CLOSED)
        return -EIDRM;
    if (!ipcring_os_membarrier()) /* G */
        sleep_ns = RING_SLEEP_UNSURE_NS;
    if (is_ready(ring, event, &sleep_ns)) /* G */
        return 1;
    r = check_owner(ring, event);
    if (r < 0)
        return r;
    *ret_word = (uint32_t *)(void *)word;
    *ret_value = value;
    *ret_ns = sleep_ns;
    return 0;
}

/* Return: whether it became ready before it was time to sleep. */
static bool spin(struct ipcring *ring, unsigned int event, uint64_t until_ns)
{
    uint64_t sleep_ns;

    do {
        for (int i = 0; i < SPINS_PER_LOOK_AT_CLOCK; i++) {
            if (is_ready(ring, event, &sleep_ns))
                return true;
            relax();
        }
    } while (now_ns() < until_ns);
    return false;
}

/* Return: whether the producers came past @pos in time. */
static bool wait_for_run(struct ipcring *ring, uint64_t pos)
{
    uint64_t head = atomic_load_explicit(ring->head, memory_order_relaxed);
    uint64_t word;

    for (int i = 1; i <= SLIP_SPINS; i++) {
        uint64_t before = head;
        enum look what = look(ring, pos, &word);

        if (what != LOOK_EMPTY && what != LOOK_CLAIMED)
            return true;
        relax();
        if (i % SLIP_SPINS_PER_LOOK != 0)
            continue;
        head = atomic_load_explicit(ring->head, memory_order_relaxed);
        if (head == before)
            return false;
    }
    return false;
}

/* See SLIP_BYTES. */
static void slip(struct ipcring *ring)
{
    uint64_t tail = load_tail(ring);

    if (!ring->slips || tail - ring->slipped_at < ring->slip_flow)
        return;
    ring->slipped_at = tail;
    if (wait_for_run(ring, tail + ring->n_ahead - 1))
        ring->slip_flow = ring->n_ahead;
    else if (ring->slip_flow < SLIP_FLOW_MIN)
        ring->slip_flow = SLIP_FLOW_MIN;
    else if (ring->slip_flow < SLIP_FLOW_MAX)
        ring->slip_flow *= 2;
}

/* Looks for itself before it looks at the clock. Return: whether there is something. */
static bool spin_first(struct ipcring *ring)
{
    uint64_t sleep_ns;

    slip(ring);
    for (int i = 0; i < SPINS_PER_LOOK_AT_CLOCK; i++) {
        if (is_readable(ring, &sleep_ns))
            return true;
        relax();
    }
    return false;
}

/* See FREE_SHARE. Return: whether there is room. */
static bool let_consumer_run(struct ipcring *ring)
{
    uint64_t n = 0;

    for (int i = 0; i < FREE_LOOKS && n < ring->n_slots / FREE_SHARE; i++) {
        for (int k = 0; k < FREE_SPINS_PER_LOOK; k++)
            relax();
        n = n_free(ring);
    }
    return n > 0;
}

static int sleep_once(struct ipcring *ring, unsigned int event, uint64_t left_ns)
{
    uint32_t *word;
    uint32_t value;
    uint64_t sleep_ns;
    int r = ipcring_arm(ring, event, &word, &value, &sleep_ns);

    if (r != 0)
        return r < 0 ? r : 0;
    ring->stat.n_sleeps++;
    r = ipcring_os_sleep((_Atomic uint32_t *)(void *)word, value,
                         left_ns < sleep_ns ? left_ns : sleep_ns);
    if (r == -EINTR)
        return r;
    /* Relaxed: for statistics. */
    if (r == -ETIMEDOUT &&
        atomic_load_explicit((_Atomic uint32_t *)(void *)word, memory_order_relaxed) == value &&
        is_ready(ring, event, &sleep_ns))
        ring->stat.n_rescues++;
    return 0;
}

/* Waits until it is worth another try, after so many. Return: 0; -ETIMEDOUT; -EINTR; -EIDRM. */
static int wait_for(struct ipcring *ring, unsigned int event, uint64_t deadline_ns,
                    unsigned int n_tries)
{
    uint64_t now;
    uint64_t until_ns;

    /* Without a look at the clock while messages flow; but not for ever, should words be played with. */
    if (ring->spin_ns > 0 && n_tries < TRIES_PER_LOOK_AT_CLOCK &&
        (event == IPCRING_READABLE ? spin_first(ring) : let_consumer_run(ring)))
        return 0;
    now = now_ns();
    until_ns = ring->spin_ns < UINT64_MAX - now ? now + ring->spin_ns : UINT64_MAX;
    if (now >= deadline_ns)
        return -ETIMEDOUT;
    if (ring->spin_ns > 0) {
        if (spin(ring, event, until_ns < deadline_ns ? until_ns : deadline_ns))
            return 0;
        now = now_ns();
        if (now >= deadline_ns)
            return -ETIMEDOUT;
    }
    return sleep_once(ring, event, deadline_ns - now);
}

static uint64_t deadline_of(int64_t timeout_ns)
{
    return timeout_ns < 0 ? UINT64_MAX : now_ns() + (uint64_t)timeout_ns;
}

/* Tries @expression until it is not -EAGAIN any more, or the time is up. */
#define TRY_UNTIL(ring, event, timeout_ns, expression)                                             \
    ({                                                                                             \
        int r_ = (expression);                                                                     \
        if (__builtin_expect(r_ == -EAGAIN && (timeout_ns) != 0, 0)) {                             \
            uint64_t deadline_ns_ = deadline_of(timeout_ns);                                       \
            unsigned int i_ = 0;                                                                   \
            do {                                                                                   \
                int w_ = wait_for((ring), (event), deadline_ns_, ++i_);                            \
                r_ = w_ < 0 ? w_ : (expression);                                                   \
            } while (r_ == -EAGAIN);                                                               \
        }                                                                                          \
        r_;                                                                                        \
    })

/* --- The calls --- */

/* What is commonest first and by itself: one producer, one consumer, room or a message at hand. All else
 * is slow_produce's and slow_consume's. */

static __attribute__((noinline)) int slow_produce(struct ipcring *ring, const void *data,
                                                  size_t n_bytes, int64_t timeout_ns)
{
    if (n_bytes > ring->message_bytes)
        return -EMSGSIZE;
    return TRY_UNTIL(ring, IPCRING_WRITABLE, timeout_ns, produce_now(ring, data, n_bytes));
}

/* Publishes the message; tell_consumers is still to come. */
static inline void put(struct ipcring *ring, uint64_t pos, const void *data, size_t n_bytes)
{
    char *slot = (char *)slot_word(ring, pos);

    take_line(slot + TAKE_AHEAD);
    copy_in(slot + IPCRING_WORD_BYTES, data, n_bytes);
    atomic_store_explicit((_Atomic uint64_t *)(void *)slot, ring->put.word | n_bytes,
                          memory_order_release); /* A */
    ring->next_head = pos + 1;
}

/* Return: @r, as a last call. */
static __attribute__((noinline)) int wake_after(struct ipcring *ring, _Atomic uint32_t *waiters,
                                                int r)
{
    wake(ring, waiters);
    return r;
}

/* Return: @r. */
static inline int tell_consumers(struct ipcring *ring, int r)
{
    atomic_signal_fence(memory_order_seq_cst); /* H, the compiler's half */
    /* Relaxed, and once for several: as in publish. The run was shorter than a lap, so a successor that
     * starts from the last one finds the true head. */
    atomic_store_explicit(ring->head, ring->next_head, memory_order_relaxed);
    if (__builtin_expect(atomic_load(ring->wait_data) & IPCRING_SLEEPERS, 0)) /* H */
        return wake_after(ring, ring->wait_data, r);
    return r;
}

static inline int tell_producers(struct ipcring *ring, int r)
{
    atomic_store_explicit(ring->tail, ring->next_tail, memory_order_release);  /* C */
    atomic_signal_fence(memory_order_seq_cst);                                 /* H */
    if (__builtin_expect(atomic_load(ring->wait_space) & IPCRING_SLEEPERS, 0)) /* H */
        return wake_after(ring, ring->wait_space, r);
    return r;
}

static inline bool has_room(const struct ipcring *ring, size_t n_bytes)
{
    return ring->next_head != ring->put.end && n_bytes <= ring->message_bytes;
}

static __attribute__((noinline)) int produce_large(struct ipcring *ring, const void *data,
                                                   size_t n_bytes, int64_t timeout_ns)
{
    if (!has_room(ring, n_bytes))
        return slow_produce(ring, data, n_bytes, timeout_ns);
    put(ring, ring->next_head, data, n_bytes);
    return tell_consumers(ring, 0);
}

static inline int produce(struct ipcring *ring, const void *data, size_t n_bytes,
                          int64_t timeout_ns)
{
    if (__builtin_expect(!has_room(ring, n_bytes) || is_closed(ring), 0))
        return slow_produce(ring, data, n_bytes, timeout_ns);
    if (n_bytes > SMALL_BYTES)
        return produce_large(ring, data, n_bytes, timeout_ns);
    put(ring, ring->next_head, data, n_bytes);
    return tell_consumers(ring, 0);
}

/* Return: the length of the message in @slot of the run; more than any has: look closer. */
static inline uint64_t length_in(const struct ipcring *ring, _Atomic uint64_t *slot)
{
    /* In any other state or lap a bit of the high half is left. */
    return atomic_load_explicit(slot, memory_order_acquire) ^ ring->get.word; /* B */
}

/* Return: whether @slot of the run holds a message. */
static inline bool is_full(const struct ipcring *ring, _Atomic uint64_t *slot)
{
    return length_in(ring, slot) <= ring->message_bytes;
}

/* One consumer has come to its run's end, or found nothing. Return: whether a message is there now, in
 * the run. */
static bool wait_in_run(struct ipcring *ring)
{
    _Atomic uint64_t *slot = slot_word(ring, ring->next_tail);

    if (!ring->is_consumer || ring->is_shown || ring->spin_ns == 0)
        return false;
    slip(ring);
    aim_get(ring);
    if (ring->next_tail == ring->get.end)
        return false;
    if (is_full(ring, slot))
        return true;
    for (int i = 0; i < FIRST_SPINS; i++)
        if (is_full(ring, slot))
            return true;
    return false;
}

static __attribute__((noinline)) int consume_at_tail(struct ipcring *ring, void *data, uint64_t n)
{
    copy_out(data, slot_payload(ring, ring->next_tail), n);
    ring->next_tail++;
    return tell_producers(ring, (int)n);
}

static __attribute__((noinline)) int slow_consume(struct ipcring *ring, void *data,
                                                  size_t max_bytes, int64_t timeout_ns)
{
    if (timeout_ns != 0 && wait_in_run(ring)) {
        uint64_t n = length_in(ring, slot_word(ring, ring->next_tail));

        if (n <= ring->message_bytes && n <= max_bytes && !is_closed(ring))
            return consume_at_tail(ring, data, n);
    }
    return TRY_UNTIL(ring, IPCRING_READABLE, timeout_ns, take_one(ring, data, max_bytes));
}

static inline int consume(struct ipcring *ring, void *data, size_t max_bytes, int64_t timeout_ns)
{
    uint64_t pos = ring->next_tail;
    _Atomic uint64_t *slot = slot_word(ring, pos);
    uint64_t n;

    if (__builtin_expect(pos == ring->get.end || is_closed(ring), 0))
        return slow_consume(ring, data, max_bytes, timeout_ns);
    n = length_in(ring, slot);
    if (__builtin_expect(n > ring->message_bytes || n > max_bytes, 0))
        return slow_consume(ring, data, max_bytes, timeout_ns);
    if (n > SMALL_BYTES)
        return consume_at_tail(ring, data, n);
    copy_out(data, (char *)slot + IPCRING_WORD_BYTES, n);
    ring->next_tail = pos + 1;
    return tell_producers(ring, (int)n);
}

/* Return: how many messages of up to @n were at hand. */
static unsigned int consume_at_hand(struct ipcring *ring, struct ipcring_msg *msgs, unsigned int n)
{
    uint64_t pos = ring->next_tail;
    unsigned int count = 0;

    if (pos == ring->get.end || is_closed(ring))
        return 0;
    while (count < n) {
        _Atomic uint64_t *slot = slot_word(ring, pos);
        uint64_t n_bytes = length_in(ring, slot);

        if (n_bytes > ring->message_bytes || n_bytes > msgs[count].n_bytes)
            break;
        copy_out(msgs[count].data, (char *)slot + IPCRING_WORD_BYTES, n_bytes);
        msgs[count++].n_bytes = n_bytes;
        if (++pos == ring->get.end)
            ring->get = run_from(ring, pos, ring->n_ahead);
    }
    if (count == 0)
        return 0;
    ring->next_tail = pos;
    return (unsigned int)tell_producers(ring, (int)count);
}

int ipcring_try_produce(struct ipcring *ring, const void *data, size_t n_bytes)
{
    return produce(ring, data, n_bytes, 0);
}

int ipcring_produce(struct ipcring *ring, const void *data, size_t n_bytes, int64_t timeout_ns)
{
    return produce(ring, data, n_bytes, timeout_ns);
}

int ipcring_try_consume(struct ipcring *ring, void *data, size_t max_bytes)
{
    return consume(ring, data, max_bytes, 0);
}

int ipcring_consume(struct ipcring *ring, void *data, size_t max_bytes, int64_t timeout_ns)
{
    return consume(ring, data, max_bytes, timeout_ns);
}

int ipcring_produce_batch(struct ipcring *ring, const struct ipcring_msg *msgs, unsigned int n,
                          int64_t timeout_ns)
{
    unsigned int count;
    int r;

    if (n == 0)
        return -EINVAL;
    if (n > INT32_MAX)
        n = INT32_MAX;
    r = ipcring_produce(ring, msgs[0].data, msgs[0].n_bytes, timeout_ns);
    if (r < 0)
        return r;
    for (count = 1; count < n; count++) {
        if (count % TELL_EVERY != 0 && has_room(ring, msgs[count].n_bytes))
            put(ring, ring->next_head, msgs[count].data, msgs[count].n_bytes);
        else if (ipcring_try_produce(ring, msgs[count].data, msgs[count].n_bytes) < 0)
            break;
    }
    return ring->is_producer ? tell_consumers(ring, (int)count) : (int)count;
}

int ipcring_consume_batch(struct ipcring *ring, struct ipcring_msg *msgs, unsigned int n,
                          int64_t timeout_ns)
{
    unsigned int count;

    if (n == 0)
        return -EINVAL;
    if (n > BATCH_MAX)
        n = BATCH_MAX;
    count = consume_at_hand(ring, msgs, n);
    if (count > 0)
        return (int)count;
    if (timeout_ns != 0 && wait_in_run(ring)) {
        count = consume_at_hand(ring, msgs, n);
        if (count > 0)
            return (int)count;
    }
    return TRY_UNTIL(ring, IPCRING_READABLE, timeout_ns, take(ring, msgs, n));
}

int ipcring_reserve(struct ipcring *ring, void **ret_data, int64_t timeout_ns)
{
    int r = TRY_UNTIL(ring, IPCRING_WRITABLE, timeout_ns, begin(ring));

    if (r < 0)
        return r;
    ring->is_reserved = true;
    stop_put(ring);
    *ret_data = slot_payload(ring, ring->reserved_pos);
    return 0;
}

int ipcring_commit(struct ipcring *ring, size_t n_bytes)
{
    if (!ring->is_reserved)
        return -EINVAL;
    if (n_bytes > ring->message_bytes)
        return -EMSGSIZE;
    if (is_closed(ring))
        return -EIDRM;
    ring->is_reserved = false;
    return publish(ring, n_bytes);
}

void ipcring_cancel(struct ipcring *ring)
{
    uint64_t pos = ring->reserved_pos;
    uint64_t skip = ipcring_word(ipcring_lap(pos, ring->order), IPCRING_SKIP, 0);

    if (!ring->is_reserved)
        return;
    ring->is_reserved = false;
    if (ring->one_producer) {
        aim_put(ring);
        return;
    }
    /* What lies behind can be consumed now: as after A. */
    atomic_compare_exchange_strong(slot_word(ring, pos), &ring->claimed_word, skip); /* A, H */
    wake(ring, ring->wait_data);
}

/* Return: the length of the message at tail; -EAGAIN and the like. */
static int show(struct ipcring *ring)
{
    int r = begin_to_consume(ring);

    for (uint64_t i = 0; r == 0 && i < RETRIES + ring->n_slots; i++) {
        uint64_t pos = load_tail(ring);
        uint64_t word;
        enum look what = look(ring, pos, &word);

        if (what == LOOK_FULL)
            return ipcring_word_low(word) <= ring->message_bytes ? (int)ipcring_word_low(word)
                                                                 : -EPROTO;
        if (what == LOOK_SKIPPED)
            move_tail(ring, pos, pos + 1);
        else
            r = nothing_at(ring, pos, what, word);
    }
    return r < 0 ? r : -EPROTO;
}

int ipcring_peek(struct ipcring *ring, const void **ret_data, int64_t timeout_ns)
{
    int r;

    if (!ring->one_consumer)
        return -EOPNOTSUPP;
    r = TRY_UNTIL(ring, IPCRING_READABLE, timeout_ns, show(ring));
    if (r < 0)
        return r;
    ring->is_shown = true;
    stop_get(ring);
    *ret_data = slot_payload(ring, ring->next_tail);
    return r;
}

int ipcring_release(struct ipcring *ring)
{
    if (!ring->is_shown)
        return -EINVAL;
    ring->is_shown = false;
    move_tail(ring, ring->next_tail, ring->next_tail + 1);
    return 0;
}

void ipcring_wake(struct ipcring *ring)
{
    wake(ring, ring->wait_data);
    wake(ring, ring->wait_space);
}

void ipcring_set_spin(struct ipcring *ring, uint64_t spin_ns)
{
    ring->spin_ns = spin_ns;
}

size_t ipcring_message_bytes(const struct ipcring *ring)
{
    return ring->message_bytes;
}

void ipcring_get_stat(const struct ipcring *ring, struct ipcring_stat *ret_stat)
{
    *ret_stat = ring->stat;
    ret_stat->tail = atomic_load_explicit(ring->tail, memory_order_relaxed);
    ret_stat->head = atomic_load_explicit(ring->head, memory_order_relaxed);
    /* Head may stay behind for a moment, or for good where its producer died. */
    if (ret_stat->head - ret_stat->tail > ring->n_slots)
        ret_stat->head = ret_stat->tail;
}

/* --- Opening --- */

static int read_geometry(struct ipcring *ring, void *map, size_t n_bytes)
{
    uint32_t slots;
    uint32_t slot_bytes;
    uint32_t flags;
    uint64_t at;

    if (n_bytes < IPCRING_AT_SLOT_0)
        return -EPROTO;
    if (atomic_load_explicit(ring_u64(map, IPCRING_AT_MAGIC), memory_order_acquire) !=
        IPCRING_MAGIC) /* J */
        return -EPROTO;
    /* Relaxed from here: J ordered them. Each is loaded once. */
    if (atomic_load_explicit(ring_u32(map, IPCRING_AT_VERSION), memory_order_relaxed) !=
        IPCRING_VERSION)
        return -EPROTO;
    flags = atomic_load_explicit(ring_u32(map, IPCRING_AT_FLAGS), memory_order_relaxed);
    slots = atomic_load_explicit(ring_u32(map, IPCRING_AT_SLOTS), memory_order_relaxed);
    slot_bytes = atomic_load_explicit(ring_u32(map, IPCRING_AT_SLOT_BYTES), memory_order_relaxed);
    at = atomic_load_explicit(ring_u64(map, IPCRING_AT_SLOTS_OFFSET), memory_order_relaxed);
    if (flags & ~IPCRING_FLAGS || slots < IPCRING_SLOTS_MIN || slots > IPCRING_SLOTS_MAX ||
        (slots & (slots - 1)) != 0 || slot_bytes < IPCRING_SLOT_BYTES_MIN ||
        slot_bytes > IPCRING_SLOT_BYTES_MAX || slot_bytes % 8 != 0)
        return -EPROTO;
    if (at != IPCRING_AT_SLOT_0 || (uint64_t)slots * slot_bytes > n_bytes - IPCRING_AT_SLOT_0)
        return -EPROTO;
    ring->slots = (char *)map + IPCRING_AT_SLOT_0;
    ring->n_slots = slots;
    ring->mask = slots - 1;
    ring->order = (unsigned int)__builtin_ctz(slots);
    ring->slot_bytes = slot_bytes;
    ring->message_bytes = slot_bytes - IPCRING_WORD_BYTES;
    ring->one_producer = flags & IPCRING_ONE_PRODUCER;
    ring->one_consumer = flags & IPCRING_ONE_CONSUMER;
    ring->stat = (struct ipcring_stat){ .slots = slots, .slot_bytes = slot_bytes, .flags = flags };
    return 0;
}

static void identify(struct ipcring *ring, void *map)
{
    uint64_t namespace = ipcring_os_pid_namespace();

    ring->can_judge = namespace != 0 &&
                      namespace == atomic_load_explicit(ring_u64(map, IPCRING_AT_PID_NAMESPACE),
                                                        memory_order_relaxed);
    ring->id = ipcring_os_own_id();
    if (!ring->can_judge)
        ring->id |= IPCRING_ID_FOREIGN;
}

/* See SLIP_BYTES. */
static void set_ahead(struct ipcring *ring)
{
    uint64_t n = SLIP_BYTES / ring->slot_bytes;

    if (n > ring->n_slots / SLIP_SHARE)
        n = ring->n_slots / SLIP_SHARE;
    ring->slips = n * ring->slot_bytes >= SLIP_BYTES_MIN && ring->slot_bytes <= SLIP_SLOT_BYTES_MAX;
    ring->n_ahead = ring->slips ? n : ring->n_slots;
}

int ipcring_attach(void *map, size_t n_bytes, struct ipcring **ret_ring)
{
    struct ipcring *ring;
    int r;

    if ((uintptr_t)map % 8 != 0)
        return -EINVAL;
    ring = aligned_alloc(HANDLE_ALIGN,
                         (sizeof(*ring) + HANDLE_ALIGN - 1) & ~(size_t)(HANDLE_ALIGN - 1));
    if (!ring)
        return -ENOMEM;
    memset(ring, 0, sizeof(*ring));
    r = read_geometry(ring, map, n_bytes);
    if (r < 0) {
        free(ring);
        return r;
    }
    ring->head = ring_u64(map, IPCRING_AT_HEAD);
    ring->tail = ring_u64(map, IPCRING_AT_TAIL);
    ring->producer = ring_u32(map, IPCRING_AT_PRODUCER);
    ring->consumer = ring_u32(map, IPCRING_AT_CONSUMER);
    ring->owner = ring_u32(map, IPCRING_AT_OWNER);
    ring->wait_data = ring_u32(map, IPCRING_AT_WAIT_DATA);
    ring->wait_space = ring_u32(map, IPCRING_AT_WAIT_SPACE);
    ring->seen_tail = atomic_load_explicit(ring->tail, memory_order_acquire); /* D */
    ring->spin_ns = SPIN_NS_DEFAULT;
    ring->slipped_at = atomic_load_explicit(ring->tail, memory_order_relaxed);
    ring->slip_flow = SLIP_FLOW_MIN;
    set_ahead(ring);
    ring->no_fence = ipcring_os_register_membarrier();
    identify(ring, map);
    *ret_ring = ring;
    return 0;
}

int ipcring_open_fd(int fd, struct ipcring **ret_ring)
{
    struct stat st;
    void *map;
    int r;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size < IPCRING_AT_SLOT_0)
        return -EPROTO;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    r = ipcring_attach(map, (size_t)st.st_size, ret_ring);
    if (r < 0) {
        munmap(map, (size_t)st.st_size);
        return r;
    }
    (*ret_ring)->mapped = map;
    (*ret_ring)->mapped_bytes = (size_t)st.st_size;
    return 0;
}

int ipcring_open(const char *path, struct ipcring **ret_ring)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    r = ipcring_open_fd(fd, ret_ring);
    close(fd);
    return r;
}

void ipcring_be_brief(struct ipcring *ring)
{
    ring->can_judge = false;
    ring->is_brief = true;
}

void ipcring_leave_roles(struct ipcring *ring)
{
    if (ring->is_producer)
        give_role_back(ring, ring->producer);
    if (ring->is_consumer)
        give_role_back(ring, ring->consumer);
    ring->is_producer = ring->is_consumer = false;
    /* What comes next goes where the role is taken. */
    stop_put(ring);
    stop_get(ring);
}

void ipcring_close(struct ipcring *ring)
{
    if (!ring)
        return;
    /* The child of a fork has no part in what its parent holds. */
    if ((ring->id & IPCRING_ID_PID) == ((uint32_t)getpid() & IPCRING_ID_PID)) {
        ipcring_cancel(ring);
        ipcring_leave_roles(ring);
    }
    if (ring->mapped)
        munmap(ring->mapped, ring->mapped_bytes);
    free(ring);
}
