/* The files `config` and `stat` of a mailbox.
 *
 * Context: a handler; never waits. */
#ifndef IPCFS_FS_SETTINGS_H
#define IPCFS_FS_SETTINGS_H

#include "fs/kernel/file.h"

/* Return: 0; -ENOMEM. */
int config_open(struct kernel *kernel, struct mbox *mbox, struct file **ret_file);
int stat_open(struct kernel *kernel, struct mbox *mbox, struct file **ret_file);

/* Answers a write of settings with what @configure makes of them. */
void settings_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                    int (*configure)(struct file *file, const char *text, size_t n,
                                     struct mbox_ready *ready));

#endif
