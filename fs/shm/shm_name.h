/* One name in shm/: under which an object is found in a directory.
 *
 * Ownership: it holds a reference to its object and one to its directory. Locks: the room's (shm_names.h). */
#ifndef IPCFS_FS_SHM_NAME_H
#define IPCFS_FS_SHM_NAME_H

#include "core/base/hash.h"

struct shm_dir;
struct shm_object;

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

#endif
