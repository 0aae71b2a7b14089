/* The file `call`: a write is a question, and the next reads are its answer (core/mailbox/call.h).
 *
 * Context: a handler; never waits. */
#ifndef IPCFS_FS_CALL_FILE_H
#define IPCFS_FS_CALL_FILE_H

#include "fs/kernel/file.h"

/* Opens a file to ask @mbox, for user @uid. Return: 0; -EDQUOT; -ENOSPC; -ENOMEM. */
int call_open(struct kernel *kernel, struct mbox *mbox, uid_t uid, struct file **ret_file);

#endif
