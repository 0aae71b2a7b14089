/* The rooms of the tree. */
#ifndef IPCFS_FS_TREE_H
#define IPCFS_FS_TREE_H

#include "fs/kernel/room.h"

struct tree {
    struct room root;
    struct room mboxes; /* mbox/ */
    struct room rings;  /* ring/ */
    struct room procs;  /* proc/ */
    struct room info;   /* .ipcfs/ */
};

/* Makes the rooms, shm/ too, owned by @owner, and the root's node, NODE_ROOT_ID. Return: 0; -ENOMEM. */
int tree_init(struct tree *tree, struct kernel *kernel, const struct caller *owner);

/* The nodes have been freed. */
void tree_deinit(struct tree *tree);

#endif
