/* What the store of a mount holds, as .ipcfs/metrics tells: for ls and top. */
#ifndef IPCFS_TOOLS_CTL_KEPT_H
#define IPCFS_TOOLS_CTL_KEPT_H

#include <stdbool.h>

/* Return: a line without its end, "store: 12 messages kept in 3 mailboxes, 1.2M of 64M used", and the last failure where there
 * was one; the caller's to free; NULL: this mount has no store. */
char *kept_line(const char *mount);

#endif
