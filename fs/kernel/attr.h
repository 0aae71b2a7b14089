/* Owner, mode and times of one file or directory. Not locked: the owner's lock.
 *
 * Context: the owner's lock is held; nothing waits. */
#ifndef IPCFS_FS_ATTR_H
#define IPCFS_FS_ATTR_H

#include "node.h"

struct attr {
    uint64_t ino;
    mode_t mode; /* with the type */
    uid_t uid;
    gid_t gid;
    struct timespec atime;
    struct timespec mtime;
    struct timespec ctime;
};

/* Makes all times now. */
void attr_init(struct attr *attr, uint64_t ino, mode_t mode, uid_t uid, gid_t gid);

/* A directory that is setgid hands its group down to what is made in it, and to directories that they are
 * setgid too. @dir is that directory's; @owner and @mode, with the type, are of what is made. */
void attr_hand_down(const struct attr *dir, struct caller *owner, mode_t *mode);

/* Makes the changes, a size aside. The kernel has checked that the caller may. */
void attr_change(struct attr *attr, const struct node_change *change);

/* Now something in it has changed. */
void attr_touch(struct attr *attr);

/* Fills in what @attr knows; the rest is 0, one link. */
void attr_get(const struct attr *attr, struct stat *ret_attr);

#endif
