/* Consuming: find the word of the slot at tail FULL in its lap (B), copy the payload, advance tail (C), and look
 * for sleepers (H).
 *
 * The commonest case comes first and by itself: one consumer, with a message at hand in its run. All else is
 * consume_slow's. With one consumer, the role is the handle's and next_tail is the true tail. With many, tail
 * moves by compare-and-swap, and a copy counts only once that has succeeded. Whoever dies before C has taken
 * nothing.
 *
 * The handle is the calling thread's own, and there is no lock. */
#include "ipcring_internal.h"

#include "ipcring_copy.h"

/* Messages that a batch takes with one store of tail. */
#define BATCH_MAX 64

/* Looks that a consumer takes at once, without a pause: the next message is often on its way. */
#define FIRST_SPINS 256

/* After a change of next_tail. */
static __attribute__((noinline)) void aim_get(struct ipcring *ring)
{
    ring->get = run_from(ring, ring->next_tail, ring->n_ahead);
}

static int become_consumer(struct ipcring *ring)
{
    int r = ipcring_take_role(ring, ring->consumer);

    if (r < 0)
        return r;
    ring->is_consumer = true;
    ring->next_tail = atomic_load_explicit(ring->tail, memory_order_relaxed); /* K ordered it */
    stop_get(ring);
    return 0;
}

static inline int begin_to_consume(struct ipcring *ring)
{
    if (__builtin_expect(is_closed(ring), 0))
        return -EIDRM;
    if (ring->one_consumer && __builtin_expect(!ring->is_consumer, 0))
        return become_consumer(ring);
    return 0;
}

/* Moves tail from @from to @to, if no other consumer has. Return: whether it did. */
static inline bool move_tail(struct ipcring *ring, uint64_t from, uint64_t to)
{
    if (!ring->one_consumer)
        return move_shared_tail(ring, from, to);
    ring->next_tail = to;
    aim_get(ring);
    store_and_wake(ring, ring->tail, to, ring->wait_space);
    return true;
}

/* Tail is at @pos, where nothing can be taken: @what was found, @word.
 * Return: -EAGAIN; -EPROTO; 0: look again. */
static int nothing_at(struct ipcring *ring, uint64_t pos, enum look what, uint64_t word)
{
    if (what == LOOK_EMPTY)
        return -EAGAIN;
    if (what == LOOK_CLAIMED)
        return ipcring_unblock(ring, pos, word) ? 0 : -EAGAIN;
    /* B with E: were this a race, tail would have moved. */
    return load_tail(ring) == pos ? -EPROTO : 0;
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

static inline int consume_take(struct ipcring *ring, struct ipcring_msg *msgs, unsigned int n)
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
    int r = consume_take(ring, &msg, 1);

    return r < 0 ? r : (int)msg.n_bytes;
}

/* --- The commonest case --- */

static inline int tell_producers(struct ipcring *ring, int r)
{
    atomic_store_explicit(ring->tail, ring->next_tail, memory_order_release);  /* C */
    atomic_signal_fence(memory_order_seq_cst);                                 /* H */
    if (__builtin_expect(atomic_load(ring->wait_space) & IPCRING_SLEEPERS, 0)) /* H */
        return ipcring_wake_after(ring, ring->wait_space, r);
    return r;
}

/* Return: the length of the message in @slot of the run; more than any has: look closer. */
static inline uint64_t consume_length_in(const struct ipcring *ring, _Atomic uint64_t *slot)
{
    /* In any other state or lap a bit of the high half is left. */
    return atomic_load_explicit(slot, memory_order_acquire) ^ ring->get.word; /* B */
}

/* Return: whether @slot of the run holds a message. */
static inline bool is_full(const struct ipcring *ring, _Atomic uint64_t *slot)
{
    return consume_length_in(ring, slot) <= ring->message_bytes;
}

/* One consumer has come to its run's end, or found nothing. Return: whether a message is there now, in
 * the run. */
static bool wait_in_run(struct ipcring *ring)
{
    _Atomic uint64_t *slot = slot_word(ring, ring->next_tail);

    if (!ring->is_consumer || ring->is_shown || ring->spin_ns == 0)
        return false;
    ipcring_slip(ring);
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

static __attribute__((noinline)) int consume_slow(struct ipcring *ring, void *data,
                                                  size_t max_bytes, int64_t timeout_ns)
{
    if (timeout_ns != 0 && wait_in_run(ring)) {
        uint64_t n = consume_length_in(ring, slot_word(ring, ring->next_tail));

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
        return consume_slow(ring, data, max_bytes, timeout_ns);
    n = consume_length_in(ring, slot);
    if (__builtin_expect(n > ring->message_bytes || n > max_bytes, 0))
        return consume_slow(ring, data, max_bytes, timeout_ns);
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
        uint64_t n_bytes = consume_length_in(ring, slot);

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

/* --- The calls --- */

int ipcring_try_consume(struct ipcring *ring, void *data, size_t max_bytes)
{
    if (__builtin_expect(ring->each, 0))
        return ipcring_each_consume(ring, data, max_bytes, 0);
    return consume(ring, data, max_bytes, 0);
}

int ipcring_consume(struct ipcring *ring, void *data, size_t max_bytes, int64_t timeout_ns)
{
    if (__builtin_expect(ring->each, 0))
        return ipcring_each_consume(ring, data, max_bytes, timeout_ns);
    return consume(ring, data, max_bytes, timeout_ns);
}

int ipcring_consume_batch(struct ipcring *ring, struct ipcring_msg *msgs, unsigned int n,
                          int64_t timeout_ns)
{
    unsigned int count;

    if (n == 0)
        return -EINVAL;
    if (n > BATCH_MAX)
        n = BATCH_MAX;
    if (ring->each)
        return ipcring_each_consume_batch(ring, msgs, n, timeout_ns);
    count = consume_at_hand(ring, msgs, n);
    if (count > 0)
        return (int)count;
    if (timeout_ns != 0 && wait_in_run(ring)) {
        count = consume_at_hand(ring, msgs, n);
        if (count > 0)
            return (int)count;
    }
    return TRY_UNTIL(ring, IPCRING_READABLE, timeout_ns, consume_take(ring, msgs, n));
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
