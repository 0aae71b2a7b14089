/* A mailbox as a directory: the engine's mailbox, the attributes of its files, and their nodes.
 *
 * It lives as long as its mailbox, by the mailbox's references; each of its nodes holds one. */
#ifndef IPCFS_FS_BOX_H
#define IPCFS_FS_BOX_H

#include "attr.h"

enum box_file {
    BOX_SEND,
    BOX_RECV,
    BOX_CONFIG,
    BOX_STAT,
    BOX_N_FILES,
};

struct box {
    struct mbox mbox;
    pthread_mutex_t lock; /* a leaf */
    /* Under lock: */
    struct attr dir;
    struct attr files[BOX_N_FILES];
    /* The node table's: */
    struct node *dir_node;
    struct node *file_nodes[BOX_N_FILES];
};

static inline struct box *box_of(struct mbox *mbox)
{
    return (struct box *)((char *)mbox - offsetof(struct box, mbox));
}

/* Makes a mailbox whose directory has @mode; its files' modes follow from that. One reference, the
 * caller's. Return: NULL when memory is short. */
struct box *box_new(struct fs *fs, mode_t mode, const struct caller *caller);

/* Return: 0 with the directory's node, with a lookup; -ENOMEM. */
int box_node(struct fs *fs, struct box *box, struct node **ret_node);

#endif
