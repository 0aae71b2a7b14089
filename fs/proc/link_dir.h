/* The directory `link/` of a process. For struct node_ops, of the node of a process's link/.
 *
 * Context: any thread; nothing here waits. */
#ifndef IPCFS_FS_LINK_DIR_H
#define IPCFS_FS_LINK_DIR_H

#include <fuse_lowlevel.h>

#include "fs/kernel/node.h"

/* For struct node_ops, which says what each returns. */
int link_dir_lookup(struct node *dir, const char *name, const struct caller *caller,
                    struct node **ret_node);
int link_dir_list(struct node *dir, struct listing *listing);

/* A shell's `<>` and `>` ask for a file to be made where there is none: there is no such process. */
void link_dir_create(struct node *dir, fuse_req_t req, const char *name, mode_t mode,
                     struct fuse_file_info *fi);

#endif
