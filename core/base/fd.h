/* File descriptors that are kept: by processes, owners, rings, regions.
 *
 * Each user can make many of them; some are left for those that are needed for a moment. Without one
 * /proc could not be read, which tells who asks.
 *
 * Context: any thread; never blocks. */
#ifndef IPCFS_CORE_FD_H
#define IPCFS_CORE_FD_H

/* @fd was made just now, to be kept; or it failed, with errno.
 * Return: @fd; a negative errno, and it is closed: -ENFILE, too few would be left; -ENFILE for EMFILE too,
 * which would tell callers of their own descriptors. */
int fd_keep(int fd);

#endif
