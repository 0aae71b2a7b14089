/* What one mount is made of: the mailboxes, the kernel's view of them, and who works for it.
 *
 * Made before the first request and freed after the last; each part has its own lock. Locks are
 * taken in this order: a file's, the name table's, a mailbox's, then the leaves (quota, nodes,
 * a box's attributes, the deferred work's). None is held while the kernel is told anything. */
#ifndef IPCFS_FS_FS_H
#define IPCFS_FS_FS_H

#include <fuse_lowlevel.h>

#include "core/names.h"
#include "deferred.h"
#include "file.h"
#include "listing.h"
#include "node.h"
#include "tree.h"

struct fs {
    struct mbox_domain domain;
    struct names names;
    struct nodes nodes;
    struct tree tree;
    struct files files;
    struct listings listings;
    struct deferred deferred;
    struct fuse_session *session; /* for telling the kernel; NULL: there is none */
    uint64_t max_bytes;
    size_t one_write_bytes; /* what surely comes in one WRITE */
    /* Called once, when the kernel has begun to talk to us. */
    void (*on_ready)(void *arg);
    void *on_ready_arg;
};

struct fs_options {
    uint64_t max_bytes;
    uint64_t uid_bytes;
};

/* Makes the tree with an empty mbox/, owned by the calling process's user.
 * Return: 0; -ENOMEM or another negative errno. */
int fs_init(struct fs *fs, const struct fs_options *options);

struct box;

/* Ends @box, messages or not, and tells the kernel that it is gone. */
void fs_remove_box(struct fs *fs, struct box *box, struct mbox_ready *ready);

/* Ends every mailbox: who waits gets EIDRM. Requests are still answered. */
void fs_end_mailboxes(struct fs *fs);

/* No request is being answered any more. Frees all, also what the kernel never gave back. */
void fs_deinit(struct fs *fs);

/* The handlers for fuse_session_new(); its userdata is a struct fs. */
extern const struct fuse_lowlevel_ops fs_ops;

#endif
