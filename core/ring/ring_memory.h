/* The memory of one ring: a file, mapped here and by whoever may open it. It is one without a name, which
 * grows and shrinks for nobody; or, for those who can't be given a descriptor, one in a directory, which
 * who may write to it may truncate (truncated.h). Counted by references; the last one unmaps and closes.
 *
 * It counts for its owner, bytes and a descriptor, as long as somebody holds it: the ring whose memory it
 * is, and files that are open. Whoever only looks at it for a moment has a mere reference.
 *
 * Context: any thread; nothing here waits. */
#ifndef IPCFS_CORE_RING_MEMORY_H
#define IPCFS_CORE_RING_MEMORY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/mailbox/quota.h"
#include "ring.h"
#include "truncated.h"

/* Where memory with names is made, and whose it is to be. */
struct ring_home {
    int dir_fd; /* -1: it has none */
    uid_t uid;
    gid_t gid;
};

#define RING_MEMORY_NAME_MAX 24

/* What a ring counts for besides the bytes of its map: what the daemon and the kernel keep about it. */
#define RING_MEMORY_COST_BYTES 8192

struct ring_memory {
    atomic_uint n_refs;
    uint64_t id; /* that no other has, not even one that lies where this one lay */
    int fd;
    int dir_fd;                      /* as in struct ring_home */
    char name[RING_MEMORY_NAME_MAX]; /* in that directory */
    atomic_bool is_unlinked;
    /* A page of this process's alone and the map, side by side, so that the robust list's entry, which is in
     * that page, is as far from the owner's word of each ring. */
    struct robust_list *owner_entry;
    void *map;
    uint64_t n_bytes;
    struct truncated_guard *guard; /* NULL: nobody can truncate it */
    struct ring_geometry geometry; /* our own copy: what is in the map is anybody's */

    struct quota *quota;
    pthread_mutex_t lock;
    /* Under lock: */
    unsigned int n_holders;
    uid_t uid; /* who it counts for */
    bool
        is_charged; /* only between ring_memory_lend() and its end it is not, while somebody holds it */
};

struct robust_list;

/* Return: how far the owner's word of a ring (ring_abi.h) is from its entry, in bytes. */
size_t ring_memory_owner_offset(void);

/* Makes an empty ring, held by the caller, who also has the reference, and charged to @home->uid.
 * @geometry is valid; @home->dir_fd and @quota stay longer than the memory.
 * Return: 0; as quota_charge and quota_charge_fds; -ENOMEM, -ENFILE and the like. */
int ring_memory_new(const struct ring_geometry *geometry, const struct ring_home *home,
                    struct quota *quota, struct ring_memory **ret_memory);

/* Return: @memory, held by one more, who has a reference too. */
struct ring_memory *ring_memory_hold(struct ring_memory *memory);

/* Gives the hold back, and the reference. @memory may be NULL. */
void ring_memory_let_go(struct ring_memory *memory);

/* It counts for @uid from now on. Return: 0; as quota_charge, and nothing has changed. */
int ring_memory_charge_to(struct ring_memory *memory, uid_t uid);

/* Its only holder is about to let go of it, and wants what takes its place to have its room: gives that back
 * early. Where others hold it too, nothing happens. */
void ring_memory_lend(struct ring_memory *memory);

/* The holder keeps it after all. */
void ring_memory_take_back(struct ring_memory *memory);

/* Gives @memory the owner, and the mode, of @old. Return: 0; a negative errno. */
int ring_memory_inherit(struct ring_memory *memory, const struct ring_memory *old);

/* It has no name any more. */
void ring_memory_unlink(struct ring_memory *memory);

static inline bool ring_memory_is_truncated(const struct ring_memory *memory)
{
    return truncated_happened(memory->guard);
}

/* Return: @memory, with a reference more. */
struct ring_memory *ring_memory_ref(struct ring_memory *memory);

/* @memory may be NULL. */
void ring_memory_unref(struct ring_memory *memory);

#endif
