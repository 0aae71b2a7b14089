/* Names in shm/: which object is called what in which directory. One table has those of all directories, so
 * that an empty one costs next to nothing.
 *
 * Ownership: a name holds a reference to its object and one to its directory.
 * Locks: the room's (shm.h), held by the caller. */
#ifndef IPCFS_FS_SHM_NAMES_H
#define IPCFS_FS_SHM_NAMES_H

#include "core/base/hash.h"
#include "shm.h"
#include "shm_dir.h"

struct shm_name {
    struct shm_dir *dir;
    struct shm_object *object;
    /* In the order of dir (shm_order.h): */
    uint64_t position;
    size_t place;
    UT_hash_handle hh;
    /* The key: the directory's inode number and the text, without a gap. */
    uint64_t dir_ino;
    char text[];
};

/* Return: NULL: @dir has no such name. */
struct shm_name *shm_names_find(struct shm *shm, const struct shm_dir *dir, const char *text);

/* Enters @object as @text, which is new, in @dir, and takes a reference to it. Return: 0; -ENAMETOOLONG;
 * -ENOMEM. */
int shm_names_add(struct shm *shm, struct shm_dir *dir, const char *text,
                  struct shm_object *object);

/* Removes @name. Return: its object, whose reference is the caller's now. */
struct shm_object *shm_names_take_out(struct shm *shm, struct shm_name *name);

#endif
