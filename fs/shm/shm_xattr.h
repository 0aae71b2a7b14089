/* Extended attributes of what is in shm/: those of users (user.*), as tmpfs keeps them. Of other kinds there
 * are none.
 *
 * Ownership: embedded in a struct shm_object, whose lock guards them, and whose owner they count for. */
#ifndef IPCFS_FS_SHM_XATTR_H
#define IPCFS_FS_SHM_XATTR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct node;
struct shm_xattr;

struct shm_xattrs {
    TAILQ_HEAD(, shm_xattr) list;
    uint64_t n_bytes;    /* what they count for */
    size_t n_list_bytes; /* of their names, as listxattr(2) tells them */
};

void shm_xattrs_init(struct shm_xattrs *xattrs);
void shm_xattrs_deinit(struct shm_xattrs *xattrs);

/* For struct node_ops, of a node whose object is a struct shm_object. */
int shm_xattr_set(struct node *node, const char *name, const char *value, size_t size, int flags);
int shm_xattr_get(struct node *node, const char *name, char **ret_value, size_t *ret_size);
int shm_xattr_list(struct node *node, char **ret_names, size_t *ret_size);
int shm_xattr_remove(struct node *node, const char *name);

#endif
