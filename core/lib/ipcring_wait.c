/* Spinning, sleeping and waking.
 *
 * A call that finds the ring empty or full first spins, for as long as the handle says, then announces itself
 * in a wait word (G) and sleeps there. Whoever changes the ring looks at that word afterwards (H), and wakes
 * all who sleep. Should one die before it looks, nobody sleeps longer than IPCRING_SLEEP_NS at a time.
 *
 * The handle is the calling thread's own, and there is no lock; the wait words lie in the map. Nothing here
 * produces or consumes: the callers try again by themselves (TRY_UNTIL). */
#include "ipcring_internal.h"

#define SPIN_NS_DEFAULT 20000

#define SPINS_PER_LOOK_AT_CLOCK 32
#define TRIES_PER_LOOK_AT_CLOCK 64

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

void ipcring_wake_all(struct ipcring *ring, _Atomic uint32_t *word)
{
    if (ipcring_os_wake(word))
        ring->stat.n_wakes++;
}

int ipcring_wake_after(struct ipcring *ring, _Atomic uint32_t *waiters, int r)
{
    ipcring_wake_all(ring, waiters);
    return r;
}

void ipcring_wake(struct ipcring *ring)
{
    ipcring_wake_all(ring, ring->wait_data);
    ipcring_wake_all(ring, ring->wait_space);
}

/* --- Readiness --- */

/* Return: whether a consume would have something to say. */
static bool wait_is_readable(struct ipcring *ring, uint64_t *ret_sleep_ns)
{
    uint64_t pos = load_tail(ring);
    uint64_t word;
    enum look what = look(ring, pos, &word);

    if (what == LOOK_EMPTY)
        return false;
    if (what != LOOK_CLAIMED)
        return true;
    *ret_sleep_ns = IPCRING_JUDGE_NS;
    return ipcring_unblock(ring, pos, word);
}

/* Return: how many messages there is room for. */
static uint64_t n_free(struct ipcring *ring)
{
    uint64_t head = ring->is_producer ? ring->next_head
                                      : atomic_load_explicit(ring->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(ring->tail, memory_order_acquire); /* D */

    return head - tail <= ring->n_slots ? ring->n_slots - (head - tail) : ring->n_slots;
}

/* Where each sees everything: a producer waits only for one that claimed the slot a lap ago.
 * Return: whether nobody did. */
static bool is_passable(struct ipcring *ring, uint64_t *ret_sleep_ns)
{
    uint64_t pos = atomic_load_explicit(ring->head, memory_order_acquire);            /* M */
    uint64_t word = atomic_load_explicit(slot_word(ring, pos), memory_order_acquire); /* F */

    if (ring->one_producer || ipcring_word_state(word) != IPCRING_CLAIMED ||
        ipcring_word_lap(word) == ipcring_lap(pos, ring->order))
        return true;
    *ret_sleep_ns = IPCRING_JUDGE_NS;
    return ipcring_unblock(ring, pos - ring->n_slots, word);
}

/* Return: whether a produce would have something to say. */
static bool wait_is_writable(struct ipcring *ring, uint64_t *ret_sleep_ns)
{
    uint64_t pos;
    uint64_t word;
    enum look what;

    if (ring->each)
        return is_passable(ring, ret_sleep_ns);
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
    return ipcring_unblock(ring, pos, word);
}

static bool is_ready(struct ipcring *ring, unsigned int event, uint64_t *ret_sleep_ns)
{
    return event == IPCRING_READABLE ? wait_is_readable(ring, ret_sleep_ns)
                                     : wait_is_writable(ring, ret_sleep_ns);
}

/* --- Sleeping --- */

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

/* --- Spinning --- */

/* Return: whether it became ready before it was time to sleep. */
static bool wait_spin(struct ipcring *ring, unsigned int event, uint64_t until_ns)
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

void ipcring_slip(struct ipcring *ring)
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

    ipcring_slip(ring);
    for (int i = 0; i < SPINS_PER_LOOK_AT_CLOCK; i++) {
        if (wait_is_readable(ring, &sleep_ns))
            return true;
        relax();
    }
    return false;
}

/* See FREE_SHARE. Return: whether there is room. */
static bool let_consumer_run(struct ipcring *ring)
{
    uint64_t n = 0;
    uint64_t sleep_ns;

    if (ring->each)
        return is_passable(ring, &sleep_ns);

    for (int i = 0; i < FREE_LOOKS && n < ring->n_slots / FREE_SHARE; i++) {
        for (int k = 0; k < FREE_SPINS_PER_LOOK; k++)
            relax();
        n = n_free(ring);
    }
    return n > 0;
}

int ipcring_wait_for(struct ipcring *ring, unsigned int event, uint64_t deadline_ns,
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
        if (wait_spin(ring, event, until_ns < deadline_ns ? until_ns : deadline_ns))
            return 0;
        now = now_ns();
        if (now >= deadline_ns)
            return -ETIMEDOUT;
    }
    return sleep_once(ring, event, deadline_ns - now);
}

uint64_t ipcring_deadline_of(int64_t timeout_ns)
{
    return timeout_ns < 0 ? UINT64_MAX : now_ns() + (uint64_t)timeout_ns;
}

void ipcring_set_spin(struct ipcring *ring, uint64_t spin_ns)
{
    ring->spin_ns = spin_ns;
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

void ipcring_wait_init(struct ipcring *ring)
{
    ring->spin_ns = SPIN_NS_DEFAULT;
    /* Relaxed: a count of messages starts here, nothing is read by it. */
    ring->slipped_at = atomic_load_explicit(ring->tail, memory_order_relaxed);
    ring->slip_flow = SLIP_FLOW_MIN;
    set_ahead(ring);
}
