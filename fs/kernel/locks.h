/* Advisory locks on open files: flock(2), and record locks as fcntl(2) has them.
 *
 * The kernel's own would be an inode's, and a file whose writers may wait has a new inode at each lookup
 * (node.h): two processes would hold the same lock. So the locks of all files are kept here, by inode number.
 *
 * A flock belongs to an open file, which takes it along when it is released. A record lock belongs to a
 * process (the kernel's lock_owner) and goes when that closes any descriptor of the file, which a FLUSH tells:
 * files that get none (FOPEN_NOFLUSH) have no record locks (ENOLCK).
 *
 * Each lock and each request that waits is charged to the user who asked.
 *
 * Context: any thread; one lock, a leaf but for the quota's. A request is answered with no lock held. */
#ifndef IPCFS_FS_LOCKS_H
#define IPCFS_FS_LOCKS_H

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "file.h"

struct deferred;
struct locked_inode;
struct lock_request;
struct quota;

struct locks {
    struct quota *quota;
    struct deferred *deferred;
    pthread_mutex_t lock;
    struct locked_inode *inodes;  /* under lock: by number, those with locks or requests */
    struct lock_request *blocked; /* under lock: those that wait for a record lock, by owner */
    atomic_size_t n_inodes;
};

/* Locks are charged in @quota; @deferred answers who was interrupted. */
void locks_init(struct locks *locks, struct quota *quota, struct deferred *deferred);

/* All files have been released. */
void locks_deinit(struct locks *locks);

/* Answers @req, a flock(2) of @file, which has inode number @ino; @operation as there.
 * Errors: EWOULDBLOCK, EINTR; ENOLCK: too many; ENOMEM, EDQUOT, ENOSPC. */
void locks_flock(struct locks *locks, struct file *file, fuse_req_t req, uint64_t ino,
                 uint64_t owner, int operation);

/* Answers @req, a F_SETLK, or F_SETLKW where it @waits. Errors: EAGAIN, EDEADLK, and as above. */
void locks_set(struct locks *locks, struct file *file, fuse_req_t req, uint64_t ino, uint64_t owner,
               const struct flock *wanted, bool waits);

/* Answers @req, a F_GETLK. */
void locks_get(struct locks *locks, struct file *file, fuse_req_t req, uint64_t ino, uint64_t owner,
               const struct flock *wanted);

/* Return: whether anything is locked now. */
bool locks_are_there(struct locks *locks);

/* @owner has closed a descriptor of inode @ino: its record locks there go. */
void locks_close(struct locks *locks, uint64_t ino, uint64_t owner);

/* @file has been released: what was locked through it goes. No request of it waits any more. */
void locks_release(struct locks *locks, struct file *file);

/* Who waits gets EINTR: nobody will answer soon. */
void locks_end_waiting(struct locks *locks);

#endif
