/* The files `recv.lines` and `recv.json`: message after message, a line each, without end; and `work.json`, which is read as
 * `recv.json` is, and has what it read on lease until lines say what became of it, or answer it (held.h).
 *
 * Context: a handler; a read that finds no message is parked. */
#ifndef IPCFS_FS_STREAM_H
#define IPCFS_FS_STREAM_H

#include "fs/kernel/file.h"

/* Return: 0; -ENOMEM. */
int stream_open_lines(struct kernel *kernel, struct mbox *mbox, struct file **ret_file);
int stream_open_json(struct kernel *kernel, struct mbox *mbox, struct file **ret_file);
int stream_open_work(struct kernel *kernel, struct mbox *mbox, struct file **ret_file);

#endif
