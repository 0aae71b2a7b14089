/* The files `config` and `stat` of a mailbox. */
#ifndef IPCFS_FS_SETTINGS_H
#define IPCFS_FS_SETTINGS_H

#include "file.h"

/* Return: 0; -ENOMEM. */
int config_open(struct fs *fs, struct mbox *mbox, struct file **ret_file);
int stat_open(struct fs *fs, struct mbox *mbox, struct file **ret_file);

#endif
