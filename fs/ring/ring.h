/* A ring as a directory: a box (box.h) whose messages lie in shared memory, which its file `map` is. */
#ifndef IPCFS_FS_RING_H
#define IPCFS_FS_RING_H

#include "fs/mailbox/box.h"
#include "core/ring/ring_mbox.h"

/* Makes an empty ring of the default geometry, charged to @caller, whose directory has @mode. One
 * reference, the caller's. Return: 0; as ring_mbox_init. */
int ring_new(struct kernel *kernel, mode_t mode, const struct caller *caller, struct box **ret_box);

/* Return: 0; -EIDRM. @mbox is a ring's. */
int ring_get_stat(struct mbox *mbox, struct ring_mbox_stat *ret_stat);

#endif
