/* The directory `drop/`: a file that is copied into it is one message. */
#ifndef IPCFS_FS_DROP_H
#define IPCFS_FS_DROP_H

#include <fuse_lowlevel.h>

#include "node.h"

struct box;

/* Creates a file in @box's drop/: answers @req, once the mailbox has a place for it. */
void drop_create(struct box *box, fuse_req_t req, mode_t mode, struct fuse_file_info *fi);

#endif
