/* Names in shm/: which object is called what in which directory. One table has those of all directories, so
 * that an empty one costs next to nothing.
 *
 * Ownership: a name holds a reference to its object and one to its directory.
 * Locks: the room's, held by the caller. It is taken before an object's.
 *
 * Context: init and deinit: no request is being answered; the others: under the room's lock. */
#ifndef IPCFS_FS_SHM_NAMES_H
#define IPCFS_FS_SHM_NAMES_H

#include <pthread.h>

#include "core/base/hash.h"
#include "shm_name.h"
#include "shm_object.h"
#include "shm_order.h"

/* Those of all directories. */
struct shm_names {
    pthread_mutex_t lock; /* the room's */
    struct shm_name *table[HASH_N_PARTS];
};

/* A directory as its names know it; shm_dir.h has what may be done with it. */
struct shm_dir {
    struct shm_object object;
    struct shm_names *names; /* the room's */
    /* Under the room's lock: */
    struct shm_order order;
    unsigned int n_subdirs;
    uint64_t parent_ino;
    bool is_removed; /* nothing can be made in it any more */
};

void shm_names_init(struct shm_names *names);

/* Takes all names out. Context: no request is being answered any more. */
void shm_names_deinit(struct shm_names *names);

/* Return: NULL: @dir has no such name. */
struct shm_name *shm_names_find(struct shm_names *names, const struct shm_dir *dir,
                                const char *text);

/* Enters @object as @text, which is new, in @dir, and takes a reference to it. Return: 0; -ENAMETOOLONG;
 * -ENOMEM. */
int shm_names_add(struct shm_names *names, struct shm_dir *dir, const char *text,
                  struct shm_object *object);

/* Removes @name. Return: its object, whose reference is the caller's now. */
struct shm_object *shm_names_take_out(struct shm_names *names, struct shm_name *name);

#endif
