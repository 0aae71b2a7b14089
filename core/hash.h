/* uthash, set up so that a table that can't grow is the caller's error and not the end of the
 * program: after an add, hash_added() tells whether the element is in. */
#ifndef IPCFS_CORE_HASH_H
#define IPCFS_CORE_HASH_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define hash_added(element, handle) ((element)->handle.tbl != NULL)

#endif
