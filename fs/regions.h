/* The room shm/: regions by their names. */
#ifndef IPCFS_FS_REGIONS_H
#define IPCFS_FS_REGIONS_H

#include "node.h"

struct region_name;

struct regions {
    pthread_mutex_t lock;
    struct region_name *table; /* under lock */
};

void regions_init(struct regions *regions);

/* Unlinks what is left. */
void regions_deinit(struct regions *regions);

/* Of a node whose object is a struct room. */
extern const struct node_ops regions_ops;

#endif
