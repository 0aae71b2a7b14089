/* A directory of shm/: what may be done with the names in it.
 *
 * The kernel has checked before it asks who may, that no directory is moved into itself, and, by the locks
 * that it holds meanwhile, that nobody else changes the same names.
 *
 * Quota: it counts for its owner with what it costs, its name included.
 *
 * Context: before the first request. */
#ifndef IPCFS_FS_SHM_DIR_H
#define IPCFS_FS_SHM_DIR_H

#include "shm_names.h"

/* Makes the top directory, with one reference, the caller's. Return: 0; -ENOMEM. */
int shm_dir_new_top(struct kernel *kernel, struct shm_names *names, mode_t mode,
                    const struct caller *owner, struct shm_dir **ret_dir);

#endif
