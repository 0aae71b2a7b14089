/* ring/: boxes (fs/mailbox/box.h) whose messages lie in shared memory, which their file `map` is.
 *
 * A ring's struct is its box's, and lives as long. The room owns what all rings share: the thread that waits
 * on them, and the directory with their memory.
 *
 * Context: the thread that sets the mount up and takes it down, where it does not say otherwise. */
#ifndef IPCFS_FS_RING_H
#define IPCFS_FS_RING_H

#include "core/ring/ring_mbox.h"
#include "core/ring/ring_waiter.h"
#include "fs/mailbox/mboxes.h"
#include "ring_dir.h"

/* The room; its nodes' ops are mboxes_ops. */
struct rings {
    struct mboxes mboxes; /* mkdir makes an empty ring of the default geometry */
    struct ring_waiters waiters;
    struct ring_dir dir;
};

/* @boxes stays its owner's. Context: before the first request. */
void rings_init(struct rings *rings, struct boxes *boxes, mode_t mode, const struct caller *owner);

/* Ends the thread that waits on rings. Context: no request is being answered any more. */
void rings_stop(struct rings *rings);

/* All rings have been removed, and all nodes freed. */
void rings_deinit(struct rings *rings);

/* Return: 0; -EIDRM. @mbox is a ring's. Context: any thread; never waits. */
int ring_get_stat(struct mbox *mbox, struct ring_mbox_stat *ret_stat);

#endif
