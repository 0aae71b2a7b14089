/* The file `send`: one write is one message. */
#ifndef IPCFS_FS_SEND_H
#define IPCFS_FS_SEND_H

#include "file.h"

/* Opens a send file whose messages have priority @prio. Return: 0; -ENOMEM. */
int send_open(struct fs *fs, struct mbox *mbox, unsigned int prio, struct file **ret_file);

#endif
