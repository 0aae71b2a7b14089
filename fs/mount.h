/* One mount: the engine's domain, the kernel's view of it, and the tree that a user sees.
 *
 * Made before the first request and freed after the last; each part has its own lock (fs/kernel/kernel.h says
 * in which order they are taken).
 *
 * Context: the main thread, where it says nothing else. */
#ifndef IPCFS_FS_MOUNT_H
#define IPCFS_FS_MOUNT_H

#include "fs/kernel/kernel.h"
#include "fs/kernel/ops.h"
#include "core/store/store.h"
#include "tree.h"

struct fs {
    struct mbox_domain domain;
    struct store *store; /* what is kept outlives the daemon there; NULL: nothing is */
    struct kernel kernel;
    struct tree tree;
    bool is_stopped; /* fs_stop's */
    bool is_stuck;   /* a thread is telling the kernel something, and may for long */
};

struct fs_options {
    uint64_t max_bytes;
    uint64_t uid_bytes;
    bool no_passthrough;
};

/* Makes the tree with an empty mbox/, owned by the calling process's user.
 * Return: 0; -ENOMEM or another negative errno. */
int fs_init(struct fs *fs, const struct fs_options *options);

/* Opens the store in the directory @path, and makes again what is kept there. Return: 0; a negative errno, with one line in
 * @why. Context: a process of one thread, before the first request. */
int fs_open_store(struct fs *fs, const char *path, char why[STORE_WHY_MAX]);

/* Starts the threads. @to_syslog: where the log's lines go. Return: 0; a negative errno: some may run. */
int fs_start(struct fs *fs, bool to_syslog);

/* Ends every mailbox, those of processes too: who waits gets EIDRM. Requests are still answered. The
 * kernel is told of no more deletions. Returns within a moment even if the kernel can't be told.
 * Context: any thread, once. */
void fs_end_mailboxes(struct fs *fs);

/* No request is being answered any more. Ends all threads that could tell the kernel something: then
 * the session may be unmounted. Return: whether all have ended; else the connection to the kernel is to be
 * aborted, and @fs must stay (notify.h). */
bool fs_stop(struct fs *fs);

/* No request is being answered any more. Frees all, also what the kernel never gave back. */
void fs_deinit(struct fs *fs);

#endif
