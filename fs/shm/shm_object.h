/* What the kinds of things in shm/ have in common: owner, mode, times, names, extended attributes, and
 * what they count for.
 *
 * Quota: an object counts for its owner, with its size or with what it costs the daemon, whichever is more,
 * and its extended attributes beside that; so does a descriptor that it holds. This goes when the
 * last reference does: what is unlinked and still open counts.
 *
 * Ownership: counted by references, of names, nodes and open files.
 * Locks: the object's is taken after the room's; the quota's is a leaf.
 *
 * Context: any thread, with no lock held where it does not say "under lock"; nothing waits. */
#ifndef IPCFS_FS_SHM_OBJECT_H
#define IPCFS_FS_SHM_OBJECT_H

#include <stdatomic.h>

#include "fs/kernel/attr.h"
#include "shm_xattr.h"

struct shm_object;

struct shm_kind {
    const struct node_ops *node_ops;
    mode_t type; /* S_IFREG, S_IFDIR or S_IFLNK */
    /* What one costs the daemon at least, with its node and one name. */
    uint64_t min_bytes;
    /* The last reference is gone: gives back what the kind holds, and frees the object. */
    void (*free)(struct shm_object *object);
};

struct shm_object {
    atomic_uint n_refs;
    struct kernel *kernel;
    const struct shm_kind *kind;
    struct node *node; /* the node table's slot */

    pthread_mutex_t lock;
    /* Under lock: */
    struct attr attr;
    uint64_t n_bytes; /* of a region, or of a symbolic link's target */
    unsigned int n_names;
    struct shm_xattrs xattrs;
    uint64_t n_charged; /* bytes, to attr.uid */
    uint64_t n_fds;     /* charged to attr.uid */
};

/* Makes the zeroed @object one of @n_bytes, with one reference, the caller's, and charges it to @owner.
 * Return: 0; as quota_charge, and nothing is to be given back. */
int shm_object_init(struct shm_object *object, struct kernel *kernel, const struct shm_kind *kind,
                    mode_t mode, const struct caller *owner, uint64_t n_bytes);

/* For a kind's free. */
void shm_object_deinit(struct shm_object *object);

/* Return: @object, with a reference more. */
struct shm_object *shm_object_ref(struct shm_object *object);
void shm_object_unref(struct shm_object *object);

/* Return: 0 with the object's node, with one lookup more; -ENOMEM. */
int shm_object_node(struct shm_object *object, struct node **ret_node);

/* Under lock: it counts with @n_bytes from now on; n_bytes itself stays. Return: 0; as quota_charge, and
 * nothing has changed. */
int shm_object_recharge(struct shm_object *object, uint64_t n_bytes);

/* Under lock: it holds a descriptor, or does no more. Return: 0; as quota_charge_fds. */
int shm_object_charge_fd(struct shm_object *object);
void shm_object_release_fd(struct shm_object *object);

/* Under lock: as attr_change, with what the object counts for. Return: 0; as quota_move. */
int shm_object_change(struct shm_object *object, const struct node_change *change);

/* It has @n_more names more, -1 or 0, and a new ctime. Return: 0; for one more: as quota_charge. */
int shm_object_count_names(struct shm_object *object, int n_more);

/* Its mtime and ctime are now. */
void shm_object_touch(struct shm_object *object);

/* Its attributes change from now on, or have changed, without the kernel: it asks for them again. Context: any
 * thread; it waits for nothing. */
void shm_object_invalidate(struct shm_object *object);

/* For struct node_ops, which says what each returns. */
void shm_object_getattr(struct node *node, struct stat *ret_attr);
int shm_object_setattr(struct node *node, const struct node_change *change);
void shm_object_release(struct node *node);
double shm_object_attr_seconds(struct node *node);

#endif
