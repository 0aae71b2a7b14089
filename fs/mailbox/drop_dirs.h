/* Which node a lookup of `drop/` gets.
 *
 * All who look it up get one node, so that a lock on the directory excludes others. But the kernel holds the
 * node's lock while a file is made in it, and where the mailbox is full making one waits: that is to wait on a
 * node of its own, or nobody else could make one, or be killed while it tries. So who would wait on the node of
 * all is answered ESTALE; the kernel then looks the directory up again, at once and for the same thread, and
 * gets a new node. Where it does not look it up (the caller stands in the directory), the second try waits on
 * the node of all, and lookups give new ones meanwhile.
 *
 * Context: any thread; the lock is a leaf. */
#ifndef IPCFS_FS_DROP_DIRS_H
#define IPCFS_FS_DROP_DIRS_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

/* Threads that may be between ESTALE and their second try. One that is forgotten because there are more has
 * its caller try again. */
#define DROP_DIRS_RETRYING 256

struct drop_dirs {
    pthread_mutex_t lock;
    /* Under lock: */
    pid_t retrying[DROP_DIRS_RETRYING]; /* a circle; 0: none */
    unsigned int next;
};

void drop_dirs_init(struct drop_dirs *dirs);
void drop_dirs_deinit(struct drop_dirs *dirs);

/* Thread @tid is answered ESTALE. */
void drop_dirs_note(struct drop_dirs *dirs, pid_t tid);

/* Return: whether @tid was answered ESTALE and has not tried again. It may look up more than once. */
bool drop_dirs_is_retrying(struct drop_dirs *dirs, pid_t tid);

/* @tid makes a file. Return: whether this is its second try. */
bool drop_dirs_retried(struct drop_dirs *dirs, pid_t tid);

#endif
