/* A region: a file of shared memory in shm/, as in /dev/shm.
 *
 * Its bytes are a file without a name that the daemon holds (region_bytes.h). With passthrough a mapping of the
 * region is one of that file, and so is what a descriptor that only reads reads; what can write comes here with
 * its reads and writes, so that growth is charged. Without passthrough the kernel's page cache is what is
 * mapped, and writes its pages back here.
 *
 * With passthrough no read of a region may fill the page cache, for nothing would ever take it out of there
 * again: sendfile(2) and splice(2) from a descriptor that can write get EINVAL, and tools read instead.
 *
 * Quota: its size, however it grew, counts for its owner until it is unlinked and nobody has it open, and an
 * empty one with what it costs; so does its descriptor. What is still mapped then can't be seen.
 *
 * Ownership, locks: shm_object.h.
 *
 * Context: any thread, with no lock held; nothing waits. */
#ifndef IPCFS_FS_REGION_H
#define IPCFS_FS_REGION_H

#include "region_bytes.h"

/* Makes an empty one with one reference, the caller's. Return: 0; -ENOMEM; as quota_charge. */
int region_new(struct kernel *kernel, mode_t mode, const struct caller *owner,
               struct region **ret_region);

/* Return: whose node @node is; NULL: it is no region's. */
struct region *region_of_node(struct node *node);

/* Return: 0 with a file that is open with @flags; a negative errno. */
int region_open(struct region *region, int flags, struct file **ret_file);

#endif
