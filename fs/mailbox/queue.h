/* The directory `queue/`: the waiting messages as files.
 *
 * Context: handlers; none waits. struct node_ops says what each returns. */
#ifndef IPCFS_FS_QUEUE_H
#define IPCFS_FS_QUEUE_H

#include "fs/kernel/node.h"

/* For struct node_ops, which says what each returns, of the node of a box's queue/. */
int queue_lookup(struct node *dir, const char *name, struct node **ret_node);
int queue_opendir(struct node *dir, const struct caller *caller);
int queue_list(struct node *dir, struct listing *listing, uint64_t after,
               const struct node_listing *to);
int queue_unlink(struct node *dir, struct fuse_req *req, const char *name,
                 const struct caller *caller, struct mbox_ready *ready);
int queue_rename(struct node *dir, struct fuse_req *req, const char *name, struct node *to_dir,
                 const char *to_name, enum names_rename how, const struct caller *caller,
                 struct mbox_ready *ready);

#endif
