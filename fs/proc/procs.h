/* proc/: each process in sight as a directory, and `self`.
 *
 * Locks: the table's of processes (processes.h); the room's is a leaf.
 *
 * Context: the thread that sets the mount up and takes it down. */
#ifndef IPCFS_FS_PROCS_H
#define IPCFS_FS_PROCS_H

#include "fs/kernel/room.h"
#include "processes.h"

struct procs {
    struct room room;
    struct processes processes;
};

/* @boxes stays its owner's. Return: 0; a negative errno. @procs is to be deinited in any case. Context: before the
 * first request. */
int procs_init(struct procs *procs, struct boxes *boxes, mode_t mode, const struct caller *owner);

/* All processes have been ended, and all nodes freed. */
void procs_deinit(struct procs *procs);

/* For the node whose object is procs->room. */
extern const struct node_ops procs_ops;

#endif
