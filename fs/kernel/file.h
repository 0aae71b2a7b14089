/* Files that are open: what a handle of the kernel's stands for.
 *
 * A file is made by a node's open and closed by the kernel's RELEASE. It is counted by references,
 * because a reply can bring the RELEASE before the call that replied returns: whoever parks a
 * request or defers work for a file holds one.
 *
 * What a kind of file does is its struct file_ops; the handlers of read, write and poll answer the
 * request themselves, now or later.
 *
 * Context: any thread, where it says nothing else; nothing waits. No mailbox's lock is held. */
#ifndef IPCFS_FS_FILE_H
#define IPCFS_FS_FILE_H

#include <fuse_lowlevel.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/mailbox/mbox.h"
#include "deferred.h"

struct caller;
struct file;
struct kernel;
struct node;
struct nodes;
struct quota;

struct file_ops {
    uint32_t open_flags; /* FOPEN_* of <linux/fuse.h> */
    /* What poll waits for: MBOX_READABLE, MBOX_WRITABLE; 0: always ready for both. */
    unsigned int events;
    bool never_blocks_writers; /* a write would not wait whatever the mailbox says */

    /* Before each read. Return: 0: @caller may; a negative errno, or CALLER_ASKS. NULL: whoever has it may. */
    int (*admit)(struct file *file, const struct caller *caller);
    /* Each answers @req exactly once. @flags are the file's O_* as they are now; @offset is 0 but
     * in the later parts of a call that the kernel had to split. NULL: EBADF. */
    void (*read)(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags);
    void (*write)(struct file *file, fuse_req_t req, const char *data, size_t size, off_t offset,
                  int flags);
    /* Return: whether a read would not wait whatever the mailbox says. May be NULL. */
    bool (*has_unread)(struct file *file);
    /* The mailbox where writes go was removed. Return: whether pollers are to be told as if reads were from there. NULL:
     * never. */
    bool (*ends_with_out)(struct file *file);
    /* Answers a close of one of the file's descriptors. NULL: there is nothing to do. */
    void (*flush)(struct file *file, fuse_req_t req);
    /* The kernel has let go of the file; requests may still be parked. May be NULL. */
    void (*release)(struct file *file);
    /* The last reference is gone: gives back what the kind of file holds. May be NULL. */
    void (*close)(struct file *file);
    /* A read for the kernel's page cache, where it would stay for ever, is EINVAL. */
    bool keeps_from_cache;
    size_t size; /* of the kind's struct, which starts with a struct file */
};

/* As whom a file was opened. What is written to it is said to be from this user, whoever writes: a
 * setuid program that got an open file from its caller does not speak for its owner (root). */
struct opener {
    uid_t uid;
    gid_t gid;
};

/* What an open file counts for its opener: its struct with what malloc adds (up to 0.5 KB) and libfuse's
 * pollhandle; and what is left of its mailbox if that is removed, which it may be the only one to hold. */
#define FILE_KEPT_BYTES 640
#define FILE_KEPT_BYTES_OF_MAILBOX 2048

struct file {
    const struct file_ops *ops;
    struct kernel *kernel; /* for the rooms */
    struct files *files;
    struct opener opener; /* set before the kernel learns of the file */
    uint64_t n_kept;      /* what it counts for its opener; 0: nothing yet */
    uint64_t node_id;     /* what it was opened by; set as the opener */
    struct mbox *mbox;    /* a reference; NULL: it is no mailbox's */
    bool ends_mbox;       /* mbox is this file's alone, and is removed with it */
    unsigned int prio;    /* at which it sends */
    /* A write was so long that the kernel may have cut it (fs/mailbox/send.c). */
    atomic_bool may_be_cut;
    struct mbox *out; /* a reference: where a link's writes go; NULL: to mbox */
    /* Called before each read, write, poll and flush: who is gone with what the file is for may have
     * been seen to be gone before it was here. May be NULL. */
    void (*notice_end)(struct file *file);
    int backing_id;            /* passthrough (backing.h); 0: none */
    _Atomic uint64_t lock_ino; /* the inode number that was locked through it; 0: none (locks.h) */
    atomic_uint n_refs;
    pthread_mutex_t lock; /* guards what the kind says, and ph */

    struct fuse_pollhandle *ph; /* stays once it is set: the kernel's key for this file */
    struct mbox_watch watch;
    struct mbox_watch out_watch;
    struct deferred_work wake; /* holds a reference while it is queued */

    TAILQ_ENTRY(file) link; /* files->list */
};

/* All open files, so that those which the kernel never releases can be closed at the end. */
struct files {
    /* Fixed; their owners': */
    struct kernel *kernel; /* what each file is told that it belongs to */
    struct quota *quota;
    struct nodes *nodes;
    struct deferred *deferred; /* wakes those who poll */
    pthread_mutex_t lock;
    TAILQ_HEAD(files_list, file) list;
};

void files_init(struct files *files, struct kernel *kernel, struct quota *quota,
                struct nodes *nodes, struct deferred *deferred);

/* Return: one that is open; NULL: none is. Context: no request is being answered any more. */
struct file *files_first(struct files *files);

/* All have been released. */
void files_deinit(struct files *files);

/* Makes a file of ops->size zeroed bytes, that holds a reference to @mbox, which may be NULL.
 * Return: 0; -ENOMEM. */
int file_new(struct files *files, const struct file_ops *ops, struct mbox *mbox,
             struct file **ret_file);

/* From now on what is written goes to @out, not to where reads are from. For a new file. */
void file_set_out(struct file *file, struct mbox *out);

/* Return: @file, with a reference more. */
struct file *file_ref(struct file *file);
void file_unref(struct file *file);

/* Before a file is opened for the user who asks by @req. Return: 0; -EDQUOT; -ENOSPC; -ENOMEM. */
int file_charge(struct files *files, fuse_req_t req);

/* No file was opened after all. */
void file_uncharge(struct files *files, fuse_req_t req);

/* @file was opened after file_charge, and the kernel is about to learn of it. */
void file_set_opener(struct file *file, fuse_req_t req);

/* The kernel has let go of it: nobody will be woken for it any more. Takes one reference. */
void file_release(struct file *file);

/* It never came to be open: as file_release, but the kind of file does not learn of it. */
void file_discard(struct file *file);

/* Something that the mailbox does not know of may have made it ready: those who poll it look again. */
void file_wake(struct file *file);

/* Answers an open with @file, which may be one too many for its opener if file_set_opener was not called. */
void file_reply_open(struct file *file, fuse_req_t req, uint64_t node_id);

/* Answers a create in @dir with @file and @node, whose lookup goes back if the kernel does not take it, or if
 * it is one too many. NULL: in one that does not keep names. */
void file_reply_create(struct file *file, fuse_req_t req, const struct node *dir,
                       struct node *node);

/* Answers a poll. Takes @ph over, which may be NULL. */
void file_poll(struct file *file, fuse_req_t req, struct fuse_pollhandle *ph);

/* Return: whether open(2) with @flags is for @access: O_RDONLY, O_WRONLY or O_RDWR. */
static inline bool file_is_for(int flags, int access)
{
    return (flags & O_ACCMODE) == access;
}

#endif
