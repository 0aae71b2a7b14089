/* The memory of one ring: a file, mapped here and by whoever may open it. It is one without a name, which
 * grows and shrinks for nobody; or, for those who can't be given a descriptor, one in a directory, which
 * who may write to it may truncate (truncated.h). Counted by references; the last one unmaps and closes.
 *
 * Context: any thread. */
#ifndef IPCFS_CORE_RING_MEMORY_H
#define IPCFS_CORE_RING_MEMORY_H

#include <stdatomic.h>
#include <sys/types.h>

#include "ring.h"
#include "truncated.h"

/* Where memory with names is made, and whose it is to be. */
struct ring_home {
    int dir_fd; /* -1: it has none */
    uid_t uid;
    gid_t gid;
};

#define RING_MEMORY_NAME_MAX 24

struct ring_memory {
    atomic_uint n_refs;
    int fd;
    int dir_fd;                      /* as in struct ring_home */
    char name[RING_MEMORY_NAME_MAX]; /* in that directory */
    atomic_bool is_unlinked;
    void *map;
    uint64_t n_bytes;
    struct truncated_guard *guard; /* NULL: nobody can truncate it */
    struct ring_geometry geometry; /* our own copy: what is in the map is anybody's */
};

/* Makes an empty ring. @geometry is valid; @home->dir_fd stays open longer than the memory.
 * Return: 0; -ENOMEM, -ENFILE and the like. */
int ring_memory_new(const struct ring_geometry *geometry, const struct ring_home *home,
                    struct ring_memory **ret_memory);

/* Gives @memory the owner, and the mode, of @old. Return: 0; a negative errno. */
int ring_memory_inherit(struct ring_memory *memory, const struct ring_memory *old);

/* It has no name any more. */
void ring_memory_unlink(struct ring_memory *memory);

static inline bool ring_memory_is_truncated(const struct ring_memory *memory)
{
    return truncated_happened(memory->guard);
}

struct ring_memory *ring_memory_ref(struct ring_memory *memory);

/* @memory may be NULL. */
void ring_memory_unref(struct ring_memory *memory);

#endif
