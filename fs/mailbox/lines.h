/* Files of which each line that is written becomes a message: `send.lines`, whose lines are the messages' bytes, and
 * `send.json`, whose lines say what to send (json_line.h).
 *
 * Context: a handler; never waits. */
#ifndef IPCFS_FS_LINES_H
#define IPCFS_FS_LINES_H

#include "fs/kernel/file.h"

struct caller;
struct kernel;

/* @ino is what stat says of the file. Return: 0; -ENOMEM. */
int lines_open(struct kernel *kernel, struct mbox *mbox, uint64_t ino, const struct caller *caller,
               struct file **ret_file);
int lines_open_json(struct kernel *kernel, struct mbox *mbox, uint64_t ino,
                    const struct caller *caller, struct file **ret_file);

#endif
