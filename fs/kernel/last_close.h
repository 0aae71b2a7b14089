/* Whether a FLUSH is of the last descriptor that a process has of a file: for those that are sent then.
 *
 * Context: a handler of FLUSH; never waits. */
#ifndef IPCFS_FS_LAST_CLOSE_H
#define IPCFS_FS_LAST_CLOSE_H

#include "file.h"

/* Finds out whether @req, a FLUSH of @file, whose inode number is @ino, is by process @pid and leaves it no
 * descriptor of the file. Calls @go_on with 1 (it does), 0, or -EINTR, now or from another thread, which
 * answers @req. */
void last_close_find_out(struct file *file, fuse_req_t req, pid_t pid, uint64_t ino,
                         void (*go_on)(struct file *file, fuse_req_t req, int is_last));

#endif
