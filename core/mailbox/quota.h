/* What the whole mount and each user may hold: bytes, memory for what they made and opened, and
 * descriptors of the daemon.
 *
 * A charge is made before something starts to be held (a message is sent) and released when it no
 * longer is (its last reference is gone); who charged releases, with the same uid and size.
 * What may have several holders, at once or one after the other, carries its charge with it (struct
 * quota_charge).
 *
 * What is queued or shared counts in bytes. Beside it the daemon keeps memory for what users made
 * (mailboxes, links) and have open. That has an account of its own with the same bounds, but never less
 * than QUOTA_KEPT_MIN_BYTES: who has filled the first can still open what he is to empty it by. Of the
 * second, an eighth is for what is open alone, and users but root leave an eighth of the whole.
 *
 * Whatever holds a descriptor of the daemon for a user (the memory of a region or a ring, the pidfd of
 * a process in proc/) charges it. The bound is what the daemon's RLIMIT_NOFILE is at the time of asking:
 * an administrator may change that while it runs. One user gets a quarter of it at most, and all users
 * but root leave a reserve, so that the daemon itself and root always get one.
 *
 * Context: every function takes the quota's own lock, a leaf: no other lock is taken under it, and
 * it may be called with any other lock held; but for a holder of a charge that comes and goes while others hold it as well, for
 * whom a count says all. Nothing here waits for room. */
#ifndef IPCFS_CORE_QUOTA_H
#define IPCFS_CORE_QUOTA_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

struct quota_user;

/* For quota.max_fds. Return: this process's RLIMIT_NOFILE. */
uint64_t quota_process_fds(void);

struct quota {
    pthread_mutex_t lock;
    uint64_t max_bytes;        /* the bound on all together */
    uint64_t uid_bytes;        /* the bound on one user */
    uint64_t used_bytes;       /* under lock: the sum of all users */
    uint64_t used_kept;        /* under lock: the sum of all users */
    uint64_t used_open;        /* under lock: how much of that is QUOTA_OPEN */
    uint64_t (*max_fds)(void); /* how many descriptors there may be; quota_process_fds at first */
    uint64_t used_fds;         /* under lock: the sum of all users */
    struct quota_user *users;  /* under lock: by uid */
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

/* What one thing counts for, as long as somebody holds it. Zeroed: it counts for nobody. Its members are
 * under the quota's lock, but for the holds; who has put it into one quota does not put it into another. */
struct quota_charge {
    struct quota *quota; /* NULL: it was never charged; written once, and read without lock */
    uid_t uid;           /* who it counts for */
    uid_t holder;        /* who it is to count for once its first holder lets go */
    /* How many hold it, below QUOTA_FIRST; and in units of that, how many of these are its first holders, who may be
     * several, equal among each other. The first of these comes, and the last goes, under lock. */
    _Atomic uint64_t holds;
    uint64_t bytes; /* 0 while nobody holds it */
};

#define QUOTA_FIRST (UINT64_C(1) << 32)

/* Charges @bytes to @uid for the first holder. Return: as quota_charge. */
int quota_charge_begin(struct quota_charge *charge, struct quota *q, uid_t uid, uint64_t bytes);

/* As quota_charge_begin, with what the caller has charged to @uid before. */
void quota_charge_adopt(struct quota_charge *charge, struct quota *q, uid_t uid, uint64_t bytes);

/* One more first holder: @bytes are charged to @uid if they are not charged yet. Return: as quota_charge. */
int quota_charge_join(struct quota_charge *charge, struct quota *q, uid_t uid, uint64_t bytes);

/* Another, user @uid, holds it too. */
void quota_charge_hold(struct quota_charge *charge, struct quota *q, uid_t uid);

/* One who held it as well lets go; the last one's letting go gives the bytes back. */
void quota_charge_drop(struct quota_charge *charge);

/* A first holder lets go. If it was the last of these and others go on holding it, it counts for them, as far as their
 * bound allows. */
void quota_charge_hand_on(struct quota_charge *charge);

/* A first holder has it again, and it counts for @uid, whatever the bounds say, unless there are other first holders. Where
 * there is no memory to note that down, it counts for nobody. */
void quota_charge_restore(struct quota_charge *charge, struct quota *q, uid_t uid, uint64_t bytes);

/* It counts for @uid from now on, if @uid's bound allows and there is one first holder. Return: as quota_move. */
int quota_charge_move(struct quota_charge *charge, uid_t uid);

/* Nobody holds it any more. */
void quota_charge_end(struct quota_charge *charge);

/* Return: bytes held by all. */
uint64_t quota_used(struct quota *q);

/* What the daemon keeps for a user beside what is queued. */
enum quota_kept {
    QUOTA_MADE, /* until it is removed */
    QUOTA_OPEN, /* until it is closed */
};

/* One user's bound is never lower; that of all together is four times as much. */
#define QUOTA_KEPT_MIN_BYTES (UINT64_C(256) << 10)

/* Before @bytes of memory are taken for something of @uid's. Return: as quota_charge. */
int quota_charge_kept(struct quota *q, uid_t uid, uint64_t bytes, enum quota_kept what);

/* Charges to @to what was charged to @from as QUOTA_MADE. Return: 0; -EDQUOT; -ENOMEM; then nothing has
 * changed. */
int quota_move_kept(struct quota *q, uid_t from, uid_t to, uint64_t bytes);

void quota_release_kept(struct quota *q, uid_t uid, uint64_t bytes, enum quota_kept what);

/* Return: memory kept for all. */
uint64_t quota_used_kept(struct quota *q, enum quota_kept what);

/* Before @n descriptors are opened for @uid. Return: 0; -EDQUOT: the user's share; -ENFILE: no more
 * than the reserve is left, or for root, than what the daemon needs itself; -ENOMEM. On failure
 * nothing is charged. */
int quota_charge_fds(struct quota *q, uid_t uid, uint64_t n);

/* Charges to @to the descriptors that were charged to @from. Return: 0; -EDQUOT; -ENOMEM; then nothing
 * has changed. */
int quota_move_fds(struct quota *q, uid_t from, uid_t to, uint64_t n);

void quota_release_fds(struct quota *q, uid_t uid, uint64_t n);

/* Return: descriptors held by all. */
uint64_t quota_used_fds(struct quota *q);

/* Return: how many users are remembered. */
unsigned int quota_n_users(struct quota *q);

#endif
