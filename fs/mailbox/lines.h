/* The file `send.lines`: one line is one message. */
#ifndef IPCFS_FS_LINES_H
#define IPCFS_FS_LINES_H

#include "fs/kernel/file.h"

struct caller;

/* @ino is what stat says of the file. Return: 0; -ENOMEM. */
int lines_open(struct kernel *kernel, struct mbox *mbox, uint64_t ino, const struct caller *caller,
               struct file **ret_file);

#endif
