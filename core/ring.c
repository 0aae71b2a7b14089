#include "ring.h"

#include <errno.h>

#include "ring_map.h"

int ring_geometry_check(const struct ring_geometry *geometry)
{
    uint32_t slots = geometry->slots;
    uint32_t slot_bytes = geometry->slot_bytes;

    if (slots < IPCRING_SLOTS_MIN || slots > IPCRING_SLOTS_MAX || (slots & (slots - 1)) != 0)
        return -EINVAL;
    if (slot_bytes < IPCRING_SLOT_BYTES_MIN || slot_bytes > IPCRING_SLOT_BYTES_MAX ||
        slot_bytes % 8 != 0)
        return -EINVAL;
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
    atomic_store_explicit(ring_u32(map, IPCRING_AT_VERSION), IPCRING_VERSION, memory_order_relaxed);
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
static _Atomic uint64_t *find_claim(void *map, const struct ring_geometry *geometry,
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

static bool bury_claim(void *map, const struct ring_geometry *geometry,
                       bool (*is_dead)(uint32_t id))
{
    uint64_t word;
    _Atomic uint64_t *slot = find_claim(map, geometry, &word);

    if (!slot || !is_dead(ipcring_word_low(word)))
        return false;
    if (!atomic_compare_exchange_strong(slot, &word,
                                        ipcring_word(ipcring_word_lap(word), IPCRING_SKIP, 0)))
        return false;
    ipcring_os_wake(ring_u32(map, IPCRING_AT_WAIT_DATA)); /* H */
    ipcring_os_wake(ring_u32(map, IPCRING_AT_WAIT_SPACE));
    return true;
}

static bool bury_role(_Atomic uint32_t *role, bool (*is_dead)(uint32_t id))
{
    uint32_t holder = atomic_load_explicit(role, memory_order_acquire); /* K */

    if (holder == 0 || !is_dead(holder))
        return false;
    return atomic_compare_exchange_strong(role, &holder, 0); /* K */
}

unsigned int ring_bury(void *map, const struct ring_geometry *geometry,
                       bool (*is_dead)(uint32_t id))
{
    unsigned int n = 0;

    n += bury_claim(map, geometry, is_dead);
    n += bury_role(ring_u32(map, IPCRING_AT_PRODUCER), is_dead);
    n += bury_role(ring_u32(map, IPCRING_AT_CONSUMER), is_dead);
    return n;
}

bool ring_is_blocked(void *map, const struct ring_geometry *geometry)
{
    uint64_t word;

    return find_claim(map, geometry, &word);
}

enum ring_next ring_look(void *map, const struct ring_geometry *geometry)
{
    uint64_t pos = ring_tail(map);

    for (uint32_t n = 0; n < geometry->slots; n++, pos++) {
        _Atomic uint64_t *slot;
        uint64_t word = load_word(map, geometry, pos, &slot);

        if (ipcring_word_lap(word) != ipcring_lap(pos, order_of(geometry->slots)))
            break;
        if (ipcring_word_state(word) == IPCRING_FULL)
            return ipcring_word_low(word) > geometry->slot_bytes - IPCRING_WORD_BYTES
                       ? RING_DAMAGE
                       : RING_MESSAGE;
        if (ipcring_word_state(word) != IPCRING_SKIP)
            break;
    }
    return RING_NOTHING;
}

bool ring_can_pass(void *map, const struct ring_geometry *geometry)
{
    uint64_t pos = ring_tail(map);
    _Atomic uint64_t *slot;
    uint64_t word = load_word(map, geometry, pos, &slot);

    return !(geometry->flags & IPCRING_ONE_CONSUMER) &&
           ipcring_word_lap(word) == ipcring_lap(pos, order_of(geometry->slots)) &&
           ipcring_word_state(word) == IPCRING_SKIP;
}

uint64_t ring_tail(void *map)
{
    return atomic_load_explicit(ring_u64(map, IPCRING_AT_TAIL), memory_order_acquire);
}

uint64_t ring_find_published(void *map, const struct ring_geometry *geometry, uint64_t pos)
{
    uint64_t tail = ring_tail(map);

    /* What tail has passed was published, and may have been overwritten since. */
    if (pos - tail > geometry->slots)
        pos = tail;
    while (pos - tail < geometry->slots) {
        _Atomic uint64_t *slot;
        uint64_t word = load_word(map, geometry, pos, &slot);

        if (ipcring_word_lap(word) != ipcring_lap(pos, order_of(geometry->slots)) ||
            ipcring_word_state(word) == IPCRING_CLAIMED)
            break;
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
    atomic_fetch_or(ring_u32(map, IPCRING_AT_WAIT_DATA), IPCRING_CLOSED);
    atomic_fetch_or(ring_u32(map, IPCRING_AT_WAIT_SPACE), IPCRING_CLOSED);
    ipcring_os_wake(ring_u32(map, IPCRING_AT_WAIT_DATA));
    ipcring_os_wake(ring_u32(map, IPCRING_AT_WAIT_SPACE));
}
