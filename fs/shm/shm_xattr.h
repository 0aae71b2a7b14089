/* Extended attributes of what is in shm/: those of users (user.*), as tmpfs keeps them. Of other kinds there
 * are none.
 *
 * Ownership: embedded in a struct shm_object, whose lock guards them, and whose owner they count for.
 *
 * Context: under the object's lock. */
#ifndef IPCFS_FS_SHM_XATTR_H
#define IPCFS_FS_SHM_XATTR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct shm_xattr {
    TAILQ_ENTRY(shm_xattr) link;
    size_t size; /* of the value */
    char *value; /* behind the name */
    char name[];
};

struct shm_xattrs {
    TAILQ_HEAD(, shm_xattr) list;
    uint64_t n_bytes;    /* what they count for */
    size_t n_list_bytes; /* of their names, as listxattr(2) tells them */
};

void shm_xattrs_init(struct shm_xattrs *xattrs);
void shm_xattrs_deinit(struct shm_xattrs *xattrs);

/* Return: an attribute that is in no list; NULL when memory is short. */
struct shm_xattr *shm_xattr_new(const char *name, const char *value, size_t size);

/* Return: what @xattr counts for; 0 for NULL. */
uint64_t shm_xattr_cost(const struct shm_xattr *xattr);

/* Return: how much longer the list of names is with @xattr; 0 for NULL. */
size_t shm_xattr_listed_bytes(const struct shm_xattr *xattr);

/* Return: NULL: there is none called @name. Context: under the object's lock. */
struct shm_xattr *shm_xattrs_find(struct shm_xattrs *xattrs, const char *name);

#endif
