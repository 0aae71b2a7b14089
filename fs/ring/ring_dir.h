/* The directory with the memory of rings, for a mount of root's without passthrough: other users can't follow
 * a link to the daemon's descriptors, but one into /dev/shm.
 *
 * The daemon holds a lock on it: one that nobody holds was left behind by a daemon that was killed, and is
 * removed by the next.
 *
 * Context: any thread; a file system is asked, nobody else waited for. Init and deinit: no request is being
 * answered. */
#ifndef IPCFS_FS_RING_DIR_H
#define IPCFS_FS_RING_DIR_H

#include <pthread.h>

#define RING_DIR_PATH_MAX 32

struct ring_dir {
    pthread_mutex_t lock;
    int fd; /* under lock; -1: not made */
    char path[RING_DIR_PATH_MAX];
};

void ring_dir_init(struct ring_dir *dir);

/* Removes it; the memory in it has been unlinked. */
void ring_dir_deinit(struct ring_dir *dir);

/* Makes it, if it is not there yet. Return: its descriptor; a negative errno. */
int ring_dir_obtain(struct ring_dir *dir);

#endif
