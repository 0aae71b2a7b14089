/* A region: a file of shared memory in shm/, as in /dev/shm.
 *
 * Its bytes are a file without a name that the daemon holds. With passthrough a mapping of the region is one
 * of that file, while read and write come here, so that growth is charged; without it the kernel's page
 * cache is what is mapped, and writes its pages back here.
 *
 * Quota: its size, however it grew, counts for its owner until it is unlinked and nobody has it open. What
 * is still mapped then can't be seen.
 *
 * Ownership: counted by references, of the table of names, of nodes and of open files.
 * Locks: the region's is taken after the table's; the quota's is a leaf. */
#ifndef IPCFS_FS_REGION_H
#define IPCFS_FS_REGION_H

#include "attr.h"

struct region {
    atomic_uint n_refs;
    struct fs *fs;
    int fd;
    struct node *node; /* the node table's slot */

    pthread_mutex_t lock;
    /* Under lock: */
    struct attr attr;
    uint64_t n_bytes;
    int backing_id; /* 0: none yet */
    unsigned int n_names;
};

/* Makes an empty one with one reference, the caller's. Return: 0; -ENOMEM, -ENFILE. */
int region_new(struct fs *fs, mode_t mode, const struct caller *owner, struct region **ret_region);

struct region *region_ref(struct region *region);
void region_unref(struct region *region);

/* Return: whose node @node is; NULL: it is no region's. */
struct region *region_of_node(struct node *node);

/* It has so many names more; 0: another one. */
void region_count_names(struct region *region, int n_more);

/* Return: 0 with the region's node, with one lookup more; -ENOMEM. */
int region_node(struct region *region, struct node **ret_node);

/* Return: 0 with an open file; a negative errno. */
int region_open(struct region *region, struct file **ret_file);

#endif
