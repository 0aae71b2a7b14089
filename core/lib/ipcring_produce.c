/* Producing: claim the slot at head (E), fill it, publish it (A), and look for sleepers (H).
 *
 * The commonest case comes first and by itself: one producer, with room in its run. All else is
 * slow_produce's. With one producer, the role is the handle's and next_head is the true head; the shared one
 * follows it. With many, the slot's word is claimed by compare-and-swap. Whoever dies before E has done
 * nothing, before A has left a claim that others skip.
 *
 * The handle is the calling thread's own, and there is no lock. */
#include "ipcring_internal.h"

#include "ipcring_copy.h"

/* So far ahead of where it writes a producer asks for slots, in bytes: a consumer has them. */
#define TAKE_AHEAD 512

/* Messages that a batch publishes between two looks for sleepers. */
#define TELL_EVERY 32

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

/* After a change of next_head or seen_tail. */
static __attribute__((noinline)) void aim_put(struct ipcring *ring)
{
    ring->put = run_from(ring, ring->next_head,
                         ring->each ? ring->n_slots
                                    : ring->n_slots - (ring->next_head - ring->seen_tail));
}

/* --- The one producer --- */

/* Whether the one producer, whose positions from head on are filled in order, has published @pos. */
static bool produce_is_published(const struct ipcring *ring, uint64_t pos)
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

        if (produce_is_published(ring, head + half)) {
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
    int r = ipcring_take_role(ring, ring->producer);

    if (r < 0)
        return r;
    ring->is_producer = true;
    find_head(ring);
    return 0;
}

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

/* --- Many producers --- */

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

/* A full ring may be full of what the dead have left, and no consumer about: with many consumers anybody may
 * do what they would. Return: whether there is room now. */
static bool pass_skipped(struct ipcring *ring)
{
    uint64_t pos = load_tail(ring);
    enum look what;
    uint64_t word;

    if (ring->one_consumer || ring->each)
        return false;
    what = look(ring, pos, &word);
    if (what == LOOK_CLAIMED && ipcring_unblock(ring, pos, word))
        what = LOOK_SKIPPED;
    return what == LOOK_SKIPPED && move_shared_tail(ring, pos, pos + 1);
}

/* Where each sees everything: @word, of the last lap, is in the way of @pos only while it is a claim. Return: 0; -EAGAIN. */
static int check_passable(struct ipcring *ring, uint64_t pos, uint64_t word)
{
    if (ipcring_word_state(word) != IPCRING_CLAIMED)
        return 0;
    return ipcring_unblock(ring, pos - ring->n_slots, word) ? 0 : -EAGAIN;
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
            r = ring->each ? check_passable(ring, pos, word) : check_space(ring, pos);
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

/* --- Any --- */

/* Where each sees everything: the one producer is about to write into @slot, of lap @full. */
static inline void claim_alone(const struct ipcring *ring, _Atomic uint64_t *slot, uint64_t full)
{
    uint64_t claimed = (full & ~(UINT64_C(3) << 32)) | (uint64_t)IPCRING_CLAIMED << 32 | ring->id;

    /* Relaxed: O orders it. */
    atomic_store_explicit(slot, claimed, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* O */
}

/* Return: 0: position reserved_pos is this process's to fill; -EAGAIN; -EIDRM; -EBUSY; -EPROTO. */
static inline int begin_put(struct ipcring *ring)
{
    int r;

    if (__builtin_expect(is_closed(ring), 0))
        return -EIDRM;
    if (ring->is_reserved)
        return -EALREADY;
    if (!ring->one_producer) {
        r = claim(ring);
        if (r == 0 && ring->each)
            atomic_thread_fence(memory_order_release); /* O */
        return r;
    }
    if (__builtin_expect(!ring->is_producer, 0)) {
        r = become_producer(ring);
        if (r < 0)
            return r;
    }
    ring->reserved_pos = ring->next_head;
    if (ring->each) {
        claim_alone(ring, slot_word(ring, ring->next_head),
                    ipcring_word(ipcring_lap(ring->next_head, ring->order), IPCRING_FULL, 0));
        return 0;
    }
    return check_space(ring, ring->next_head);
}

/* Where each sees everything, another producer may wait for a claim that is gone now. */
static inline void wake_producers(struct ipcring *ring)
{
    if (!ring->each)
        return;
    if (__builtin_expect(atomic_load(ring->wait_space) & IPCRING_SLEEPERS, 0)) /* H */
        ipcring_wake_all(ring, ring->wait_space);
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
        ipcring_wake_all(ring, ring->wait_data);
    wake_producers(ring);
    return 0;
}

static inline int produce_now(struct ipcring *ring, const void *data, size_t n_bytes)
{
    int r = begin_put(ring);

    if (r < 0)
        return r;
    copy_in(slot_payload(ring, ring->reserved_pos), data, n_bytes);
    r = publish(ring, n_bytes);
    return r == -ESTALE ? -EAGAIN : r;
}

static __attribute__((noinline)) int slow_produce(struct ipcring *ring, const void *data,
                                                  size_t n_bytes, int64_t timeout_ns)
{
    if (n_bytes > ring->message_bytes)
        return -EMSGSIZE;
    return TRY_UNTIL(ring, IPCRING_WRITABLE, timeout_ns, produce_now(ring, data, n_bytes));
}

/* --- The commonest case --- */

/* Publishes the message; tell_consumers is still to come. */
static inline void put(struct ipcring *ring, uint64_t pos, const void *data, size_t n_bytes)
{
    char *slot = (char *)slot_word(ring, pos);

    take_line(slot + TAKE_AHEAD);
    if (__builtin_expect(ring->each, 0))
        claim_alone(ring, slot_word(ring, pos), ring->put.word);
    copy_in(slot + IPCRING_WORD_BYTES, data, n_bytes);
    atomic_store_explicit((_Atomic uint64_t *)(void *)slot, ring->put.word | n_bytes,
                          memory_order_release); /* A */
    ring->next_head = pos + 1;
}

/* Return: @r. */
static inline int tell_consumers(struct ipcring *ring, int r)
{
    atomic_signal_fence(memory_order_seq_cst); /* H, the compiler's half */
    /* Relaxed, and once for several: as in publish. The run was shorter than a lap, so a successor that
     * starts from the last one finds the true head. */
    atomic_store_explicit(ring->head, ring->next_head, memory_order_relaxed);
    if (__builtin_expect(atomic_load(ring->wait_data) & IPCRING_SLEEPERS, 0)) /* H */
        return ipcring_wake_after(ring, ring->wait_data, r);
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

/* --- The calls --- */

int ipcring_try_produce(struct ipcring *ring, const void *data, size_t n_bytes)
{
    return produce(ring, data, n_bytes, 0);
}

int ipcring_produce(struct ipcring *ring, const void *data, size_t n_bytes, int64_t timeout_ns)
{
    return produce(ring, data, n_bytes, timeout_ns);
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

int ipcring_reserve(struct ipcring *ring, void **ret_data, int64_t timeout_ns)
{
    int r = TRY_UNTIL(ring, IPCRING_WRITABLE, timeout_ns, begin_put(ring));

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
    ipcring_wake_all(ring, ring->wait_data);
    wake_producers(ring);
}
