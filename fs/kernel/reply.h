/* Answers that say no more than how a request ended.
 *
 * Context: whoever answers the request, with no lock held. */
#ifndef IPCFS_FS_REPLY_H
#define IPCFS_FS_REPLY_H

#include <fuse_lowlevel.h>

/* Answers @req with @result, 0 or a negative errno, which is logged where it is the mount's trouble (log.h).
 * @operation: what was asked for, a string that stays; @name: of what, or NULL. */
void reply_result(fuse_req_t req, int result, const char *operation, const char *name);

#endif
