/* Consuming where each sees everything: find the word of the slot at this handle's position FULL in its lap (B), copy
 * the payload, and see that the word is still the same (P). Nothing is written: no producer waits for it, and no other
 * consumer knows of it.
 *
 * A word of a later lap says that producers have come round and overtaken this one. It goes on with the oldest there is: a
 * ring's length before head. Where producers are running just now, that would be gone before it was read: so it keeps as
 * far away from there as they run in a moment.
 *
 * The handle is the calling thread's own, and there is no lock. */
#include "ipcring_internal.h"

#include "ipcring_copy.h"
#include "ipcring_daemon.h"

/* Looks that a consumer takes at once, without a pause: the next message is often on its way. */
#define FIRST_SPINS 256

/* How far a new consumer looks back from head for a place that is claimed and not published yet. */
#define LOOK_BACK 65536U
#define LOOK_BACK_BRIEF 4096U

/* Who was overtaken looks how far head gets in so many spins, and stays away as far as that so many times. */
#define RUN_SPINS 64
#define RUN_SHARES 8

/* Laps are compared modulo 2^30: from here on a word is older, not newer. */
#define LAPS_AHEAD_MAX (IPCRING_LAP_MASK / 2)

/* Return: by how many laps the word of @pos's slot is ahead of @pos. */
static uint32_t laps_ahead(const struct ipcring *ring, uint64_t pos, uint64_t word)
{
    return (ipcring_word_lap(word) - ipcring_lap(pos, ring->order)) & IPCRING_LAP_MASK;
}

static bool is_overtaken(uint32_t ahead)
{
    return ahead != 0 && ahead <= LAPS_AHEAD_MAX;
}

static uint64_t load_head(const struct ipcring *ring)
{
    return atomic_load_explicit(ring->head, memory_order_acquire); /* M */
}

/* Return: the later of two positions, neither of which is far from the other. */
static uint64_t later(uint64_t a, uint64_t b)
{
    return a - b < UINT64_MAX / 2 ? a : b;
}

/* --- Where one begins --- */

/* Return: whether the one producer has published @pos. */
static bool each_is_published(const struct ipcring *ring, uint64_t pos)
{
    uint64_t word = atomic_load_explicit(slot_word(ring, pos), memory_order_acquire); /* B */

    return word >> 32 == ipcring_word(ipcring_lap(pos, ring->order), IPCRING_FULL, 0) >> 32;
}

/* One producer: head may stay behind what it has published, by less than a lap. Return: the first that is not. */
static uint64_t find_first(const struct ipcring *ring, uint64_t head)
{
    uint64_t n = ring->n_slots;

    while (n > 0) {
        uint64_t half = n / 2;

        if (each_is_published(ring, head + half)) {
            head += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return head;
}

/* Many producers: what was claimed before head may be published only now. Return: the first of those, or @head. */
static uint64_t find_claim(const struct ipcring *ring, uint64_t head)
{
    uint64_t n_max = ring->is_brief ? LOOK_BACK_BRIEF : LOOK_BACK;
    uint64_t first = head;

    for (uint64_t n = 1; n <= n_max && n < ring->n_slots; n++) {
        uint64_t pos = head - n;
        uint64_t word = atomic_load_explicit(slot_word(ring, pos), memory_order_acquire); /* B */

        if (laps_ahead(ring, pos, word) != 0)
            break;
        if (ipcring_word_state(word) == IPCRING_CLAIMED)
            first = pos;
    }
    return first;
}

uint64_t ipcring_begin(const struct ipcring *ring)
{
    uint64_t head = load_head(ring);

    if (!ring->one_producer)
        return find_claim(ring, head);
    /* Words that are more than a lap ahead of the head that was seen tell nothing; head does then. */
    head = find_first(ring, head);
    return later(load_head(ring), head);
}

void ipcring_seek(struct ipcring *ring, uint64_t pos)
{
    ring->next_tail = pos;
}

uint64_t ipcring_position(const struct ipcring *ring)
{
    return ring->next_tail;
}

/* --- Overtaken --- */

/* Return: how far producers get in a moment. */
static uint64_t run_of(const struct ipcring *ring, uint64_t head)
{
    for (int i = 0; i < RUN_SPINS; i++)
        relax();
    return (load_head(ring) - head) * RUN_SHARES;
}

/* The slot of next_tail has @word, of a lap @ahead. Goes on with the oldest there is. Return: -EOVERFLOW. */
static int overtaken(struct ipcring *ring, uint32_t ahead)
{
    /* Positions are claimed in order: what the word says is the last that is known to be. */
    uint64_t claimed = ring->next_tail + ((uint64_t)ahead << ring->order);
    uint64_t head = load_head(ring);
    uint64_t run = run_of(ring, head);
    uint64_t oldest;

    head = later(load_head(ring), claimed + 1);
    /* Not past the half: the last message is not passed over, should producers stop just now. */
    oldest = head - ring->n_slots + (run < ring->n_slots / 2 ? run : ring->n_slots / 2);
    ring->n_missed += oldest - ring->next_tail;
    ring->next_tail = oldest;
    return -EOVERFLOW;
}

/* --- One message --- */

/* Nothing can be taken at next_tail, whose slot has @word. Return: 0: look again; -EAGAIN; -EOVERFLOW; -EPROTO. */
static int pass(struct ipcring *ring)
{
    uint64_t pos = ring->next_tail;
    uint64_t word;

    switch (look(ring, pos, &word)) {
    case LOOK_FULL:
        return 0;
    case LOOK_EMPTY:
        return -EAGAIN;
    case LOOK_SKIPPED:
        ring->next_tail++;
        return 0;
    case LOOK_CLAIMED:
        return ipcring_unblock(ring, pos, word) ? 0 : -EAGAIN;
    default:
        break;
    }
    return is_overtaken(laps_ahead(ring, pos, word)) ? overtaken(ring, laps_ahead(ring, pos, word))
                                                     : -EPROTO;
}

/* Return: the word's low half if it is FULL in the lap of @pos; more than any message has: it is something else. */
static inline uint64_t each_length_in(const struct ipcring *ring, uint64_t pos, uint64_t word)
{
    return word ^ ipcring_word(ipcring_lap(pos, ring->order), IPCRING_FULL, 0);
}

/* Takes the message at next_tail, if it is at hand. Return: its length; -ENOMSG: look closer; -EMSGSIZE. */
static inline int take_at_hand(struct ipcring *ring, void *data, size_t max_bytes)
{
    uint64_t pos = ring->next_tail;
    _Atomic uint64_t *slot = slot_word(ring, pos);
    uint64_t word = atomic_load_explicit(slot, memory_order_acquire); /* B */
    uint64_t n = each_length_in(ring, pos, word);

    if (__builtin_expect(n > ring->message_bytes, 0))
        return n <= UINT32_MAX ? -EPROTO : -ENOMSG;
    if (__builtin_expect(n > max_bytes, 0))
        return -EMSGSIZE;
    copy_out(data, (char *)slot + IPCRING_WORD_BYTES, n);
    if (__builtin_expect(!is_whole(slot, word), 0))
        return -ENOMSG;
    ring->next_tail = pos + 1;
    return (int)n;
}

static int each_take(struct ipcring *ring, void *data, size_t max_bytes)
{
    int r = -ENOMSG;

    if (is_closed(ring))
        return -EIDRM;
    for (uint64_t i = 0; i < n_tries(ring, ring->n_slots); i++) {
        r = take_at_hand(ring, data, max_bytes);
        if (r != -ENOMSG)
            return r;
        r = pass(ring);
        if (r < 0)
            return r;
    }
    return ring->is_brief ? -EAGAIN : -EPROTO;
}

/* Spins a little where nothing is at hand, as one consumer does. Return: whether something is. */
static bool each_spin(struct ipcring *ring)
{
    uint64_t pos = ring->next_tail;

    if (ring->spin_ns == 0)
        return false;
    ipcring_slip(ring);
    for (int i = 0; i < FIRST_SPINS; i++) {
        /* Relaxed: what is found is looked at again. */
        uint64_t word = atomic_load_explicit(slot_word(ring, pos), memory_order_relaxed);

        if (each_length_in(ring, pos, word) <= ring->message_bytes)
            return true;
    }
    return false;
}

static __attribute__((noinline)) int each_slow_consume(struct ipcring *ring, void *data,
                                                       size_t max_bytes, int64_t timeout_ns)
{
    if (timeout_ns != 0)
        each_spin(ring);
    return TRY_UNTIL(ring, IPCRING_READABLE, timeout_ns, each_take(ring, data, max_bytes));
}

int ipcring_each_consume(struct ipcring *ring, void *data, size_t max_bytes, int64_t timeout_ns)
{
    int r = __builtin_expect(is_closed(ring), 0) ? -EIDRM : take_at_hand(ring, data, max_bytes);

    return __builtin_expect(r == -ENOMSG, 0) ? each_slow_consume(ring, data, max_bytes, timeout_ns)
                                             : r;
}

int ipcring_each_consume_batch(struct ipcring *ring, struct ipcring_msg *msgs, unsigned int n,
                               int64_t timeout_ns)
{
    unsigned int count;
    int r = ipcring_each_consume(ring, msgs[0].data, msgs[0].n_bytes, timeout_ns);

    if (r < 0)
        return r;
    msgs[0].n_bytes = (size_t)r;
    for (count = 1; count < n; count++) {
        r = take_at_hand(ring, msgs[count].data, msgs[count].n_bytes);
        if (r < 0)
            break;
        msgs[count].n_bytes = (size_t)r;
    }
    return (int)count;
}
