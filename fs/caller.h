/* Who is behind a request: the kernel names a thread, people mean a process. */
#ifndef IPCFS_FS_CALLER_H
#define IPCFS_FS_CALLER_H

#include <sys/types.h>

/* Finds the process of thread @tid, whose request is being answered, so that it can't go away
 * meanwhile. @hint is a guess, often right, or 0.
 * Return: the process's pid; 0 when it is not in sight (another pid namespace). */
pid_t caller_process(pid_t tid, pid_t hint);

#endif
