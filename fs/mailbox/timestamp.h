/* Times as people and programs both read them.
 *
 * Context: any thread. */
#ifndef IPCFS_FS_TIMESTAMP_H
#define IPCFS_FS_TIMESTAMP_H

#include <time.h>

#define TIMESTAMP_MAX 40

/* Writes @ts as RFC 3339 in UTC with nanoseconds; the zero time as nothing. */
void timestamp_format(const struct timespec *ts, char text[TIMESTAMP_MAX]);

#endif
