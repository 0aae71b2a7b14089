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

#include "core/lib/ring_abi.h"

struct ring_geometry {
    uint32_t slots;      /* a power of two */
    uint32_t slot_bytes; /* a multiple of 8, the slot's word included */
    uint32_t flags;      /* IPCRING_ONE_PRODUCER, IPCRING_ONE_CONSUMER, IPCRING_EACH_CONSUMER */
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

/* What somebody who may be dead holds. */
enum ring_claim {
    RING_CLAIM,    /* the slot before which tail stands */
    RING_PRODUCER, /* the role of the one producer */
    RING_CONSUMER,
    RING_N_CLAIMS,
};

/* Asks @is_dead about each that somebody holds: @what is the slot's word or the role's, whose low half is the
 * holder's id. What a dead one held is free again, and its claim skipped. Clients judge those of their own pid
 * namespace, so who sees more does it for all.
 * @geometry is the caller's own copy. Return: how many were dead. */
unsigned int ring_bury(void *map, const struct ring_geometry *geometry,
                       bool (*is_dead)(void *arg, enum ring_claim claim, uint64_t what), void *arg);

/* Return: whether a claim stands before tail. */
bool ring_is_blocked(void *map, const struct ring_geometry *geometry);

/* Return: whether what stands at tail is of its lap: a message, or what was skipped, or a claim. */
bool ring_has_next(void *map, const struct ring_geometry *geometry);

/* Whoever maps a ring can have it hold whatever he likes, in as many slots as it has. So who looks for
 * something takes RING_STEPS at a time, and goes on another time. */
#define RING_STEPS 4096U

enum ring_next {
    RING_NOTHING, /* or a claim, or what makes no sense */
    RING_MESSAGE,
    RING_DAMAGE,  /* a message that can't be one: longer than a slot */
    RING_SKIPPED, /* what the dead have left, so far: look again */
};

/* How far it was found that all is skipped. Zeroed: not at all. */
struct ring_skim {
    uint64_t tail;
    uint64_t pos;
};

/* Return: what a consumer would find. */
enum ring_next ring_look(void *map, const struct ring_geometry *geometry, struct ring_skim *skim);

/* Return: whether a producer may move tail past what the dead have left, and so find room. */
bool ring_can_pass(void *map, const struct ring_geometry *geometry);

/* Return: whether there is no room, also where head is not what it should be because its producer died. */
bool ring_is_full(void *map, const struct ring_geometry *geometry, uint64_t head);

/* Finds the first position from @pos on, which was one once, that is neither published nor skipped.
 * Return: that; what lies between tail and it can be consumed. *@ret_more: it may lie further on. Where each sees
 * everything it is what tail says then. */
uint64_t ring_find_published(void *map, const struct ring_geometry *geometry, uint64_t pos,
                             bool *ret_more);

/* Where each sees everything. Return: whether a consumer at @pos would find something: a message, what was skipped, or
 * that it was overtaken. */
bool ring_has_after(void *map, const struct ring_geometry *geometry, uint64_t pos);

/* Return: the position that is consumed next. */
uint64_t ring_tail(void *map);

/* Announces a sleeper on a wait word, at IPCRING_AT_WAIT_DATA or IPCRING_AT_WAIT_SPACE: G of ring_abi.h.
 * Then look, and sleep while the word has the value.
 * Return: the value. *@ret_sleep_ns is how long one may sleep at most. */
uint32_t ring_announce(void *map, size_t at, uint64_t *ret_sleep_ns);

/* Ends the ring: all who use it, and all who sleep, get -EIDRM. */
void ring_end(void *map);

/* Return: whether its users are told so. */
bool ring_has_ended(void *map);

#endif
