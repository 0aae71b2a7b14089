/* uthash, set up for a daemon that serves strangers.
 *
 * Its function is keyed, with a key of this process's own (SipHash): users choose names, and which pids,
 * uids and messages meet in a table, and could otherwise choose such that all fall together and each
 * look takes as long as there are.
 *
 * A table that can't grow is the caller's error and not the end of the program: after an add,
 * hash_added() tells whether the element is in.
 *
 * Context: that of the table, under the lock of whoever owns it; never blocks. */
#ifndef IPCFS_CORE_HASH_H
#define IPCFS_CORE_HASH_H

#include <stddef.h>

/* Return: the hash of @size bytes at @data, the same as long as this process lives.
 * Context: any thread. */
unsigned int hash_of(const void *data, size_t size);

#define HASH_FUNCTION(data, size, hash)                                                            \
    do {                                                                                           \
        (hash) = hash_of(data, size);                                                              \
    } while (0)

/* A table that grows is moved into twice as many buckets at once: 50 ms for a million elements, under its
 * users' lock. So a large one is cut into parts, by the hash's upper bits (uthash uses the lower ones);
 * each grows by itself, and others get in between. */
#define HASH_N_PARTS 64

static inline unsigned int hash_part(unsigned int hash)
{
    return hash >> 26;
}

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define hash_added(element, handle) ((element)->handle.tbl != NULL)

#endif
