/* The file `recv`: one message, then end of file, then the next. */
#ifndef IPCFS_FS_RECV_H
#define IPCFS_FS_RECV_H

#include "file.h"

/* Return: 0; -ENOMEM. */
int recv_open(struct fs *fs, struct mbox *mbox, struct file **ret_file);

#endif
