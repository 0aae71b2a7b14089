/* Where ipcfs is mounted: found in /proc/self/mountinfo. */
#ifndef IPCFS_TOOLS_CTL_MOUNT_H
#define IPCFS_TOOLS_CTL_MOUNT_H

#include <stdbool.h>

/* Says where it is mounted, to whoever has several. */
#define MOUNT_VARIABLE "IPCFS_MOUNT"

/* Return: the mount point of the mount to use, the caller's to free: the one that the working directory lies in,
 * or that $IPCFS_MOUNT names, or the only one there is for this user. Ends the program where there is none, where
 * there are several, or where its daemon has died. */
char *mount_find(void);

/* The mount that the absolute @path lies in, and *@ret_rest, its path from there ("" for the mount itself). Return:
 * the mount point, both the caller's to free; NULL: it lies in none, and *@ret_rest is as it was. */
char *mount_of(const char *path, char **ret_rest);

/* The same of the working directory, and of a path from there that need not exist. */
char *mount_here(char **ret_rest);
char *mount_of_arg(const char *arg, char **ret_rest);

/* Ends the program, and says why, if there is no mount of ipcfs at @path that answers. */
void mount_check(const char *path);

/* Return: whether @error, positive, says that the daemon is gone: before it was asked, or while it had the question, which over
 * io_uring is ECANCELED. */
bool mount_is_gone(int error);

#endif
