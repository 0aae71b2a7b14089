/* The file `map` of a ring: with passthrough a file whose mapping is one of the ring's memory, without it a
 * symbolic link to that memory: in /dev/shm (ring_dir.h), or for the only user of the mount by the daemon's
 * descriptor.
 *
 * A map is of one memory: a ring that is configured anew gets another memory and with it another map, whose
 * node is another, for the kernel holds a node to the one memory that it was opened with.
 *
 * Ownership: counted by references, of the node and of open files; holds one to the ring's box. The ring
 * remembers its map, in a slot under the box's lock, while there is one. */
#ifndef IPCFS_FS_MAP_H
#define IPCFS_FS_MAP_H

#include "box.h"
#include "core/ring_memory.h"

struct map;

/* Finds the map of @memory in @slot, or makes one and remembers it there. Takes the reference that @memory
 * is over. Return: 0 with the map's node, with one lookup more; -ENOMEM. */
int map_node(struct fs *fs, struct box *box, struct map **slot, struct ring_memory *memory,
             struct node **ret_node);

/* Return: the type and mode of a new map. */
mode_t map_mode(struct fs *fs);

#endif
