/* The file `owner`: who holds it open for writing owns the mailbox, and takes it along when gone. */
#ifndef IPCFS_FS_OWNER_H
#define IPCFS_FS_OWNER_H

#include "fs/kernel/file.h"

struct box;
struct caller;

/* Opens `owner` to be read. Return: 0; -ENOMEM. */
int owner_open(struct fs *fs, struct mbox *mbox, struct file **ret_file);

/* Opens `owner` to be written: makes the caller's process the owner.
 * Return: 0; -EBUSY: there is one; -ESRCH: a caller in another pid namespace; -EIDRM; -ENFILE;
 * -ENOMEM. */
int owner_claim(struct fs *fs, struct box *box, const struct caller *caller,
                struct file **ret_file);

/* Return: whether thread @tid, whose request is being answered, may receive: there is no owner, or
 * it belongs to the owner's process or to a descendant of that. */
bool owner_admits(struct mbox *mbox, pid_t tid);

#endif
