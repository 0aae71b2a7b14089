/* A file in drop/ while it is open: what is written to it collects, and is sent when it is closed. drop_create.h
 * makes one; drop.h is the directory.
 *
 * A file is counted by its struct file's references; its node holds one. Locks: its own (file.lock), before the
 * quota's; a name's lock is taken under none.
 *
 * Context: any thread, with no lock held; nothing waits. */
#ifndef IPCFS_FS_DROP_FILE_H
#define IPCFS_FS_DROP_FILE_H

#include "box.h"
#include "fs/kernel/file.h"

/* What an open file is charged at least, its place included: it takes memory even while nothing is in it. */
#define DROP_MIN_CHARGE_BYTES 2048

enum drop_state {
    DROP_COLLECTING,
    DROP_SPOILED, /* a writer was killed, or a write failed: what there was, was not all */
    DROP_DONE,    /* sent, or given up: its place and charge are gone */
};

/* A name that still answers, as the kernel knows it after one lookup. */
struct drop_again {
    atomic_uint n_refs;
    struct door *door; /* of the box, as a node has it */
    struct stat attr;
    pthread_mutex_t lock;
    /* Under lock: */
    bool is_opened;         /* there is a new file under that name, or is going to be */
    uint64_t node_id;       /* that file's */
    struct drop_file *drop; /* a reference; NULL: not yet */
    char name[];
};

struct drop_file {
    struct file file;
    uint64_t node_id;
    struct msg_sender sender;  /* who created it */
    _Atomic pid_t last_writer; /* the process that wrote last, */
    _Atomic pid_t its_parent;  /* and who had started it */
    /* Under file.lock: */
    enum drop_state state;
    int error;                /* no longer collecting: what a write gets; negative */
    struct msg *msg;          /* what was written so far; NULL once it is spoiled or done */
    uint64_t charged;         /* bytes, to the creator, beside those of the place */
    bool has_place;           /* in the mailbox */
    struct mbox_op *detached; /* for a close that nobody waits for */
    struct drop_name *name;   /* to be remembered once it is sent */
    struct drop_again *again; /* a reference, while it waits for its place: whose node it gets */
    uint64_t sent_bytes;      /* its size, once it is sent */
    bool has_written;
    bool waits_in_dir; /* for its place, in the node of drop/ that all share */
    struct attr attr;
};

/* They, the file's node and an empty message. */
_Static_assert(sizeof(struct drop_file) + sizeof(struct node) + sizeof(struct msg) +
                       sizeof(struct mbox_op) <=
                   DROP_MIN_CHARGE_BYTES,
               "an open file costs more than it is charged");

/* What there is to be created. */
struct drop_creation {
    struct mbox *mbox;
    const char *name;
    mode_t mode;
    struct drop_again *again; /* whose node it gets; NULL: a new one */
    bool shares_dir;          /* it is made in the node of drop/ that all share (drop_dirs.h) */
};

/* The file's own node, which nobody opens by its descriptor. */
extern const struct node_ops drop_node_ops;

/* Makes a file that has no place yet. Return: 0; -EDQUOT, -ENOSPC, -ENOMEM. Context: any thread; never waits. */
int drop_file_new(const struct drop_creation *creation, fuse_req_t req,
                  struct drop_file **ret_drop);

/* What nodes of it do: struct node_ops says what each returns. Context: any thread; never waits. */
void drop_get_attr(struct drop_file *drop, struct stat *ret_attr);
int drop_set_attr(struct drop_file *drop, const struct node_change *change);
int drop_allocate(struct drop_file *drop, int mode, off_t offset, off_t length);

/* For struct node_ops, which says what each returns. */
int drop_ignore_xattr(struct node *node, const char *name, const char *value, size_t size,
                      int flags);

/* Return: @again, with a reference more. */
struct drop_again *drop_again_ref(struct drop_again *again);
void drop_again_unref(struct drop_again *again);

/* Return: what tells the drop/ of @mbox from others. It never changes. */
uint64_t drop_dir_ino(struct mbox *mbox);

#endif
