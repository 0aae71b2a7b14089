/* Passthrough: the kernel maps a file of the mount straight onto one that the daemon has open (Linux 6.9; the
 * daemon needs CAP_SYS_ADMIN). Where there is none, others take its place: a symbolic link for a ring's
 * map, the kernel's page cache for a region.
 *
 * Context: any thread; an ioctl of the connection, which waits for nobody. */
#ifndef IPCFS_FS_BACKING_H
#define IPCFS_FS_BACKING_H

#include <fuse_lowlevel.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* As <linux/fuse.h> has them since 6.9; builds with older headers too. */
#ifndef FOPEN_PASSTHROUGH
#define FOPEN_PASSTHROUGH (1U << 7)
#endif

enum backing_state {
    BACKING_NONE,
    BACKING_OFFERED, /* by the kernel; not tried yet */
    BACKING_WORKS,
};

struct backing {
    struct fuse_session *session; /* its owner's; NULL: there is no kernel to tell */
    bool is_wanted;
    _Atomic(enum backing_state) state;
};

/* Return: whether this mount has it. Context: not before the kernel has had its answer to INIT. */
bool backing_works(struct backing *backing);

/* Makes @fd known to the kernel. Return: the id (above 0) to answer an open with; a negative errno. */
int backing_open(struct backing *backing, int fd);

/* Makes @fd known to the kernel, once: all opens of one file are answered with the same id, which *@id, under
 * @lock, keeps (0 at first).
 * Return: the id (above 0) to answer an open with; a negative errno. */
int backing_obtain(struct backing *backing, pthread_mutex_t *lock, int *id, int fd);

/* @id may be 0. Files that are open, and mappings, stay what they are. */
void backing_close(struct backing *backing, int id);

#endif
