/* What a store holds, for who looks without a daemon.
 *
 * Context: a process of one thread. */
#ifndef IPCFS_CORE_STORE_DUMP_H
#define IPCFS_CORE_STORE_DUMP_H

#include "core/mailbox/entry.h"
#include "store_dir.h"

/* Calls @visit for each message that waits in the store at @path, one mailbox after the other, until it returns other than 0.
 * Return: what the last visit returned; 0; a negative errno with one line in @why. */
int store_dump(const char *path, int (*visit)(const struct mbox_entry *entry, void *arg), void *arg,
               char why[STORE_WHY_MAX]);

#endif
