/* A directory of shm/: what may be done with the names in it.
 *
 * The kernel has checked before it asks who may, that no directory is moved into itself, and, by the locks
 * that it holds meanwhile, that nobody else changes the same names.
 *
 * Quota: it counts for its owner with what it costs, its name included. */
#ifndef IPCFS_FS_SHM_DIR_H
#define IPCFS_FS_SHM_DIR_H

#include "shm_object.h"
#include "shm_order.h"

struct shm_dir {
    struct shm_object object;
    /* Under the room's lock: */
    struct shm_order order;
    unsigned int n_subdirs;
    uint64_t parent_ino;
    bool is_removed; /* nothing can be made in it any more */
};

/* Makes the top directory, with one reference, the caller's. Return: 0; -ENOMEM. */
int shm_dir_new_top(struct kernel *kernel, mode_t mode, const struct caller *owner,
                    struct shm_dir **ret_dir);

#endif
