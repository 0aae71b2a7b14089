/* The directory proc/: live processes, named by their pids in the daemon's pid namespace. */
#ifndef IPCFS_FS_PROCS_H
#define IPCFS_FS_PROCS_H

#include "fs/kernel/node.h"

/* Of a node whose object is a struct room. */
extern const struct node_ops procs_ops;

/* Return: the pid that @name is; 0: it is none. */
pid_t procs_parse_pid(const char *name);

#endif
