/* Where ipcfs is mounted. */
#ifndef IPCFS_TOOLS_CTL_MOUNT_H
#define IPCFS_TOOLS_CTL_MOUNT_H

/* Finds the one mount there is, in /proc/self/mountinfo; ends the program where there is none or
 * more than one that this user can enter. Return: its path, the caller's to free. */
char *mount_find(void);

/* Ends the program unless an ipcfs answers at @path. */
void mount_check(const char *path);

#endif
