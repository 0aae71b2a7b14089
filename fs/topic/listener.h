/* A subscription without a name: who has a topic's receiving file open.
 *
 * It is a mailbox that this file alone has, and that is removed with it. */
#ifndef IPCFS_FS_LISTENER_H
#define IPCFS_FS_LISTENER_H

#include "topic_box.h"

struct file;

/* Opens a file that receives from a mailbox, as recv_open. */
typedef int listener_open_file(struct kernel *kernel, struct mbox *mbox, struct file **ret_file);

/* Subscribes @caller to @box's topic: what is published from now on, or is in its history, is for *ret_file, opened
 * by @open_file. Return: 0; -EIDRM; -EDQUOT; -ENOSPC; -ENOMEM. Context: any thread; never waits. */
int listener_open(struct topic_box *box, const struct caller *caller, listener_open_file *open_file,
                  struct file **ret_file);

#endif
