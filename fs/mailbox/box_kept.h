/* The attributes of a box and its files as text, for the store: what they were, they are again after a restart.
 *
 * One line each: "NAME MODE UID GID", the mode octal and without the type; "." is the directory. Files that a later
 * ipcfs does not know are passed over, and what it has more is as in a new box.
 *
 * Context: any thread; takes the box's lock. */
#ifndef IPCFS_FS_BOX_KEPT_H
#define IPCFS_FS_BOX_KEPT_H

#include "box.h"

/* For mbox_journal.describe. Return: the length. */
size_t box_describe(struct mbox *mbox, char *text, size_t size);

/* What the directory was. */
struct box_kept {
    mode_t mode;
    uid_t uid;
    gid_t gid;
};

/* Return: whether @text says that. */
bool box_read_kept(const char *text, size_t n, struct box_kept *ret_kept);

/* Makes the attributes of @box's files what @text says. */
void box_restore_files(struct box *box, const char *text, size_t n);

#endif
