/* The file `map` of a ring: with passthrough a file whose mapping is one of the ring's memory, without it a
 * symbolic link to that memory: in /dev/shm (ring_dir.h), or for the only user of the mount by the daemon's
 * descriptor.
 *
 * A map is of one memory: a ring that is configured anew gets another memory and with it another map, whose
 * node is another, for the kernel holds a node to the one memory that it was opened with.
 *
 * Ownership: counted by references, of the node and of open files; holds one to the ring's box. The ring
 * remembers its map, in a slot under the box's lock, while there is one. Of the memory only open files hold
 * anything: the kernel may keep a node for long after the ring was removed. */
#ifndef IPCFS_FS_MAP_H
#define IPCFS_FS_MAP_H

#include "fs/kernel/backing.h"
#include "fs/mailbox/box.h"
#include "core/ring/ring_mbox.h"
#include "ring_dir.h"

struct map;

/* What a map is of. */
struct map_of {
    struct box *box;
    const struct box_file *file; /* which of its files */
    struct ring_mbox *ring;      /* the box's */
    const struct ring_dir *dir;  /* where the memory may be */
    struct map **slot;           /* the ring's, under box->lock */
};

/* Finds the map of the ring's memory, or makes one and remembers it in its slot.
 * Return: 0 with the map's node, with one lookup more; -ENOENT: the ring was removed; -ENOMEM.
 * Context: any thread; never waits. */
int map_node(const struct map_of *of, struct node **ret_node);

/* Return: the type and mode of a new map. Context: not before the kernel has had its answer to INIT. */
mode_t map_mode(struct backing *backing);

#endif
