/* The file `owner`: who holds it open for writing owns the mailbox, and takes it along when gone.
 *
 * Context: a handler; never waits. */
#ifndef IPCFS_FS_OWNER_H
#define IPCFS_FS_OWNER_H

#include "fs/kernel/file.h"

struct box;
struct caller;

/* Opens `owner` to be read. Return: 0; -ENOMEM. */
int owner_open(struct kernel *kernel, struct mbox *mbox, struct file **ret_file);

/* Opens `owner` to be written: makes the caller's process the owner.
 * Return: 0; -EBUSY: there is one; -ESRCH: a caller in another pid namespace; -EIDRM; -ENFILE;
 * -ENOMEM. */
int owner_claim(struct box *box, const struct caller *caller, struct file **ret_file);

/* Return: 0: @caller may receive: there is no owner, or it belongs to the owner's process or to a descendant of
 * that; -EBUSY; CALLER_ASKS. */
int owner_admit(struct mbox *mbox, const struct caller *caller);

/* As owner_admit, for a file's ops. Return: as that. */
int owner_admit_reader(struct file *file, const struct caller *caller);

#endif
