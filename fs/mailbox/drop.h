/* The directory `drop/`: a file that is copied into it is one message.
 *
 * Context: handlers; none waits: a create that has no place is parked. */
#ifndef IPCFS_FS_DROP_H
#define IPCFS_FS_DROP_H

#include <fuse_lowlevel.h>

#include "fs/kernel/node.h"

/* For struct node_ops, which says what each returns, of a node whose object is a struct box. */

/* Creates a file: answers @req, once the mailbox has a place for it. */
void drop_create(struct node *dir, fuse_req_t req, const char *name, mode_t mode,
                 struct fuse_file_info *fi);

/* For struct node_ops, which says what each returns. These find what the caller has sent by that name not long ago
 * (drop_names.h). */
int drop_lookup(struct node *dir, const char *name, const struct caller *caller,
                struct node **ret_node);
int drop_rename(struct node *dir, const char *name, struct node *to_dir, const char *to_name,
                enum names_rename how, const struct caller *caller, struct mbox_ready *ready);
int drop_unlink(struct node *dir, const char *name, const struct caller *caller,
                struct mbox_ready *ready);

#endif
