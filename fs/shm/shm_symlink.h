/* A symbolic link in shm/, to wherever one likes. It counts for its owner.
 *
 * Context: a handler; never waits. */
#ifndef IPCFS_FS_SHM_SYMLINK_H
#define IPCFS_FS_SHM_SYMLINK_H

#include "shm_object.h"

/* Makes one that leads to @target, with one reference, the caller's.
 * Return: 0; -ENAMETOOLONG; -ENOMEM; as quota_charge. */
int shm_symlink_new(struct kernel *kernel, const char *target, const struct caller *owner,
                    struct shm_object **ret_object);

/* Of a node whose object is one. */
extern const struct node_ops shm_symlink_node_ops;

#endif
