/* What a request is of.
 *
 * Context: while @req is unanswered; never waits. */
#ifndef IPCFS_FS_REQUEST_H
#define IPCFS_FS_REQUEST_H

#include "kernel.h"

static inline struct kernel *kernel_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

/* Return: the node that @req names, which stays as long as @req. */
static inline struct node *node_of(fuse_req_t req, fuse_ino_t ino)
{
    return node_get(&kernel_of(req)->nodes, ino);
}

#endif
