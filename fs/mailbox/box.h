/* A mailbox as a directory: the engine's mailbox, the attributes of its files, and their nodes.
 *
 * Its files are a table (box.c); a new file is a line there, and three are directories themselves.
 * It lives as long as its mailbox, by the mailbox's references. Its nodes have its door (door.h): a handler
 * passes it, and has a reference until it returns.
 *
 * There are three kinds: those of mbox/, those of processes (process.h), and rings (ring.h). */
#ifndef IPCFS_FS_BOX_H
#define IPCFS_FS_BOX_H

#include "fs/kernel/attr.h"
#include "door.h"

enum box_file {
    BOX_SEND,
    BOX_SEND_LINES,
    BOX_SEND_JSON,
    BOX_RECV,
    BOX_RECV_LINES,
    BOX_RECV_JSON,
    BOX_DROP,
    BOX_QUEUE,
    BOX_OWNER,
    BOX_CONFIG,
    BOX_STAT,
    BOX_LINK,
    BOX_MAP,
    BOX_BELL,
    BOX_N_FILES,
};

#define BOX_FILE(file) (1U << (file))

/* What all kinds have. */
#define BOX_FILES_OF_ALL                                                                           \
    (BOX_FILE(BOX_SEND) | BOX_FILE(BOX_SEND_LINES) | BOX_FILE(BOX_RECV) |                          \
     BOX_FILE(BOX_RECV_LINES) | BOX_FILE(BOX_CONFIG) | BOX_FILE(BOX_STAT))

/* What those have whose messages are the daemon's. */
#define BOX_FILES_OF_MAILBOX                                                                       \
    (BOX_FILES_OF_ALL | BOX_FILE(BOX_SEND_JSON) | BOX_FILE(BOX_RECV_JSON) | BOX_FILE(BOX_DROP) |   \
     BOX_FILE(BOX_QUEUE))

/* What a write of the largest message needs: the st_size of `send`, because the kernel lets writers
 * in side by side only below the end of a file. Else the second of two that share a descriptor
 * would wait behind the first, deaf to signals. */
#define BOX_SEND_SIZE_BYTES (1 << 20)

/* What stdio and others make their buffers: a message up to the default size leaves in one write. */
#define BOX_IO_BYTES 65536

/* What an empty mailbox takes, for as long as it is there: its box with what malloc adds (2.6 KB), an entry of
 * 0.4 KB in the table of names, and a node. When it is removed nothing is left but what is held by
 * those who still have a file of it open, for whom that counts (FILE_KEPT_BYTES_OF_MAILBOX). */
#define BOX_KEPT_BYTES 3328

struct box;

/* What one kind does its own way. */
struct box_kind {
    unsigned int files; /* which it has: BOX_FILE() */
    /* Return: 0: @caller may receive; a negative errno, or CALLER_ASKS. */
    int (*admit)(struct box *box, const struct caller *caller);
    /* User @uid has opened or changed a file of it. NULL: that is nothing to it.
     * Return: 0; a negative errno: it is not to be. */
    int (*use)(struct box *box, uid_t uid);
    /* It may have ended without a word: then it is removed. May be NULL. */
    void (*notice_end)(struct box *box);
    /* Its attributes are about to be told. May be NULL. */
    void (*refresh)(struct box *box);
    /* Opens @file where it is this kind's own: `config`, `stat`, `bell`. NULL: they are a mailbox's. */
    int (*open)(struct box *box, struct kernel *kernel, enum box_file file, struct file **ret_file);
    /* Return: 0 with the node of `map`, with a lookup; a negative errno. */
    int (*lookup_map)(struct box *box, struct kernel *kernel, struct node **ret_node);
    bool counts_for_owner; /* else for who caused it to be there */
    /* Somebody else is going to own it. May be NULL. Return: 0; a negative errno: it is not to be. */
    int (*set_owner)(struct box *box, uid_t uid, gid_t gid);
    void (*free)(struct box *box);
};

struct box {
    struct mbox mbox;
    const struct box_kind *kind;
    atomic_bool has_prios;         /* the kernel has been told of a send.N */
    atomic_uint n_waiting_in_drop; /* creates that wait on the node of `drop/` that all share */
    pthread_mutex_t lock;          /* a leaf */
    /* Under lock: */
    struct attr dir;
    struct attr files[BOX_N_FILES];
    int owner_pidfd;   /* of who has claimed it; -1: nobody */
    uint64_t n_kept;   /* what it counts (quota.h); 0 once it is removed */
    uid_t charged_uid; /* for whom */
    bool is_ended;     /* it is removed, and its door shut */
    struct door *door; /* NULL: it has had no nodes yet */
};

static inline struct box *box_of(struct mbox *mbox)
{
    return (struct box *)((char *)mbox - offsetof(struct box, mbox));
}

/* For who has a node of it. Return: the box behind @door, with a reference; NULL: it has been removed. */
struct box *box_pass(struct door *door);

/* At the end of a scope: gives back what box_pass returned. */
static inline void box_leave(struct box **box)
{
    if (*box)
        mbox_unref(&(*box)->mbox);
}

#define box_auto __attribute__((cleanup(box_leave))) struct box

/* Gives @box's door one node more. Return: 0; -ESTALE: it has been removed; -ENOMEM. */
int box_add_node(struct box *box, struct door **ret_door);

/* Writes what stat says of @file of a box that has been removed. */
void box_gone_attr(struct door *door, enum box_file file, struct stat *ret_attr);

/* Return: the slot of the directory's node, or of @file's, as long as @box is there; NULL: it has had no
 * nodes. */
struct node *const *box_dir_slot(struct box *box);
struct node *const *box_file_slot(struct box *box, enum box_file file);

/* Makes a mailbox of mbox/ whose directory has @mode; its files' modes follow from that. One
 * reference, the caller's. Return: 0; -EDQUOT; -ENOSPC; -ENOMEM. */
int box_new(struct kernel *kernel, mode_t mode, const struct caller *caller, struct box **ret_box);

/* Makes a zeroed @box of @kind, whose directory has @mode; the classes that may search a directory of
 * mode @senders may send. It takes 1 + BOX_N_FILES inode numbers from @ino on. One reference, the
 * caller's; the last one calls kind->free. */
void box_init(struct box *box, struct kernel *kernel, const struct box_kind *kind, mode_t mode,
              mode_t senders, const struct caller *owner, uint64_t ino);

/* What @box takes was charged to @uid (quota_charge_kept): it is given back when @box is removed. For a
 * new box. */
void box_adopt_charge(struct box *box, uid_t uid, uint64_t n_kept);

/* It counts for @uid from now on. Return: 0; -EDQUOT; -ENOMEM. */
int box_move_charge(struct box *box, uid_t uid);

/* For kind->free: the mailbox has been removed. */
void box_deinit(struct box *box);

/* Changes the directory; a new owner takes the files along. Under box->lock. */
void box_change_dir(struct box *box, const struct node_change *change);

/* Return: 0: @caller may receive; a negative errno, or CALLER_ASKS. */
int box_admit(struct box *box, const struct caller *caller);

/* Its attributes are about to be told. */
void box_refresh(struct box *box);

/* Something is looked up in one of its directories. Return: 0; -ESTALE: it has been removed: told ENOENT,
 * the kernel would remember that, and with it the directory; told this, it looks for that again. */
int box_check(struct box *box);

/* Makes @file, a new one of @box, notice when that ends. */
void box_add_file(struct box *box, struct file *file);

/* User @uid has opened or changed a file of it. Return: 0; a negative errno: it is not to be. */
int box_use(struct box *box, uid_t uid);

/* Changes owner, mode, times of @file. Return: 0; a negative errno. */
int box_change_file(struct box *box, enum box_file file, const struct node_change *change);

/* Writes what stat says of @file, as it was when last refreshed. */
void box_file_attr(struct box *box, enum box_file file, struct stat *ret_attr);

/* Return: whose it is. */
uid_t box_uid(struct box *box);

/* Return: the name of @file in its directory. */
const char *box_file_name(enum box_file file);

/* Return: 0 with the directory's node, with a lookup; -ENOENT: it has been removed; -ENOMEM. */
int box_node(struct kernel *kernel, struct box *box, struct node **ret_node);

#endif
