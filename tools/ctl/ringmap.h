/* A ring's map, looked at and not touched: for dump, and to say who has a role.
 *
 * The map is shared with producers and consumers that go on meanwhile, and that may be hostile: each word
 * is loaded once, and the geometry is a copy that was checked. */
#ifndef IPCFS_TOOLS_CTL_RINGMAP_H
#define IPCFS_TOOLS_CTL_RINGMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ringmap {
    const unsigned char *map;
    size_t map_bytes;
    uint32_t version;
    uint32_t flags;
    uint32_t slots;
    uint32_t slot_bytes;
    uint64_t pid_namespace;
    unsigned int order; /* slots = 2^order */
};

/* Return: 0, and @ret is to be closed; the negative errno of open(2) or mmap(2); -EPROTO: it is no ring,
 * and *@ret_wrong, a constant, says why. */
int ringmap_open(const char *path, struct ringmap *ret, const char **ret_wrong);
void ringmap_close(struct ringmap *ringmap);

/* Loads the word @at bytes into the map, IPCRING_AT_*; with acquire. */
uint32_t ringmap_u32(const struct ringmap *ringmap, size_t at);
uint64_t ringmap_u64(const struct ringmap *ringmap, size_t at);

/* Return: the first position that is held: tail; where each consumer sees everything, the oldest there is. */
uint64_t ringmap_first(const struct ringmap *ringmap);

enum slot_state { SLOT_FREE, SLOT_FULL, SLOT_CLAIMED, SLOT_SKIPPED, SLOT_DAMAGED };

extern const char *const slot_states[];

struct slot {
    uint64_t pos;
    uint32_t index;
    enum slot_state state;
    uint32_t claimer; /* its id, while claimed */
    char *message;    /* a copy of the message, while full; the caller's to free */
    size_t n_bytes;
};

/* What lies at position @pos, as it is at one moment. */
void ringmap_slot(const struct ringmap *ringmap, uint64_t pos, struct slot *ret);

enum life { LIFE_UNKNOWN, LIFE_LIVES, LIFE_DEAD };

/* Who an id stands for, as far as can be seen from here. */
pid_t ringmap_pid(uint32_t id);
enum life ringmap_judge(const struct ringmap *ringmap, uint32_t id);

/* Return: "process 4242 (sh)", "process 4242, dead"; the caller's to free. */
char *ringmap_show_id(const struct ringmap *ringmap, uint32_t id);

#endif
