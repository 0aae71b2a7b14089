/* The room shm/: regions, directories and symbolic links, as /dev/shm has them.
 *
 * Names here change only through the kernel, which therefore keeps names and attributes and asks again only
 * for what it has changed itself. Only a mapped region's times move without it (region.h).
 *
 * Ownership: each name holds a reference to what it stands for, and the room one to its top directory.
 * Locks: the room's, for all its names, is taken before an object's (shm_object.h).
 *
 * Context: any thread; init and deinit: no request is being answered. */
#ifndef IPCFS_FS_SHM_H
#define IPCFS_FS_SHM_H

#include "shm_dir.h"

struct shm {
    struct shm_names names;
    struct shm_dir *top; /* a reference */
};

/* Makes the room with an empty top directory, of @owner's. Return: 0; -ENOMEM. */
int shm_init(struct shm *shm, struct kernel *kernel, const struct caller *owner);

/* Unlinks what is left. All nodes and files are gone. Also for a room that shm_init() failed to make. */
void shm_deinit(struct shm *shm);

/* Return: 0 with the top directory's node, with one lookup more; -ENOMEM. */
int shm_node(struct shm *shm, struct node **ret_node);

/* Return: the top directory's inode number. */
uint64_t shm_ino(const struct shm *shm);

#endif
