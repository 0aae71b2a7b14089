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

#include "fs/mailbox/box.h"
#include "core/ring/ring_mbox.h"

struct map;

/* Finds the map of the memory of @ring, which is @box's, in @slot, or makes one and remembers it there.
 * Return: 0 with the map's node, with one lookup more; -ENOENT: the ring was removed; -ENOMEM. */
int map_node(struct kernel *kernel, struct box *box, struct ring_mbox *ring, struct map **slot,
             struct node **ret_node);

/* Return: the type and mode of a new map. */
mode_t map_mode(struct kernel *kernel);

#endif
