/* The directory mbox/: mkdir makes a mailbox. */
#ifndef IPCFS_FS_MBOXES_H
#define IPCFS_FS_MBOXES_H

#include "node.h"

/* Of a node whose object is a struct room. */
extern const struct node_ops mboxes_ops;

#endif
