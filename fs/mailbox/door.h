/* The way from the kernel's nodes to a box, which the box can shut behind itself.
 *
 * The kernel may remember nodes for long after a mailbox is gone (rmdir of a directory that somebody has
 * open keeps all that was looked up in it). So they hold no box but its door. While there are nodes the
 * door holds a reference to the mailbox; when that is removed the door lets go of it, and keeps what stat
 * is to say.
 *
 * A door is freed once its box is gone and its last node.
 * Context: any thread. Its lock is taken after a box's. */
#ifndef IPCFS_FS_DOOR_H
#define IPCFS_FS_DOOR_H

#include "fs/kernel/attr.h"
#include "core/mailbox/mbox.h"

struct box_kind;

struct door {
    pthread_mutex_t lock;
    struct mbox *mbox; /* under lock; a reference while there are nodes; NULL: it is shut */
    size_t n_nodes;    /* under lock */
    const struct box_kind *kind; /* of the box that it is of */
    bool is_owned;               /* under lock: by a box */
    struct attr attr;            /* once it is shut: the directory's */
    /* The node table's: */
    struct node *dir_node;
    struct node *file_nodes[];
};

/* Return: the door of @mbox, which owns it, of a box of @kind, with slots for @n_files nodes; NULL when memory
 * is short. */
struct door *door_new(struct mbox *mbox, const struct box_kind *kind, size_t n_files);

/* The caller has a reference to the mailbox. Return: whether it is open, and has one node more. */
bool door_add_node(struct door *door);

void door_remove_node(struct door *door);

/* For who has a node. Return: the mailbox, with a reference; NULL: it has been removed. */
struct mbox *door_pass(struct door *door);

/* The mailbox is being removed by somebody who has a reference; its directory was @attr. */
void door_shut(struct door *door, const struct attr *attr);

/* The box is freed. */
void door_disown(struct door *door);

#endif
