/* What one mount is made of: the mailboxes, the kernel's view of them, and who works for it.
 *
 * Made before the first request and freed after the last; each part has its own lock. Locks are
 * taken in this order: a file's, the table's of names or of processes, a mailbox's, then the leaves
 * (quota, nodes, a box's attributes, the deferred work's). None of these is held while the kernel is
 * told anything, save the turn of a file's readers (readers.h), which comes first. */
#ifndef IPCFS_FS_FS_H
#define IPCFS_FS_FS_H

#include <fuse_lowlevel.h>

#include "core/mailbox/names.h"
#include "core/ring/ring_waiter.h"
#include "fs/kernel/kernel.h"
#include "fs/kernel/ops.h"
#include "fs/mailbox/drop_dirs.h"
#include "fs/mailbox/drop_names.h"
#include "fs/proc/process.h"
#include "fs/ring/ring_dir.h"
#include "fs/shm/shm.h"
#include "tree.h"

struct fs {
    struct mbox_domain domain;
    struct names names; /* mbox/ */
    struct names rings;
    struct ring_waiters ring_waiters;
    struct ring_dir ring_dir;
    struct processes processes;
    struct shm shm;
    struct tree tree;
    struct drop_names drop_names;
    struct drop_dirs drop_dirs;
    struct kernel kernel;
    bool is_stopped; /* fs_stop's */
    bool is_stuck;   /* a thread is telling the kernel something, and may for long */
};

static inline struct fs *fs_of(struct kernel *kernel)
{
    return (struct fs *)((char *)kernel - offsetof(struct fs, kernel));
}

struct fs_options {
    uint64_t max_bytes;
    uint64_t uid_bytes;
    bool no_passthrough;
};

/* Makes the tree with an empty mbox/, owned by the calling process's user.
 * Return: 0; -ENOMEM or another negative errno. */
int fs_init(struct fs *fs, const struct fs_options *options);

struct box;

/* Tells the kernel that @box, called @name in @parent, is gone. */
void fs_announce_deletion(struct kernel *kernel, struct box *box, struct node *const *parent,
                          const char *name);

/* Asks the kernel to forget @name in @parent, which is still there. @uid is whose notice it is. */
void fs_announce_expiry(struct kernel *kernel, uid_t uid, struct node *const *parent,
                        const char *name);

/* Ends @box, messages or not, and tells the kernel that it is gone. */
void fs_remove_box(struct kernel *kernel, struct box *box, struct mbox_ready *ready);

/* Ends every mailbox, those of processes too: who waits gets EIDRM. Requests are still answered. The
 * kernel is told of no more deletions. Returns within a moment even if the kernel can't be told. */
void fs_end_mailboxes(struct fs *fs);

/* No request is being answered any more. Ends all threads that could tell the kernel something: then
 * the session may be unmounted. Return: whether all have ended; else the connection to the kernel is to be
 * aborted, and @fs must stay (notify.h). */
bool fs_stop(struct fs *fs);

/* No request is being answered any more. Frees all, also what the kernel never gave back. */
void fs_deinit(struct fs *fs);

#endif
