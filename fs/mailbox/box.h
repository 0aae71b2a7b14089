/* A mailbox as a directory: the engine's mailbox, the attributes of its files, and their nodes' door.
 *
 * It lives as long as its mailbox, by the mailbox's references. Its nodes have its door (door.h): a handler
 * passes it, and has a reference until it returns.
 *
 * There are several kinds: those of mbox/ (mailbox.h), those of processes (fs/proc/procs.h), and rings
 * (fs/ring/ring.h). A kind says which files it has: those that are in the table of all (box_files.c), where a
 * new file is a line, and its own. What the nodes of the directory and its files do is in box_dir.h.
 *
 * Locks: a box's is a leaf.
 *
 * Context: any thread, where it says nothing else; nothing waits. The caller has a reference. */
#ifndef IPCFS_FS_BOX_H
#define IPCFS_FS_BOX_H

#include "core/mailbox/journal.h"
#include "door.h"
#include "drop_dirs.h"
#include "drop_names.h"
#include "fs/kernel/attr.h"

/* What a write of the largest message needs: the st_size of `send`, because the kernel lets writers
 * in side by side only below the end of a file. Else the second of two that share a descriptor
 * would wait behind the first, deaf to signals. */
#define BOX_SEND_SIZE_BYTES (1 << 20)

/* What stdio and others make their buffers: a message up to the default size leaves in one write. */
#define BOX_IO_BYTES 65536

/* No kind could have more files (box_n_files). */
#define BOX_N_FILES_MAX 20

/* What an empty mailbox takes, for as long as it is there: its box with what is kept of its files and what malloc
 * adds, an entry of 0.4 KB in the table of names, and a node. When it is removed nothing is left but what is held by
 * those who still have a file of it open, for whom that counts (FILE_KEPT_BYTES_OF_MAILBOX). */
#define BOX_KEPT_BYTES (sizeof(struct box) + BOX_N_FILES_MAX * sizeof(struct attr) + 640)

struct box;
struct kernel;
struct work_file;

/* What all boxes of a mount share. Made before the first of them, freed after the last. */
struct boxes {
    struct kernel *kernel;
    struct mbox_domain *domain;
    struct drop_names drop_names;
    struct drop_dirs drop_dirs;
};

/* Which boxes have a file of the table of all: a kind is one or more of these. */
enum box_class {
    BOX_SENT_TO = 1,       /* those that take messages */
    BOX_RECEIVED_FROM = 2, /* those that all receivers take messages from */
    BOX_ANY = BOX_SENT_TO | BOX_RECEIVED_FROM,
    BOX_QUEUES = 4,  /* those in which messages wait that are the daemon's */
    BOX_POSTED = 8,  /* those that take the daemon's messages, which have priorities and headers */
    BOX_CALLED = 16, /* those that are asked, and answer */
    BOX_OWNED = 32,  /* those that somebody may own (owner.h) */
    BOX_MAILBOX = BOX_ANY | BOX_QUEUES | BOX_POSTED | BOX_CALLED,
};

/* What stat shows of a file beside its own attributes. */
enum box_file_shows {
    BOX_SHOWS_NO_MORE,
    BOX_SHOWS_SENDING,   /* when something was last sent, and BOX_SEND_SIZE_BYTES */
    BOX_SHOWS_RECEIVING, /* when something was last received */
    BOX_SHOWS_TEXT,      /* the size of a text (fs/kernel/text.h) */
};

/* One file of a box, or directory in it. Constant. */
struct box_file {
    const char *name;
    mode_t mode;          /* with the type; for a directory that nobody may search */
    mode_t searchers;     /* what each class of users gets too that may search the directory */
    unsigned int classes; /* in the table of all: the boxes of one of these have it */
    enum box_file_shows shows;
    bool has_prios; /* NAME.0 to NAME.9 are the same, in BOX_POSTED: node->prio is which */
    const char *
        second_name; /* the same in another form, which is not listed: node->prio is 1; NULL: none */
    /* Whether who looks it up gets a node of his own, because its writers may wait (node.h). NULL: nobody does. */
    bool (*is_fresh)(struct box *box, const struct caller *caller);
    /* What is found in it is to be forgotten by the kernel before the box is. */
    bool is_searched;
    /* In the place of ops: gets its node, with a lookup more. Return: 0; a negative errno. May be NULL. */
    int (*lookup)(struct box *box, struct node **ret_node);
    struct node_ops ops;
    /* For box_file_open: as node_ops.open; @box is the node's. */
    int (*open)(struct node *node, struct box *box, int flags, const struct caller *caller,
                struct file **ret_file);
};

struct box_files {
    const struct box_file *list;
    unsigned int n;
};

/* What one kind does its own way. Constant. */
struct box_kind {
    size_t size;                   /* of the kind's struct, which starts with a struct box */
    const struct box_files *files; /* the table of all, &box_files */
    unsigned int classes;          /* of those it has these: enum box_class */
    struct box_files own;          /* and these */
    /* Return: 0: @caller may receive; a negative errno, or CALLER_ASKS. */
    int (*admit)(struct box *box, const struct caller *caller);
    /* User @uid has opened or changed a file of it. NULL: that is nothing to it.
     * Return: 0; a negative errno: it is not to be. */
    int (*use)(struct box *box, uid_t uid);
    /* It may have ended without a word: then it is removed. May be NULL. */
    void (*notice_end)(struct box *box);
    /* Its attributes are about to be told. May be NULL. */
    void (*refresh)(struct box *box);
    /* Writes where it is found, for who gets what it gives up (mbox_domain.find_dead); empty: nowhere. NULL: it gives
     * nothing up. */
    void (*tell_name)(struct box *box, char ret_name[MBOX_NAME_BYTES_MAX + 1]);
    /* Its owner is gone: removes it, messages or not, and tells the kernel. For BOX_OWNED. */
    void (*remove)(struct box *box, struct mbox_ready *ready);
    bool counts_for_owner; /* else for who caused it to be there */
    /* Somebody else is going to own it. May be NULL. Return: 0; a negative errno: it is not to be. */
    int (*set_owner)(struct box *box, uid_t uid, gid_t gid);
    /* Its directory's mode was @before, and is another now. Under box->lock. May be NULL: the files stay as they are. */
    void (*follow_mode)(struct box *box, mode_t before);
    /* The last reference is gone: gives back what is the kind's own, then box_free(). */
    void (*free)(struct box *box);
};

struct box {
    struct mbox mbox;
    const struct box_kind *kind;
    struct boxes *boxes;
    atomic_bool has_prios;         /* the kernel has been told of a send.N */
    atomic_bool has_second_names;  /* or of a second name */
    atomic_uint n_waiting_in_drop; /* creates that wait on the node of `drop/` that all share */
    pthread_mutex_t lock;          /* a leaf */
    /* Under lock: */
    struct attr dir;
    struct attr *files; /* one for each that its kind could have, by box_file_index() */
    int owner_pidfd;    /* of who has claimed it; -1: nobody */
    uint64_t n_kept;    /* what it counts (quota.h); 0 once it is removed */
    uid_t charged_uid;  /* for whom */
    bool is_ended;      /* it is removed, and its door shut */
    struct door *door;  /* NULL: it has had no nodes yet */
    struct work_file
        *works; /* those open files `work` that are asked for by their nodes (work.c) */
};

/* @kernel and @domain stay their owner's. Context: before the first request. */
void boxes_init(struct boxes *boxes, struct kernel *kernel, struct mbox_domain *domain);

/* Context: no request is being answered any more, and all files are closed. */
void boxes_deinit(struct boxes *boxes);

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

/* Return: the slot of the directory's node, or of @file's, as long as @box is there; NULL: it has had no
 * nodes. */
struct node *const *box_dir_slot(struct box *box);
struct node *const *box_file_slot(struct box *box, const struct box_file *file);

/* Return: how many inode numbers a box of @kind takes. */
unsigned int box_n_inos(const struct box_kind *kind);

/* Return: @bits for each of the three classes that may search a directory of @mode. */
mode_t box_bits_for_searchers(mode_t mode, mode_t bits);

/* Makes a box of @kind, whose struct is zeroed but for the box; its directory has @mode, and the classes
 * that may search a directory of mode @senders may send. It takes box_n_inos() inode numbers from @ino on; 0:
 * new ones. One reference, the caller's; the last one calls kind->free.
 * Return: NULL when memory is short. */
struct box *box_new(struct boxes *boxes, const struct box_kind *kind, mode_t mode, mode_t senders,
                    const struct caller *owner, uint64_t ino);

/* Ends a box that nobody knows yet, and gives its reference back. */
void box_discard(struct box *box);

/* As mbox_keep; where that fails the box is discarded. Return: as mbox_keep. */
int box_keep(struct box *box, enum journal_kind kind, struct mbox *parent);

/* What @box takes was charged to @uid (quota_charge_kept): it is given back when @box is removed. For a
 * new box. */
void box_adopt_charge(struct box *box, uid_t uid, uint64_t n_kept);

/* It counts for @uid from now on. Return: 0; -EDQUOT; -ENOMEM. */
int box_move_charge(struct box *box, uid_t uid);

/* For kind->free: the mailbox has been removed. */
void box_free(struct box *box);

/* Changes the directory; a new owner takes the files along, and a new mode where the kind says so. Under box->lock. */
void box_change_dir(struct box *box, const struct node_change *change);

/* Gives the directory to somebody else, as far as @change says so. Return: 0: it may be changed; a negative
 * errno: it is not to be. */
int box_hand_over(struct box *box, const struct node_change *change);

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

/* Return: whose it is. */
uid_t box_uid(struct box *box);

/* --- Its files --- */

/* Return: how many files a box of @kind could have; the first of them are of the table of all. */
static inline unsigned int box_n_files(const struct box_kind *kind)
{
    return kind->files->n + kind->own.n;
}

/* Return: file @i of @kind; NULL: it does not have that. */
const struct box_file *box_file_at(const struct box_kind *kind, unsigned int i);

/* Return: which of the files of @kind @file is. */
unsigned int box_file_index(const struct box_kind *kind, const struct box_file *file);

/* Return: the file of a node whose ops are a box file's. */
static inline const struct box_file *box_file_of(const struct node *node)
{
    return (const struct box_file *)((const char *)node->ops - offsetof(struct box_file, ops));
}

/* Return: what is kept of @file. Under box->lock, or of a new box; the inode number at any time. */
struct attr *box_file_kept(struct box *box, const struct box_file *file);

/* Changes owner, mode, times of @file. Return: 0; a negative errno. */
int box_change_file(struct box *box, const struct box_file *file, const struct node_change *change);

/* Writes what stat says of @file, as it was when last refreshed. */
void box_file_attr(struct box *box, const struct box_file *file, struct stat *ret_attr);

/* Writes what stat says of @file of a box that has been removed. */
void box_gone_attr(struct door *door, const struct box_file *file, struct stat *ret_attr);

#endif
