/* Nodes: what the kernel knows by a number.
 *
 * A node is one nodeid with its count of lookups. The kernel holds a lookup on each node that a
 * request names, so a node found by node_get() stays as long as that request. Numbers are never
 * used twice. What a node is, its ops say; a new room of the tree is a new set of ops.
 *
 * Most things have one node (their slot remembers it); a file whose writers may wait has a new one
 * at each lookup, because the kernel holds an inode's lock while a write waits.
 *
 * Context: any thread. The table's lock is a leaf. */
#ifndef IPCFS_FS_NODE_H
#define IPCFS_FS_NODE_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "core/base/hash.h"
#include "core/mailbox/mbox.h"
#include "core/mailbox/names.h"

#define NODE_ROOT_ID 1

/* Inode numbers, all of which a 32-bit program can take. Each kind of thing has a range of its own:
 *   from 1                       what is made: mailboxes, rings, regions and their files
 *   from NODE_INO_PROCESSES      processes and their files, by pid
 *   from NODE_INO_LINKS          ends of links, by a hash of the two pids
 *   from NODE_INO_REPLIES        the files of reply/, by the low bits of the question's id
 *   from NODE_INO_MESSAGES       messages, by the low bits of their id
 * What is made after 2^30 others gets numbers from 2^32 on: no two things that are made share one. */
#define NODE_INO_MADE_END (UINT64_C(1) << 30)
#define NODE_INO_PROCESSES (UINT64_C(1) << 30)
#define NODE_INO_LINKS (UINT64_C(5) << 28)
#define NODE_INO_LINK_BITS 28
#define NODE_INO_REPLIES (UINT64_C(3) << 29)
#define NODE_INO_REPLY_BITS 29
#define NODE_INO_MESSAGES (UINT64_C(1) << 31)
#define NODE_INO_MESSAGE_BITS 31
#define NODE_INO_MADE_LATER (UINT64_C(1) << 32)

/* Longest target of a symbolic link, with its NUL. */
#define NODE_TARGET_MAX 4096 /* PATH_MAX */

/* How long what only the kernel changes is valid there. */
#define NODE_FOREVER_SECONDS 86400.0

/* The kernel makes a tick or two of it: as long as the open takes whose lookup has just told what getattr says. */
#define NODE_MOMENT_SECONDS 1e-9

struct file;
struct kernel;
struct fuse_file_info;
struct fuse_req;
struct listing;
struct node;

/* Who asks. */
struct caller {
    pid_t tid;
    uid_t uid;
    gid_t gid;
    struct descents
        *descents; /* what is known of its ancestors (caller.h); set where one may be admitted */
};

/* Which of the members of a struct stat to set. */
struct node_change {
    struct stat attr;
    int to_set; /* FUSE_SET_ATTR_* */
};

/* Takes the entries of a directory, one by one. */
struct node_listing {
    /* @next: what to go on after. Return: false: it takes no more, this one neither. */
    bool (*add)(void *arg, const char *name, uint64_t ino, mode_t type, uint64_t next);
    void *arg;
};

/* Each returns 0 or a negative errno. A member that is NULL answers EPERM, and lookup ENOENT;
 * getattr is always there. None waits: the kernel holds locks meanwhile. */
struct node_ops {
    void (*getattr)(struct node *node, struct stat *ret_attr);
    int (*setattr)(struct node *node, const struct node_change *change);
    /* @req has changed its content: nobody but its owner's equals is to run it as its owner any more. May be
     * NULL. */
    void (*drop_privileges)(struct node *node, struct fuse_req *req);
    bool sets_size; /* setattr takes a size; else a size but 0 is EINVAL */
    /* How long the kernel may keep what getattr says. NULL: not at all. */
    double (*attr_seconds)(struct node *node);
    /* It is there as long as its directory: the kernel may keep its name for a moment. */
    bool lasts_a_moment;
    /* Gives back what node->object holds. */
    void (*release)(struct node *node);

    /* Directories. A node that is returned has one lookup more. */
    int (*lookup)(struct node *dir, const char *name, struct node **ret_node);
    /* As lookup, and in its place, where not all find the same, or what is found counts for who
     * looks. */
    int (*lookup_for)(struct node *dir, const char *name, const struct caller *caller,
                      struct node **ret_node);
    /* Whether @caller may list it. May be NULL: the mode says it all. */
    int (*opendir)(struct node *dir, const struct caller *caller);
    int (*list)(struct node *dir, struct listing *listing);
    /* Instead of list: adds what is behind the entry that said @after, 0 at first, "." and ".." too. */
    void (*list_from)(struct node *dir, uint64_t after, const struct node_listing *to);
    /* Instead of list: as list_from, for who keeps something in @listing (listing.h), with -errno where it
     * can't. */
    int (*list_part)(struct node *dir, struct listing *listing, uint64_t after,
                     const struct node_listing *to);
    /* Names in it change only through the kernel, which may keep them, and that there are none. */
    bool keeps_names;
    int (*mkdir)(struct node *dir, const char *name, mode_t mode, const struct caller *caller,
                 struct node **ret_node);
    int (*rmdir)(struct node *dir, const char *name, struct mbox_ready *ready);
    int (*rename)(struct node *dir, const char *name, struct node *to_dir, const char *to_name,
                  enum names_rename how, const struct caller *caller, struct mbox_ready *ready);
    /* As rename, and in its place, where it may have to wait. Return: MBOX_PARKED too: @req will be answered. */
    int (*rename_for)(struct node *dir, struct fuse_req *req, const char *name, struct node *to_dir,
                      const char *to_name, enum names_rename how, const struct caller *caller,
                      struct mbox_ready *ready);
    /* Gives @node one name more, with one lookup more. */
    int (*link)(struct node *dir, struct node *node, const char *name);
    int (*unlink)(struct node *dir, const char *name, const struct caller *caller,
                  struct mbox_ready *ready);
    /* As unlink, and in its place, where it may have to wait. Return: MBOX_PARKED too: @req will be answered. */
    int (*unlink_for)(struct node *dir, struct fuse_req *req, const char *name,
                      const struct caller *caller, struct mbox_ready *ready);
    int (*symlink)(struct node *dir, const char *name, const char *target,
                   const struct caller *caller, struct node **ret_node);
    int (*mknod)(struct node *dir, const char *name, mode_t mode, const struct caller *caller,
                 struct node **ret_node);
    /* Makes a file without a name, and answers @req by itself. NULL: EOPNOTSUPP. */
    void (*tmpfile)(struct node *dir, struct fuse_req *req, mode_t mode, struct fuse_file_info *fi);
    /* Answers @req by itself, and may wait where @dir has a node of its own for each caller. */
    void (*create)(struct node *dir, struct fuse_req *req, const char *name, mode_t mode,
                   struct fuse_file_info *fi);

    /* Symbolic links. Writes where it leads. */
    int (*readlink)(struct node *node, const struct caller *caller, char target[NODE_TARGET_MAX]);

    /* Files. */
    int (*open)(struct node *node, int flags, const struct caller *caller, struct file **ret_file);
    /* In the place of open: answers @req by itself, and may wait. */
    void (*open_waiting)(struct node *node, struct fuse_req *req, struct fuse_file_info *fi);
    /* As fallocate(2). NULL: EOPNOTSUPP. */
    int (*fallocate)(struct node *node, int mode, off_t offset, off_t length);
    /* As lseek(2) with SEEK_DATA or SEEK_HOLE. NULL, or -EOPNOTSUPP: all is data. */
    off_t (*seek)(struct node *node, off_t offset, int whence);
    /* As copy_file_range(2), as much as it likes. NULL: EOPNOTSUPP. */
    ssize_t (*copy)(struct node *node, off_t offset, struct node *to, off_t to_offset, size_t size);
    /* As setxattr(2) and removexattr(2). NULL: EOPNOTSUPP. */
    int (*xattr_set)(struct node *node, const char *name, const char *value, size_t size,
                     int flags);
    int (*xattr_remove)(struct node *node, const char *name);
    /* What the caller frees. Return: 0; -ENODATA; -ENOMEM. NULL: there are none. */
    int (*xattr_get)(struct node *node, const char *name, char **ret_value, size_t *ret_size);
    int (*xattr_list)(struct node *node, char **ret_names, size_t *ret_size);
};

struct node {
    uint64_t id;
    const struct node_ops *ops;
    struct kernel *kernel;
    void *object;      /* ops know what */
    unsigned int prio; /* a send file's */

    /* The table's. */
    uint64_t n_lookups;
    struct node **slot;
    UT_hash_handle hh;
};

struct nodes {
    struct kernel *kernel; /* what each node is told that it belongs to */
    pthread_mutex_t lock;
    struct node *table[HASH_N_PARTS]; /* under lock: by id */
    uint64_t last_id;
    uint64_t last_ino;
};

void nodes_init(struct nodes *nodes, struct kernel *kernel);

/* Frees the nodes that the kernel never forgot. */
void nodes_deinit(struct nodes *nodes);

/* Finds the node in @slot, or makes one and remembers it there while it lives; without a slot,
 * always makes one. It has one lookup more. On success takes over the reference that @object is
 * (ops->release gives it back).
 * Return: 0; -ENOMEM. */
int node_obtain(struct nodes *nodes, const struct node_ops *ops, void *object, struct node **slot,
                struct node **ret_node);

struct fuse_entry_param;

/* Fills in the answer to a lookup of @node in @dir; NULL: in one that does not keep names. */
void node_fill_entry(struct node *node, const struct node *dir, struct fuse_entry_param *ret);

/* For node_ops.attr_seconds. Return: NODE_MOMENT_SECONDS. */
double node_moment(struct node *node);

/* Return: the id of the node in @slot, which may be NULL; 0: there is none. */
uint64_t node_slot_id(struct nodes *nodes, struct node *const *slot);

/* Return: the node of a request. */
struct node *node_get(struct nodes *nodes, uint64_t id);

/* Takes @n lookups back; the last one frees the node. */
void node_forget(struct nodes *nodes, uint64_t id, uint64_t n);

/* Return: how many the kernel remembers. */
size_t nodes_count(struct nodes *nodes);

/* Return: the first of @n inode numbers that nobody else has. */
uint64_t nodes_new_inos(struct nodes *nodes, unsigned int n);

#endif
