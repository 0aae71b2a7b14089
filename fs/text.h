/* The files `config` and `stat`: short texts made when they are read. */
#ifndef IPCFS_FS_TEXT_H
#define IPCFS_FS_TEXT_H

#include "file.h"

/* Return: 0; -ENOMEM. */
int config_open(struct fs *fs, struct mbox *mbox, struct file **ret_file);
int stat_open(struct fs *fs, struct mbox *mbox, struct file **ret_file);

#endif
