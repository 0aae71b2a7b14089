/* The file `bell` of a ring: for languages without futexes.
 *
 * An open file holds a reference to the ring's bell, a mailbox of the engine (core/ring/ring_mbox.h). */
#ifndef IPCFS_FS_BELL_H
#define IPCFS_FS_BELL_H

#include "fs/kernel/file.h"

/* Opens @bell: a read waits for the ring's next change, a write wakes all who wait.
 * Return: 0; -ENOMEM. Context: any thread; never waits. */
int bell_open(struct kernel *kernel, struct mbox *bell, struct file **ret_file);

#endif
