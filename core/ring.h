/* A ring's memory, as its maker sees it: geometry, formatting, the end. What producers and
 * consumers do in it is in ipcring.h, which the engine uses as everybody else does.
 *
 * Ownership: the memory is the caller's, page-aligned and shared.
 *
 * Context: any thread; nothing blocks. */
#ifndef IPCFS_CORE_RING_H
#define IPCFS_CORE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring_abi.h"

struct ring_geometry {
    uint32_t slots;      /* a power of two */
    uint32_t slot_bytes; /* a multiple of 8, the slot's word included */
    uint32_t flags;      /* IPCRING_ONE_PRODUCER, IPCRING_ONE_CONSUMER */
};

#define RING_GEOMETRY_DEFAULT                                                                      \
    ((struct ring_geometry){ .slots = 1024, .slot_bytes = 1024, .flags = 0 })

/* Return: 0; -EINVAL: no ring can be like that. */
int ring_geometry_check(const struct ring_geometry *geometry);

/* Return: how many bytes the map of a ring with this geometry, which is valid, has. */
uint64_t ring_map_bytes(const struct ring_geometry *geometry);

/* Makes an empty ring of zeroed memory of ring_map_bytes(). Positions start at @first_pos: 0, where
 * no slot needs to be touched, or for tests just below a wrap.
 * Return: 0; -EINVAL: a bad geometry. */
int ring_format(void *map, const struct ring_geometry *geometry, uint64_t first_pos);

/* Asks @is_dead about the id, if there is one, whose claim stands before tail, and about those that hold
 * the role of the one producer or consumer; what a dead one held is free again, and its claim skipped.
 * Clients judge those of their own pid namespace, so who sees more does it for all.
 * @geometry is the caller's own copy. Return: how many were dead.
 * Context: any thread; @is_dead may block. */
unsigned int ring_bury(void *map, const struct ring_geometry *geometry,
                       bool (*is_dead)(uint32_t id));

/* Return: whether a claim stands before tail. */
bool ring_is_blocked(void *map, const struct ring_geometry *geometry);

enum ring_next {
    RING_NOTHING, /* or what the dead have left, or a claim, or what makes no sense */
    RING_MESSAGE,
    RING_DAMAGE, /* a message that can't be one: longer than a slot */
};

/* Return: what a consumer would find. */
enum ring_next ring_look(void *map, const struct ring_geometry *geometry);

/* Return: whether a producer may move tail past what the dead have left, and so find room. */
bool ring_can_pass(void *map, const struct ring_geometry *geometry);

/* Finds the first position from @pos on, which was one once, that is neither published nor skipped.
 * Return: that; what lies between tail and it can be consumed. */
uint64_t ring_find_published(void *map, const struct ring_geometry *geometry, uint64_t pos);

uint64_t ring_tail(void *map);

/* Announces a sleeper on a wait word, at IPCRING_AT_WAIT_DATA or IPCRING_AT_WAIT_SPACE: G of ring_abi.h.
 * Then look, and sleep while the word has the value.
 * Return: the value. *@ret_sleep_ns is how long one may sleep at most. */
uint32_t ring_announce(void *map, size_t at, uint64_t *ret_sleep_ns);

/* Ends the ring: all who use it, and all who sleep, get -EIDRM. */
void ring_end(void *map);

#endif
