/* The directory .ipcfs/: what this mount is, and what goes on in it. */
#ifndef IPCFS_FS_INFO_H
#define IPCFS_FS_INFO_H

#include "fs/kernel/node.h"

/* Of a node whose object is a struct room. */
extern const struct node_ops info_ops;

#endif
