/* Making a file in drop/: a place in the mailbox, and the answer.
 *
 * Context: any thread; never waits. */
#ifndef IPCFS_FS_DROP_CREATE_H
#define IPCFS_FS_DROP_CREATE_H

#include "drop_file.h"

/* Answers @req, an open with @flags, once there is a place for the new file. Context: a handler; never waits. */
void drop_create_file(const struct drop_creation *creation, fuse_req_t req, int flags);

/* For struct box_file. Return: whether @caller, who looks `drop/` up, gets a node of its own (drop_dirs.h). */
bool drop_needs_own_dir(struct box *box, const struct caller *caller);

#endif
