/* The directory `reply/`: a file for each open question, to be written with its answer (core/mailbox/call.h).
 *
 * Context: handlers; none waits. struct node_ops says what each returns. */
#ifndef IPCFS_FS_REPLY_FILE_H
#define IPCFS_FS_REPLY_FILE_H

#include <fuse_lowlevel.h>

#include "fs/kernel/node.h"

/* For struct node_ops, which says what each returns, of the node of a box's reply/. */
int reply_lookup(struct node *dir, const char *name, struct node **ret_node);
int reply_opendir(struct node *dir, const struct caller *caller);
int reply_list(struct node *dir, struct listing *listing, uint64_t after,
               const struct node_listing *to);
void reply_create(struct node *dir, fuse_req_t req, const char *name, mode_t mode,
                  struct fuse_file_info *fi);

#endif
