/* The rooms mbox/ and ring/: mkdir makes a mailbox, or a ring. */
#ifndef IPCFS_FS_MBOXES_H
#define IPCFS_FS_MBOXES_H

#include "fs/kernel/node.h"

/* Of nodes whose object is a struct room. */
extern const struct node_ops mboxes_ops;
extern const struct node_ops rings_ops;

#endif
