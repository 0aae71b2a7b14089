/* What the maker of a ring does in its map: formats it, ends it, and frees what the dead have left in it.
 *
 * The map is the caller's, and anybody may write anything into it: the caller's own copy of the geometry
 * counts, and each walk over slots is bounded. There is no lock; the orderings and their letters are in
 * ring_abi.h. */
#include "ring.h"

#include <errno.h>

#include "core/lib/ring_os.h"

static bool is_each(const struct ring_geometry *geometry)
{
    return geometry->flags & IPCRING_EACH_CONSUMER;
}

int ring_geometry_check(const struct ring_geometry *geometry)
{
    uint32_t slots = geometry->slots;
    uint32_t slot_bytes = geometry->slot_bytes;

    if (slots < IPCRING_SLOTS_MIN || slots > IPCRING_SLOTS_MAX || (slots & (slots - 1)) != 0)
        return -EINVAL;
    if (slot_bytes < IPCRING_SLOT_BYTES_MIN || slot_bytes > IPCRING_SLOT_BYTES_MAX ||
        slot_bytes % 8 != 0)
        return -EINVAL;
    if (is_each(geometry))
        return geometry->flags & ~(IPCRING_EACH_CONSUMER | IPCRING_ONE_PRODUCER) ? -EINVAL : 0;
    return geometry->flags & ~IPCRING_FLAGS ? -EINVAL : 0;
}

uint64_t ring_map_bytes(const struct ring_geometry *geometry)
{
    return IPCRING_AT_SLOT_0 + (uint64_t)geometry->slots * geometry->slot_bytes;
}

static unsigned int order_of(uint32_t slots)
{
    return (unsigned int)__builtin_ctz(slots);
}

/* Every slot is free for the first position that lies in it. */
static void format_slots(void *map, const struct ring_geometry *geometry, uint64_t first_pos)
{
    unsigned int order = order_of(geometry->slots);

    for (uint64_t i = 0; i < geometry->slots; i++) {
        uint64_t pos = first_pos + i;
        uint64_t slot = pos & (geometry->slots - 1);
        uint64_t word = ipcring_word(ipcring_lap(pos, order) - 1, IPCRING_SKIP, 0);

        atomic_store_explicit(ring_u64(map, IPCRING_AT_SLOT_0 + slot * geometry->slot_bytes), word,
                              memory_order_relaxed);
    }
}

int ring_format(void *map, const struct ring_geometry *geometry, uint64_t first_pos)
{
    int r = ring_geometry_check(geometry);

    if (r < 0)
        return r;
    /* Relaxed: nobody looks before the magic is there. */
    atomic_store_explicit(ring_u32(map, IPCRING_AT_VERSION),
                          is_each(geometry) ? IPCRING_VERSION_EACH : IPCRING_VERSION,
                          memory_order_relaxed);
    atomic_store_explicit(ring_u32(map, IPCRING_AT_FLAGS), geometry->flags, memory_order_relaxed);
    atomic_store_explicit(ring_u32(map, IPCRING_AT_SLOTS), geometry->slots, memory_order_relaxed);
    atomic_store_explicit(ring_u32(map, IPCRING_AT_SLOT_BYTES), geometry->slot_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(ring_u64(map, IPCRING_AT_SLOTS_OFFSET), IPCRING_AT_SLOT_0,
                          memory_order_relaxed);
    atomic_store_explicit(ring_u64(map, IPCRING_AT_MAP_BYTES), ring_map_bytes(geometry),
                          memory_order_relaxed);
    atomic_store_explicit(ring_u64(map, IPCRING_AT_PID_NAMESPACE), ipcring_os_pid_namespace(),
                          memory_order_relaxed);
    if (first_pos != 0) {
        format_slots(map, geometry, first_pos);
        atomic_store_explicit(ring_u64(map, IPCRING_AT_HEAD), first_pos, memory_order_relaxed);
        atomic_store_explicit(ring_u64(map, IPCRING_AT_TAIL), first_pos, memory_order_relaxed);
    }
    atomic_store_explicit(ring_u64(map, IPCRING_AT_MAGIC), IPCRING_MAGIC,
                          memory_order_release); /* I, J reads */
    return 0;
}

/* Return: the word at @pos, a claim or not. */
static uint64_t load_word(void *map, const struct ring_geometry *geometry, uint64_t pos,
                          _Atomic uint64_t **ret_slot)
{
    uint64_t at = IPCRING_AT_SLOT_0 + (pos & (geometry->slots - 1)) * geometry->slot_bytes;

    *ret_slot = ring_u64(map, at);
    return atomic_load_explicit(*ret_slot, memory_order_acquire); /* B */
}

/* Return: the slot before which tail stands, if it is claimed, and its word; NULL. */
static _Atomic uint64_t *ring_find_claim(void *map, const struct ring_geometry *geometry,
                                         uint64_t *ret_word)
{
    uint64_t pos = ring_tail(map);
    _Atomic uint64_t *slot;
    uint64_t word = load_word(map, geometry, pos, &slot);

    if (ipcring_word_lap(word) != ipcring_lap(pos, order_of(geometry->slots)) ||
        ipcring_word_state(word) != IPCRING_CLAIMED)
        return NULL;
    *ret_word = word;
    return slot;
}

/* Whom to ask. */
struct judge {
    bool (*is_dead)(void *arg, enum ring_claim claim, uint64_t what);
    void *arg;
};

static bool bury_claim(void *map, const struct ring_geometry *geometry, const struct judge *judge)
{
    uint64_t word;
    _Atomic uint64_t *slot = ring_find_claim(map, geometry, &word);

    if (!slot || !judge->is_dead(judge->arg, RING_CLAIM, word))
        return false;
    if (!atomic_compare_exchange_strong(
            slot, &word, ipcring_word(ipcring_word_lap(word), IPCRING_SKIP, 0))) /* A, H */
        return false;
    ipcring_os_wake(ring_u32(map, IPCRING_AT_WAIT_DATA)); /* H */
    ipcring_os_wake(ring_u32(map, IPCRING_AT_WAIT_SPACE));
    return true;
}

static bool bury_role(void *map, size_t at, enum ring_claim claim, const struct judge *judge)
{
    _Atomic uint32_t *role = ring_u32(map, at);
    uint32_t holder = atomic_load_explicit(role, memory_order_acquire); /* K */

    if (holder == 0 || !judge->is_dead(judge->arg, claim, holder))
        return false;
    return atomic_compare_exchange_strong(role, &holder, 0); /* K */
}

unsigned int ring_bury(void *map, const struct ring_geometry *geometry,
                       bool (*is_dead)(void *arg, enum ring_claim claim, uint64_t what), void *arg)
{
    const struct judge judge = { is_dead, arg };
    unsigned int n = 0;

    n += bury_claim(map, geometry, &judge);
    if (geometry->flags & IPCRING_ONE_PRODUCER)
        n += bury_role(map, IPCRING_AT_PRODUCER, RING_PRODUCER, &judge);
    if (geometry->flags & IPCRING_ONE_CONSUMER)
        n += bury_role(map, IPCRING_AT_CONSUMER, RING_CONSUMER, &judge);
    return n;
}

bool ring_is_blocked(void *map, const struct ring_geometry *geometry)
{
    uint64_t word;

    return ring_find_claim(map, geometry, &word);
}

bool ring_has_next(void *map, const struct ring_geometry *geometry)
{
    uint64_t pos = ring_tail(map);
    _Atomic uint64_t *slot;

    return ipcring_word_lap(load_word(map, geometry, pos, &slot)) ==
           ipcring_lap(pos, order_of(geometry->slots));
}

/* What was found holds as long as tail has not passed it. */
static void skim_from(struct ring_skim *skim, uint64_t tail, uint64_t slots)
{
    if (tail - skim->tail > skim->pos - skim->tail || skim->pos - tail > slots)
        skim->pos = tail;
    skim->tail = tail;
}

enum ring_next ring_look(void *map, const struct ring_geometry *geometry, struct ring_skim *skim)
{
    uint64_t tail = ring_tail(map);

    skim_from(skim, tail, geometry->slots);
    for (unsigned int i = 0; i < RING_STEPS; i++) {
        _Atomic uint64_t *slot;
        uint64_t word = load_word(map, geometry, skim->pos, &slot);

        if (skim->pos - tail >= geometry->slots ||
            ipcring_word_lap(word) != ipcring_lap(skim->pos, order_of(geometry->slots)))
            return RING_NOTHING;
        if (ipcring_word_state(word) == IPCRING_FULL)
            return ipcring_word_low(word) > geometry->slot_bytes - IPCRING_WORD_BYTES
                       ? RING_DAMAGE
                       : RING_MESSAGE;
        if (ipcring_word_state(word) != IPCRING_SKIP)
            return RING_NOTHING;
        skim->pos++;
    }
    return RING_SKIPPED;
}

bool ring_can_pass(void *map, const struct ring_geometry *geometry)
{
    uint64_t pos = ring_tail(map);
    _Atomic uint64_t *slot;
    uint64_t word = load_word(map, geometry, pos, &slot);

    return !(geometry->flags & IPCRING_ONE_CONSUMER) && !is_each(geometry) &&
           ipcring_word_lap(word) == ipcring_lap(pos, order_of(geometry->slots)) &&
           ipcring_word_state(word) == IPCRING_SKIP;
}

uint64_t ring_tail(void *map)
{
    return atomic_load_explicit(ring_u64(map, IPCRING_AT_TAIL), memory_order_acquire); /* N */
}

/* Where each sees everything. Return: whether one claimed the slot of @head a lap ago and has not published it. */
static bool ring_is_occupied(void *map, const struct ring_geometry *geometry, uint64_t head)
{
    _Atomic uint64_t *slot;
    uint64_t word = load_word(map, geometry, head, &slot);

    return !(geometry->flags & IPCRING_ONE_PRODUCER) &&
           ipcring_word_state(word) == IPCRING_CLAIMED &&
           ipcring_word_lap(word) != ipcring_lap(head, order_of(geometry->slots));
}

/* Producers claim, and the one producer fills, in order: it is full when the last slot is not free. */
bool ring_is_full(void *map, const struct ring_geometry *geometry, uint64_t head)
{
    uint64_t tail = ring_tail(map);
    uint64_t last = tail + geometry->slots - 1;
    _Atomic uint64_t *slot;

    if (is_each(geometry))
        return ring_is_occupied(map, geometry, head);
    return head - tail >= geometry->slots ||
           ipcring_word_lap(load_word(map, geometry, last, &slot)) ==
               ipcring_lap(last, order_of(geometry->slots));
}

/* Producers may have come round and overtaken the one who looks. Return: the next position from @pos on of which something
 * can be said, where @word, of its slot, is of a later lap. */
static uint64_t oldest_after(void *map, const struct ring_geometry *geometry, uint64_t pos,
                             uint64_t word)
{
    unsigned int order = order_of(geometry->slots);
    uint32_t ahead = (ipcring_word_lap(word) - ipcring_lap(pos, order)) & IPCRING_LAP_MASK;
    uint64_t oldest = pos + ((uint64_t)(ahead - 1) << order) + 1;
    uint64_t head = atomic_load_explicit(ring_u64(map, IPCRING_AT_HEAD),
                                         memory_order_acquire); /* M */
    uint64_t by_head = head - geometry->slots;

    return by_head - oldest < UINT64_MAX / 2 ? by_head : oldest;
}

/* Where each sees everything, tail is not the consumers': what was found is kept there, for who looks for a claim that is
 * in the way. */
static uint64_t find_published_to_each(void *map, const struct ring_geometry *geometry,
                                       uint64_t pos, bool *ret_more)
{
    unsigned int order = order_of(geometry->slots);

    for (unsigned int i = 0;; i++) {
        _Atomic uint64_t *slot;
        uint64_t word = load_word(map, geometry, pos, &slot);
        uint32_t ahead = (ipcring_word_lap(word) - ipcring_lap(pos, order)) & IPCRING_LAP_MASK;

        if (ahead > IPCRING_LAP_MASK / 2 ||
            (ahead == 0 && ipcring_word_state(word) == IPCRING_CLAIMED))
            break;
        if (i == RING_STEPS) {
            *ret_more = true;
            break;
        }
        pos = ahead == 0 ? pos + 1 : oldest_after(map, geometry, pos, word);
    }
    /* Relaxed: for the daemon alone. */
    atomic_store_explicit(ring_u64(map, IPCRING_AT_TAIL), pos, memory_order_relaxed);
    return pos;
}

bool ring_has_after(void *map, const struct ring_geometry *geometry, uint64_t pos)
{
    _Atomic uint64_t *slot;
    uint64_t word = load_word(map, geometry, pos, &slot);
    uint32_t ahead = (ipcring_word_lap(word) - ipcring_lap(pos, order_of(geometry->slots))) &
                     IPCRING_LAP_MASK;

    return ahead <= IPCRING_LAP_MASK / 2 &&
           (ahead != 0 || ipcring_word_state(word) != IPCRING_CLAIMED);
}

uint64_t ring_find_published(void *map, const struct ring_geometry *geometry, uint64_t pos,
                             bool *ret_more)
{
    uint64_t tail = ring_tail(map);

    *ret_more = false;
    if (is_each(geometry))
        return find_published_to_each(map, geometry, pos, ret_more);
    /* What tail has passed was published, and may have been overwritten since. */
    if (pos - tail > geometry->slots)
        pos = tail;
    for (unsigned int i = 0; pos - tail < geometry->slots; i++) {
        _Atomic uint64_t *slot;
        uint64_t word = load_word(map, geometry, pos, &slot);

        if (ipcring_word_lap(word) != ipcring_lap(pos, order_of(geometry->slots)) ||
            ipcring_word_state(word) == IPCRING_CLAIMED)
            break;
        if (i == RING_STEPS) {
            *ret_more = true;
            break;
        }
        pos++;
    }
    return pos;
}

uint32_t ring_announce(void *map, size_t at, uint64_t *ret_sleep_ns)
{
    uint32_t value = atomic_fetch_or(ring_u32(map, at), IPCRING_SLEEPERS) |
                     IPCRING_SLEEPERS; /* G */

    *ret_sleep_ns = ipcring_os_membarrier() ? IPCRING_SLEEP_NS : RING_SLEEP_UNSURE_NS;
    return value;
}

void ring_end(void *map)
{
    atomic_fetch_or(ring_u32(map, IPCRING_AT_WAIT_DATA), IPCRING_CLOSED);  /* H */
    atomic_fetch_or(ring_u32(map, IPCRING_AT_WAIT_SPACE), IPCRING_CLOSED); /* H */
    ipcring_os_wake(ring_u32(map, IPCRING_AT_WAIT_DATA));
    ipcring_os_wake(ring_u32(map, IPCRING_AT_WAIT_SPACE));
}

bool ring_has_ended(void *map)
{
    /* Relaxed: no memory hangs on it. */
    return atomic_load_explicit(ring_u32(map, IPCRING_AT_WAIT_DATA), memory_order_relaxed) &
           IPCRING_CLOSED;
}
