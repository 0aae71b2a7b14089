/* A mailbox as a directory: the engine's mailbox, the attributes of its files, and their nodes.
 *
 * Its files are a table (box.c); a new file is a line there, and two are directories themselves.
 * It lives as long as its mailbox, by the mailbox's references; each of its nodes holds one. */
#ifndef IPCFS_FS_BOX_H
#define IPCFS_FS_BOX_H

#include "attr.h"

enum box_file {
    BOX_SEND,
    BOX_SEND_LINES,
    BOX_RECV,
    BOX_RECV_LINES,
    BOX_RECV_JSON,
    BOX_DROP,
    BOX_QUEUE,
    BOX_OWNER,
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
    int owner_pidfd; /* of who has claimed it; -1: nobody */
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

/* Writes what stat says of @file. */
void box_file_attr(struct box *box, enum box_file file, struct stat *ret_attr);

/* Return: the name of @file in its directory. */
const char *box_file_name(enum box_file file);

/* Return: 0 with the directory's node, with a lookup; -ENOMEM. */
int box_node(struct fs *fs, struct box *box, struct node **ret_node);

#endif
