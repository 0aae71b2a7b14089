/* A change is what the kernel asks for, member by member; whatever it was, the ctime is now. */
#include "attr.h"

#include <fuse_lowlevel.h>

static struct timespec attr_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return ts;
}

void attr_init(struct attr *attr, uint64_t ino, mode_t mode, uid_t uid, gid_t gid)
{
    struct timespec ts = attr_now();

    *attr = (struct attr){ .ino = ino, .mode = mode, .uid = uid, .gid = gid };
    attr->atime = attr->mtime = attr->ctime = ts;
}

void attr_hand_down(const struct attr *dir, struct caller *owner, mode_t *mode)
{
    if (!(dir->mode & S_ISGID))
        return;
    owner->gid = dir->gid;
    if (S_ISDIR(*mode))
        *mode |= S_ISGID;
}

void attr_change(struct attr *attr, const struct node_change *change)
{
    int to_set = change->to_set;

    if (to_set & FUSE_SET_ATTR_MODE)
        attr->mode = (attr->mode & S_IFMT) | (change->attr.st_mode & ~(mode_t)S_IFMT);
    if (to_set & FUSE_SET_ATTR_UID)
        attr->uid = change->attr.st_uid;
    if (to_set & FUSE_SET_ATTR_GID)
        attr->gid = change->attr.st_gid;
    attr->ctime = attr_now();
    if (to_set & FUSE_SET_ATTR_ATIME)
        attr->atime = to_set & FUSE_SET_ATTR_ATIME_NOW ? attr->ctime : change->attr.st_atim;
    if (to_set & FUSE_SET_ATTR_MTIME)
        attr->mtime = to_set & FUSE_SET_ATTR_MTIME_NOW ? attr->ctime : change->attr.st_mtim;
}

void attr_touch(struct attr *attr)
{
    attr->mtime = attr->ctime = attr_now();
}

void attr_get(const struct attr *attr, struct stat *ret_attr)
{
    *ret_attr = (struct stat){
        .st_ino = attr->ino,
        .st_mode = attr->mode,
        .st_nlink = 1,
        .st_uid = attr->uid,
        .st_gid = attr->gid,
        .st_atim = attr->atime,
        .st_mtim = attr->mtime,
        .st_ctim = attr->ctime,
    };
}
