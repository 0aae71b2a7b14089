/* The file `recv`: one message, then end of file, then the next. */
#ifndef IPCFS_FS_RECV_H
#define IPCFS_FS_RECV_H

#include "file.h"
#include "unread.h"

struct recv_file {
    struct file file;
    struct unread unread;
    _Atomic uint64_t seen; /* the id of the last message */
};

/* For struct file_ops, of a file that starts with a struct recv_file. */
void recv_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags);
bool recv_has_unread(struct file *file);
void recv_close(struct file *file);

/* Makes such a file. Return: 0; -ENOMEM. */
int recv_file_new(struct fs *fs, const struct file_ops *ops, struct mbox *mbox,
                  struct file **ret_file);

/* Return: 0; -ENOMEM. */
int recv_open(struct fs *fs, struct mbox *mbox, struct file **ret_file);

/* Opens the bell of a ring (core/ring_mbox.h): a read waits for the ring's next change, a write wakes all
 * who wait. Return: 0; -ENOMEM. */
int recv_open_bell(struct fs *fs, struct mbox *bell, struct file **ret_file);

#endif
