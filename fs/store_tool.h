/* A store looked at without a daemon: what `ipcctl store` runs.
 *
 * Context: a program that does nothing else; waits for the disk. */
#ifndef IPCFS_FS_STORE_TOOL_H
#define IPCFS_FS_STORE_TOOL_H

/* Says whether the store at @path is sound, and what is in it. Return: 0; a negative errno, which is said. */
int store_tool_check(const char *path);

/* Prints the messages that wait there, as recv.json has them. Return: as store_tool_check. */
int store_tool_dump(const char *path);

#endif
