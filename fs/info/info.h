/* The directory .ipcfs/: what this mount is, and what goes on in it. */
#ifndef IPCFS_FS_INFO_H
#define IPCFS_FS_INFO_H

#include "fs/kernel/room.h"

struct kernel;
struct mbox_domain;
struct names;
struct processes;
struct store;

struct info {
    struct room room;
    /* What it tells of; their owners'. */
    struct kernel *kernel;
    struct mbox_domain *domain;
    struct names *mailboxes;
    struct names *topics;
    struct names *rings;
    struct processes *processes;
    struct store *store; /* NULL: nothing is kept */
};

/* For the node whose object is info->room. */
extern const struct node_ops info_ops;

#endif
