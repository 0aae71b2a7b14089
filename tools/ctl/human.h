/* Numbers, times and permission bits as people write them. */
#ifndef IPCFS_TOOLS_CTL_HUMAN_H
#define IPCFS_TOOLS_CTL_HUMAN_H

#include <stdint.h>
#include <sys/types.h>

#define HUMAN_MAX 8

/* "980", "1.2K", "16M": with letters for powers of @base, 1000 or 1024. */
void human_number(double n, unsigned int base, char text[HUMAN_MAX]);

/* How long ago was @time, of RFC 3339 in UTC: "12s ago"; @time itself where it is none. Return: the
 * caller's to free. */
char *human_age(const char *time);

#define HUMAN_MODE_MAX 11

/* "drwxr-x---": of a directory or a file. */
void human_mode(mode_t mode, char text[HUMAN_MODE_MAX]);

#endif
