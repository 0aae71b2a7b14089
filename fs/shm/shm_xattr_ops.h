/* Extended attributes as the kernel asks for them (shm_xattr.h). Context: any thread; nothing here waits. */
#ifndef IPCFS_FS_SHM_XATTR_OPS_H
#define IPCFS_FS_SHM_XATTR_OPS_H

#include "fs/kernel/node.h"

/* For struct node_ops, which says what each returns, of a node whose object is a struct shm_object. */
int shm_xattr_set(struct node *node, const char *name, const char *value, size_t size, int flags);
int shm_xattr_get(struct node *node, const char *name, char **ret_value, size_t *ret_size);
int shm_xattr_list(struct node *node, char **ret_names, size_t *ret_size);
int shm_xattr_remove(struct node *node, const char *name);

#endif
