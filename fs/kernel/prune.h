/* Asks the kernel to forget files whose names nobody finds again.
 *
 * Where the directory that a file was made in has been superseded meanwhile by a newer node of it, the
 * kernel keeps the file's name until it needs the memory, and with it the node and what that holds. From
 * Linux 6.18 on it can be asked to give up names by their node (FUSE_NOTIFY_PRUNE); before, they stay.
 *
 * A file that is being closed has still a user for a moment, so several are asked for at once, later. */
#ifndef IPCFS_FS_PRUNE_H
#define IPCFS_FS_PRUNE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct notify;

#define PRUNE_BATCH 64

struct prune {
    struct notify *notify;
    pthread_mutex_t lock; /* a leaf */
    /* Under lock: */
    uint64_t ids[PRUNE_BATCH];
    unsigned int n;
};

/* Context: no request is being answered. */
void prune_init(struct prune *prune, struct notify *notify);
void prune_deinit(struct prune *prune);

/* The file of node @id was closed. Context: any thread, never waits. */
void prune_later(struct prune *prune, uint64_t id);

#endif
