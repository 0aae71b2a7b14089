/* What an open file has taken from its mailbox and its reader has not read yet.
 *
 * A list of chunks, each the rest of some bytes and, where messages end with an end of file, that
 * end. Mostly there is one chunk or none; processes that share a file can bring more.
 *
 * A chunk's bytes are a struct msg: the message itself, or what was made of it for the reader.
 * Not locked: each function takes the lock of the file, to which the list belongs. */
#ifndef IPCFS_FS_UNREAD_H
#define IPCFS_FS_UNREAD_H

#include "file.h"

struct chunk;

struct unread {
    struct file *file; /* whose list it is; no reference */
    TAILQ_HEAD(, chunk) chunks;
};

void unread_init(struct unread *unread, struct file *file);
void unread_deinit(struct unread *unread);

/* Adds what follows the first @offset bytes of @bytes and, if @ends, an end of file. Takes a
 * reference of its own. Return: 0; -ENOMEM. */
int unread_add(struct unread *unread, struct msg *bytes, size_t offset, bool ends);

/* Takes back what unread_add did, unless somebody has read it to its end meanwhile. */
void unread_remove(struct unread *unread, const struct msg *bytes);

bool unread_is_empty(struct unread *unread);

/* Answers a read of @size bytes with what there is: bytes, or an end of file. What does not arrive
 * stays. @later_part: the read is part of a call that the kernel had to split, and that has got all
 * but the end already: the end is for the next call.
 * Return: whether there was something, and @req is answered. */
bool unread_answer(struct unread *unread, fuse_req_t req, size_t size, bool later_part);

#endif
