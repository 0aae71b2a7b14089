/* What the whole mount and each user may hold, in bytes.
 *
 * A charge is made when something starts to be held (a message is sent) and released when it no
 * longer is (the message has left its mailbox); who charged releases, with the same uid and size.
 *
 * Context: every function takes the quota's own lock, a leaf: no other lock is taken under it, and
 * it may be called with any other lock held. Nothing here waits for room. */
#ifndef IPCFS_CORE_QUOTA_H
#define IPCFS_CORE_QUOTA_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

struct quota_user;

struct quota {
    pthread_mutex_t lock;
    uint64_t max_bytes;       /* the bound on all together */
    uint64_t uid_bytes;       /* the bound on one user */
    uint64_t used_bytes;      /* under lock: the sum of all users */
    struct quota_user *users; /* under lock: by uid */
};

void quota_init(struct quota *q, uint64_t max_bytes, uint64_t uid_bytes);

/* Everything charged has been released. */
void quota_deinit(struct quota *q);

/* Return: 0; -EDQUOT: the user's bound; -ENOSPC: the bound on all; -ENOMEM. On failure nothing is
 * charged. */
int quota_charge(struct quota *q, uid_t uid, uint64_t bytes);

/* Charges whatever the bounds say: for what was released too early. Return: 0; -ENOMEM. */
int quota_restore(struct quota *q, uid_t uid, uint64_t bytes);

/* Charges to @to what was charged to @from: all together hold what they held. Return: 0; -EDQUOT; -ENOMEM;
 * then nothing has changed. */
int quota_move(struct quota *q, uid_t from, uid_t to, uint64_t bytes);

void quota_release(struct quota *q, uid_t uid, uint64_t bytes);

/* Return: bytes held by all. */
uint64_t quota_used(struct quota *q);

/* Return: how many users are remembered. */
unsigned int quota_n_users(struct quota *q);

#endif
