/* A directory at the top of the tree, and the root itself: there from the start to the end.
 *
 * Context: any thread; nothing waits. Init and deinit: no request is being answered. */
#ifndef IPCFS_FS_ROOM_H
#define IPCFS_FS_ROOM_H

#include "attr.h"

/* Inode numbers of a room: its own, and those of the fixed files in it. */
#define ROOM_N_INOS 16

struct room {
    pthread_mutex_t lock; /* a leaf */
    struct attr attr;     /* under lock */
    struct node *node;    /* the node table's slot */
};

/* Makes @room with its own inode number. */
void room_init(struct room *room, struct nodes *nodes, mode_t mode, const struct caller *owner);
void room_deinit(struct room *room);

/* For struct node_ops, which says what each returns, of a node whose object is a struct room. */
void room_getattr(struct node *node, struct stat *ret_attr);
int room_setattr(struct node *node, const struct node_change *change);

/* As attr_hand_down. */
void room_hand_down(struct room *room, struct caller *owner, mode_t *mode);

/* An entry came, went or changed its name. */
void room_touch(struct room *room);

#endif
