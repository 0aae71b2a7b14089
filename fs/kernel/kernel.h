/* What a mount needs of the kernel, and any filesystem would: who is known to it by which number, what is
 * open, what is to be told, and the threads that work for it. The rooms have what a user sees.
 *
 * It is made before the first request and freed after the last, and has no lock: each part has its own. They
 * are taken after those of the rooms: first a file's, the table's of names or of processes, a mailbox's, then
 * the leaves (quota, nodes, a box's attributes, the deferred work's). None is held while the kernel is told
 * anything, save the turn of a file's readers (fs/mailbox/readers.h), which comes first.
 *
 * The parts do not know it: each takes what it needs when it is made. Node and file point to it for the rooms. */
#ifndef IPCFS_FS_KERNEL_H
#define IPCFS_FS_KERNEL_H

#include "backing.h"
#include "deferred.h"
#include "file.h"
#include "inquiry.h"
#include "listing.h"
#include "locks.h"
#include "log.h"
#include "node.h"
#include "notify.h"
#include "prune.h"

struct kernel {
    struct quota *quota; /* the mount's */
    struct nodes nodes;
    struct files files;
    struct listings listings;
    struct locks locks;
    struct log log;
    struct deferred deferred;
    struct deferred long_work; /* what would hold others up for long, slice by slice */
    struct inquiries inquiries;
    struct notify notify;
    struct prune prune;
    struct backing backing;
    struct fuse_session *session; /* for telling the kernel; NULL: there is none */
    dev_t dev;                    /* the mount's; 0: not known */
    uint64_t max_bytes;
    size_t one_write_bytes; /* what surely comes in one WRITE */
};

/* Makes the zeroed @kernel. All is charged in @quota, which stays its owner's; @max_bytes is what statfs says
 * that it may hold. Context: before the first request. */
void kernel_init(struct kernel *kernel, struct quota *quota, uint64_t max_bytes);

/* The kernel talks to us through @session, which stays its owner's. Context: before the first request. */
void kernel_set_session(struct kernel *kernel, struct fuse_session *session);

/* Starts the threads. Lines of the log go to syslog(3), or to stderr. Return: 0; a negative errno: some may
 * run. Context: before the first request. */
int kernel_start(struct kernel *kernel, bool to_syslog);

/* Ends the threads that have not been ended. Context: no request is being answered any more, and all that could
 * leave work to them has ended. */
void kernel_stop(struct kernel *kernel);

/* The kernel has let go of @file: its locks go, and nobody will be woken for it any more. Takes one reference.
 * Context: any thread; never waits. */
void kernel_release_file(struct kernel *kernel, struct file *file);

/* Frees what the kernel never gave back: files, listings, nodes. The rooms are still there.
 * Context: no request is being answered any more, and all threads have ended. */
void kernel_let_go(struct kernel *kernel);

/* The rooms are gone. Context: as kernel_let_go. */
void kernel_deinit(struct kernel *kernel);

#endif
