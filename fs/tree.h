/* The top of the tree: the rooms that a user sees, and the root that they are found in.
 *
 * Each room owns what is made in it. All are made before the first request and freed after the last.
 *
 * Context: any thread that holds no lock, where it does not say otherwise; nothing waits. */
#ifndef IPCFS_FS_TREE_H
#define IPCFS_FS_TREE_H

#include "fs/info/info.h"
#include "fs/kernel/room.h"
#include "fs/mailbox/mboxes.h"
#include "fs/proc/procs.h"
#include "fs/ring/ring.h"
#include "fs/shm/shm.h"
#include "fs/topic/topic.h"

struct tree {
    struct room root;
    struct boxes boxes;      /* what mailboxes, rings and processes share */
    struct mboxes mailboxes; /* mbox/ */
    struct mboxes topics;    /* topic/ */
    struct rings rings;      /* ring/ */
    struct shm shm;          /* shm/ */
    struct procs procs;      /* proc/ */
    struct info info;        /* .ipcfs/ */
};

/* Makes the rooms, owned by @owner, and the root's node, NODE_ROOT_ID. @kernel and @domain stay their owner's.
 * Return: 0; -ENOMEM, or another negative errno: it is to be deinited all the same. Context: before the first
 * request. */
int tree_init(struct tree *tree, struct kernel *kernel, struct mbox_domain *domain,
              const struct caller *owner);

/* For mbox_domain.find_dead: @name is one in mbox/, whatever room @mbox is in. Return: as that says. */
struct mbox *tree_find_dead(struct tree *tree, struct mbox *mbox, const char *name,
                            char ret_from[MBOX_NAME_BYTES_MAX + 1]);

/* Ends every mailbox, ring and process: who waits gets EIDRM. Context: any thread, no lock held. */
void tree_end_mailboxes(struct tree *tree);

/* All nodes and files have been freed. */
void tree_deinit(struct tree *tree);

#endif
