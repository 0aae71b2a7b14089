/* Each inode has a list of locks that are held and one of requests that wait, in the order they came. When
 * something is given back, those that wait are tried again, in that order; one that can't have its lock yet
 * does not hold up the next, as with the kernel's own locks. */
#include "locks.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/queue.h>

#include "core/base/hash.h"
#include "core/mailbox/quota.h"
#include "deferred.h"

/* What a change of one inode's locks may cost, in comparisons: locks held times requests waiting. */
#define WORK_MAX (1U << 20)

/* The chains of owners waiting for each other that are followed. */
#define DEADLOCK_DEPTH_MAX 10

#define CHARGE_BYTES 192

enum lock_kind {
    LOCK_OF_FILE,   /* flock */
    LOCK_OF_RECORD, /* fcntl */
};

/* A lock that is held, or wanted. */
struct lock {
    enum lock_kind kind;
    short type; /* F_RDLCK, F_WRLCK; F_UNLCK in a request */
    uint64_t owner;
    uint64_t start;
    uint64_t end; /* the last byte */
    pid_t pid;
    struct file *file; /* that it was taken through; no reference: it goes before that does */
    uid_t uid;         /* who it is charged to */
    TAILQ_ENTRY(lock) link;
};

TAILQ_HEAD(lock_list, lock);
TAILQ_HEAD(request_list, lock_request);

struct locked_inode {
    struct locks *locks;
    uint64_t ino;
    struct lock_list held;
    struct request_list waiting;
    uint64_t n_held;
    uint64_t n_waiting;
    UT_hash_handle hh;
};

/* What granting a lock can need, charged already. */
struct spares {
    struct lock *lock; /* becomes the one that is held */
    struct lock *rest; /* becomes what is left behind it of one that it is cut out of; or NULL */
};

/* A request that waits. */
struct lock_request {
    struct lock wanted;
    struct spares spares;
    struct locks *locks;
    struct locked_inode *inode;
    fuse_req_t req;
    struct file *file; /* a reference */
    struct deferred_work interrupted;
    int result;
    /* Under the lock: */
    bool is_waiting;
    bool is_cancelled;
    bool is_blocked; /* in locks->blocked */
    TAILQ_ENTRY(lock_request) link;
    UT_hash_handle hh; /* by wanted.owner */
};

void locks_init(struct locks *locks, struct quota *quota, struct deferred *deferred)
{
    *locks = (struct locks){ .quota = quota, .deferred = deferred };
    pthread_mutex_init(&locks->lock, NULL);
}

void locks_deinit(struct locks *locks)
{
    pthread_mutex_destroy(&locks->lock);
}

/* --- Locks and inodes as objects --- */

/* Return: 0 with a lock, charged to @uid; a negative errno. */
static int lock_new(struct locks *locks, uid_t uid, struct lock **ret_lock)
{
    int r = quota_charge(locks->quota, uid, CHARGE_BYTES);
    struct lock *lock;

    if (r < 0)
        return r;
    lock = calloc(1, sizeof(*lock));
    if (!lock) {
        quota_release(locks->quota, uid, CHARGE_BYTES);
        return -ENOMEM;
    }
    lock->uid = uid;
    *ret_lock = lock;
    return 0;
}

static void lock_free(struct locks *locks, struct lock *lock)
{
    if (!lock)
        return;
    quota_release(locks->quota, lock->uid, CHARGE_BYTES);
    free(lock);
}

static void free_spares(struct locks *locks, struct spares *spares)
{
    lock_free(locks, spares->lock);
    lock_free(locks, spares->rest);
}

/* Under lock. Return: NULL: nothing is locked there. */
static struct locked_inode *find_inode(struct locks *locks, uint64_t ino)
{
    struct locked_inode *inode;

    HASH_FIND(hh, locks->inodes, &ino, sizeof(ino), inode);
    return inode;
}

/* Under lock. Return: NULL when memory is short. */
static struct locked_inode *find_or_add_inode(struct locks *locks, uint64_t ino)
{
    struct locked_inode *inode = find_inode(locks, ino);

    if (inode)
        return inode;
    inode = calloc(1, sizeof(*inode));
    if (!inode)
        return NULL;
    inode->locks = locks;
    inode->ino = ino;
    TAILQ_INIT(&inode->held);
    TAILQ_INIT(&inode->waiting);
    HASH_ADD(hh, locks->inodes, ino, sizeof(inode->ino), inode);
    if (!hash_added(inode, hh)) {
        free(inode);
        return NULL;
    }
    atomic_fetch_add(&locks->n_inodes, 1);
    return inode;
}

/* Under lock. */
static void drop_unused_inode(struct locks *locks, struct locked_inode *inode)
{
    if (inode->n_held > 0 || inode->n_waiting > 0)
        return;
    HASH_DEL(locks->inodes, inode);
    atomic_fetch_sub(&locks->n_inodes, 1);
    free(inode);
}

static void hold(struct locked_inode *inode, struct lock *lock)
{
    TAILQ_INSERT_TAIL(&inode->held, lock, link);
    inode->n_held++;
}

static void give_back(struct locked_inode *inode, struct lock *lock)
{
    TAILQ_REMOVE(&inode->held, lock, link);
    inode->n_held--;
    lock_free(inode->locks, lock);
}

/* --- Who may have what --- */

static bool is_same_owner(const struct lock *a, const struct lock *b)
{
    return a->kind == b->kind && a->owner == b->owner;
}

static bool overlap(const struct lock *a, const struct lock *b)
{
    return a->start <= b->end && b->start <= a->end;
}

/* Return: the first lock that keeps @wanted from being granted; NULL: there is none. */
static struct lock *find_conflict(struct locked_inode *inode, const struct lock *wanted)
{
    struct lock *lock;

    TAILQ_FOREACH(lock, &inode->held, link) {
        if (lock->kind == wanted->kind && lock->owner != wanted->owner && overlap(lock, wanted) &&
            (lock->type == F_WRLCK || wanted->type == F_WRLCK))
            return lock;
    }
    return NULL;
}

/* Under lock. Return: whether the owner of @holder waits, directly or by others, for @owner. */
static bool would_deadlock(struct locks *locks, const struct lock *holder, uint64_t owner)
{
    for (unsigned int i = 0; i < DEADLOCK_DEPTH_MAX && holder; i++) {
        struct lock_request *request;

        if (holder->owner == owner)
            return true;
        HASH_FIND(hh, locks->blocked, &holder->owner, sizeof(holder->owner), request);
        holder = request ? find_conflict(request->inode, &request->wanted) : NULL;
    }
    return false;
}

static bool is_adjacent(const struct lock *first, const struct lock *second)
{
    return second->start > 0 && first->end == second->start - 1;
}

static bool is_to_merge(const struct lock *lock, const struct lock *wanted)
{
    return lock->type == wanted->type &&
           (overlap(lock, wanted) || is_adjacent(lock, wanted) || is_adjacent(wanted, lock));
}

/* Whether @wanted lies in the midst of @lock. */
static bool is_inside(const struct lock *wanted, const struct lock *lock)
{
    return lock->start < wanted->start && lock->end > wanted->end;
}

static void merge(struct locked_inode *inode, struct lock *lock, struct lock *wanted)
{
    wanted->start = lock->start < wanted->start ? lock->start : wanted->start;
    wanted->end = lock->end > wanted->end ? lock->end : wanted->end;
    give_back(inode, lock);
}

/* Cuts @wanted out of @lock, which overlaps it. */
static void cut_out(struct locked_inode *inode, struct lock *lock, const struct lock *wanted,
                    struct lock **rest)
{
    if (is_inside(wanted, lock)) {
        uid_t uid = (*rest)->uid;

        **rest = *lock;
        (*rest)->uid = uid;
        (*rest)->start = wanted->end + 1;
        hold(inode, *rest);
        *rest = NULL;
        lock->end = wanted->start - 1;
    } else if (lock->start < wanted->start) {
        lock->end = wanted->start - 1;
    } else if (lock->end > wanted->end) {
        lock->start = wanted->end + 1;
    } else {
        give_back(inode, lock);
    }
}

/* Makes way for @wanted in what its owner holds: what is of its type and touches it becomes a part of it,
 * what else is overlapped goes. @rest is used up if something is left behind it (is_inside_another). */
static void locks_make_way(struct locked_inode *inode, struct lock *wanted, struct lock **rest)
{
    struct lock *lock;
    struct lock *next;

    for (lock = TAILQ_FIRST(&inode->held); lock; lock = next) {
        next = TAILQ_NEXT(lock, link);
        if (!is_same_owner(lock, wanted))
            continue;
        if (is_to_merge(lock, wanted))
            merge(inode, lock, wanted);
        else if (overlap(lock, wanted))
            cut_out(inode, lock, wanted, rest);
    }
}

/* Gives @wanted to its owner, of what is spare. */
static void grant(struct locked_inode *inode, const struct lock *wanted, struct spares *spares)
{
    struct lock *lock = spares->lock;
    struct lock merged = *wanted;
    uid_t uid = lock->uid;

    locks_make_way(inode, &merged, &spares->rest);
    *lock = merged;
    lock->uid = uid;
    hold(inode, lock);
    spares->lock = NULL;
}

/* Whether @wanted lies in the midst of a lock of its owner's that is not to be merged with it. */
static bool is_inside_another(struct locked_inode *inode, const struct lock *wanted)
{
    struct lock *lock;

    TAILQ_FOREACH(lock, &inode->held, link) {
        if (is_same_owner(lock, wanted) && lock->type != wanted->type && is_inside(wanted, lock))
            return true;
    }
    return false;
}

/* --- Requests that wait --- */

static void finish_request(struct lock_request *request)
{
    struct file *file = request->file;

    /* Waits for a running locks_on_interrupt. */
    fuse_req_interrupt_func(request->req, NULL, NULL);
    fuse_reply_err(request->req, -request->result);
    free_spares(request->locks, &request->spares);
    free(request);
    file_unref(file);
}

/* Under lock: it waits no more. */
static void locks_end_wait(struct locks *locks, struct lock_request *request, int result)
{
    struct locked_inode *inode = request->inode;

    request->is_waiting = false;
    request->result = result;
    TAILQ_REMOVE(&inode->waiting, request, link);
    inode->n_waiting--;
    if (request->is_blocked)
        HASH_DEL(locks->blocked, request);
    request->is_blocked = false;
}

static void finish_all(struct request_list *ended)
{
    struct lock_request *request;

    while ((request = TAILQ_FIRST(ended))) {
        TAILQ_REMOVE(ended, request, link);
        finish_request(request);
    }
}

/* Under lock: something was given back at @inode. Those that have their lock now come into @ended. */
static void retry(struct locks *locks, struct locked_inode *inode, struct request_list *ended)
{
    struct lock_request *request = TAILQ_FIRST(&inode->waiting);

    while (request) {
        struct lock_request *next = TAILQ_NEXT(request, link);

        if (!find_conflict(inode, &request->wanted)) {
            locks_end_wait(locks, request, 0);
            grant(inode, &request->wanted, &request->spares);
            TAILQ_INSERT_TAIL(ended, request, link);
        }
        request = next;
    }
}

static void finish_interrupted(struct deferred_work *work)
{
    finish_request(
        (struct lock_request *)((char *)work - offsetof(struct lock_request, interrupted)));
}

/* libfuse holds the request's lock, so the answer is left to another thread. */
static void locks_on_interrupt(fuse_req_t req, void *data)
{
    struct lock_request *request = data;
    struct locks *locks = request->locks;
    bool is_ended;

    (void)req;
    pthread_mutex_lock(&locks->lock);
    is_ended = request->is_waiting;
    if (is_ended) {
        locks_end_wait(locks, request, -EINTR);
        drop_unused_inode(locks, request->inode);
    } else {
        request->is_cancelled = true;
    }
    pthread_mutex_unlock(&locks->lock);
    if (is_ended)
        deferred_add(locks->deferred, &request->interrupted);
}

/* Return: NULL when memory is short. */
static struct lock_request *request_new(struct locks *locks, struct file *file, fuse_req_t req,
                                        const struct lock *wanted)
{
    struct lock_request *request = calloc(1, sizeof(*request));

    if (!request)
        return NULL;
    request->locks = locks;
    request->wanted = *wanted;
    request->req = req;
    request->file = file_ref(file);
    request->interrupted.run = finish_interrupted;
    fuse_req_interrupt_func(req, locks_on_interrupt, request);
    return request;
}

/* Under lock. Return: 0: @request waits; a negative errno. */
static int wait_in_line(struct locks *locks, struct locked_inode *inode,
                        struct lock_request *request)
{
    if (request->is_cancelled)
        return -EINTR;
    if ((inode->n_held + 1) * (inode->n_waiting + 1) > WORK_MAX)
        return -ENOLCK;
    request->inode = inode;
    request->is_waiting = true;
    TAILQ_INSERT_TAIL(&inode->waiting, request, link);
    inode->n_waiting++;
    if (request->wanted.kind == LOCK_OF_RECORD) {
        /* Without memory for it a deadlock is not seen. */
        HASH_ADD(hh, locks->blocked, wanted.owner, sizeof(request->wanted.owner), request);
        request->is_blocked = hash_added(request, hh);
    }
    return 0;
}

/* --- The calls --- */

/* What one call works with. */
struct call {
    struct locks *locks;
    struct file *file;
    fuse_req_t req;
    uint64_t ino;
    struct lock wanted;
    bool waits;
    struct spares spares;
    struct lock_request *request;
    struct request_list ended;
};

/* Under lock: gives back what the owner of call->wanted has there. Return: 0; -ENOLCK: something would be
 * left on both sides, and there was no memory for that. */
static int unlock(struct call *call, struct locked_inode *inode)
{
    struct lock gap = call->wanted;

    if (!call->spares.rest && is_inside_another(inode, &gap))
        return -ENOLCK;
    locks_make_way(inode, &gap, &call->spares.rest);
    retry(call->locks, inode, &call->ended);
    return 0;
}

/* Under lock. Return: 0; -EAGAIN; -ENOLCK: there are too many. */
static int try_lock(struct call *call, struct locked_inode *inode)
{
    if (find_conflict(inode, &call->wanted))
        return -EAGAIN;
    if ((inode->n_held + 1) * (inode->n_waiting + 1) > WORK_MAX)
        return -ENOLCK;
    grant(inode, &call->wanted, &call->spares);
    /* It may have been a stronger one before. */
    retry(call->locks, inode, &call->ended);
    return 0;
}

/* Under lock. Return: 1: it waits; a negative errno. */
static int wait_for_it(struct call *call, struct locked_inode *inode)
{
    struct locks *locks = call->locks;
    const struct lock *conflict = find_conflict(inode, &call->wanted);
    int r;

    if (call->wanted.kind == LOCK_OF_RECORD && would_deadlock(locks, conflict, call->wanted.owner))
        return -EDEADLK;
    r = wait_in_line(locks, inode, call->request);
    if (r < 0)
        return r;
    call->request->spares = call->spares;
    call->spares = (struct spares){ 0 };
    call->request = NULL;
    return 1;
}

/* Under lock. Return: 0: it has the lock; or as wait_for_it. */
static int lock_or_wait(struct call *call, struct locked_inode *inode)
{
    int r = try_lock(call, inode);

    /* As flock(2) has it: who converts a lock gives the old one back first. */
    if (r == -EAGAIN && call->wanted.kind == LOCK_OF_FILE) {
        struct call back = { .locks = call->locks, .file = call->file, .wanted = call->wanted };

        back.wanted.type = F_UNLCK;
        TAILQ_INIT(&back.ended);
        unlock(&back, inode);
        TAILQ_CONCAT(&call->ended, &back.ended, link);
        r = try_lock(call, inode);
    }
    return r == -EAGAIN && call->waits ? wait_for_it(call, inode) : r;
}

/* Under lock. Return: as lock_or_wait. */
static int run_locked(struct call *call)
{
    struct locks *locks = call->locks;
    bool unlocks = call->wanted.type == F_UNLCK;
    struct locked_inode *inode = unlocks ? find_inode(locks, call->ino)
                                         : find_or_add_inode(locks, call->ino);
    int r;

    if (!inode)
        return unlocks ? 0 : -ENOMEM;
    atomic_store(&call->file->lock_ino, call->ino);
    r = unlocks ? unlock(call, inode) : lock_or_wait(call, inode);
    drop_unused_inode(locks, inode);
    return r;
}

/* What the call may need is there before it begins. Return: 0; a negative errno. */
static int prepare(struct call *call)
{
    uid_t uid = fuse_req_ctx(call->req)->uid;
    int r = 0;

    if (call->wanted.kind == LOCK_OF_RECORD)
        r = lock_new(call->locks, uid, &call->spares.rest);
    /* Mostly it can do without. */
    if (call->wanted.type == F_UNLCK)
        return 0;
    if (r == 0)
        r = lock_new(call->locks, uid, &call->spares.lock);
    if (r == 0 && call->waits) {
        call->request = request_new(call->locks, call->file, call->req, &call->wanted);
        r = call->request ? 0 : -ENOMEM;
    }
    return r;
}

static void locks_run(struct call *call)
{
    struct file *file = file_ref(call->file);
    struct locks *locks = call->locks;
    int r = prepare(call);

    TAILQ_INIT(&call->ended);
    if (r == 0) {
        pthread_mutex_lock(&locks->lock);
        r = run_locked(call);
        pthread_mutex_unlock(&locks->lock);
    }
    if (call->request) {
        fuse_req_interrupt_func(call->req, NULL, NULL);
        free(call->request);
        file_unref(file);
    }
    free_spares(locks, &call->spares);
    if (r <= 0)
        fuse_reply_err(call->req, -r);
    finish_all(&call->ended);
    file_unref(file);
}

void locks_flock(struct locks *locks, struct file *file, fuse_req_t req, uint64_t ino,
                 uint64_t owner, int operation)
{
    int what = operation & ~LOCK_NB;
    struct call call = {
        .locks = locks,
        .file = file,
        .req = req,
        .ino = ino,
        .waits = !(operation & LOCK_NB) && what != LOCK_UN,
        .wanted = {
            .kind = LOCK_OF_FILE,
            .type = what == LOCK_EX ? F_WRLCK : what == LOCK_SH ? F_RDLCK : F_UNLCK,
            .owner = owner,
            .end = UINT64_MAX,
            .file = file,
        },
    };

    locks_run(&call);
}

/* Return: @flock's bytes as a lock of @owner. libfuse gives offsets from the start of the file. */
static struct lock as_lock(struct file *file, uint64_t owner, const struct flock *flock)
{
    return (struct lock){
        .kind = LOCK_OF_RECORD,
        .type = flock->l_type,
        .owner = owner,
        .start = (uint64_t)flock->l_start,
        .end = flock->l_len ? (uint64_t)flock->l_start + (uint64_t)flock->l_len - 1 : UINT64_MAX,
        .pid = flock->l_pid,
        .file = file,
    };
}

void locks_set(struct locks *locks, struct file *file, fuse_req_t req, uint64_t ino, uint64_t owner,
               const struct flock *wanted, bool waits)
{
    struct call call = {
        .locks = locks,
        .file = file,
        .req = req,
        .ino = ino,
        .waits = waits && wanted->l_type != F_UNLCK,
        .wanted = as_lock(file, owner, wanted),
    };

    if (file->ops->open_flags & FOPEN_NOFLUSH)
        fuse_reply_err(req, wanted->l_type == F_UNLCK ? 0 : ENOLCK);
    else
        locks_run(&call);
}

void locks_get(struct locks *locks, struct file *file, fuse_req_t req, uint64_t ino, uint64_t owner,
               const struct flock *wanted)
{
    struct lock lock = as_lock(file, owner, wanted);
    const struct lock *conflict = NULL;
    struct flock answer = *wanted;
    struct locked_inode *inode;

    answer.l_type = F_UNLCK;
    pthread_mutex_lock(&locks->lock);
    inode = find_inode(locks, ino);
    if (inode)
        conflict = find_conflict(inode, &lock);
    if (conflict)
        answer = (struct flock){
            .l_type = conflict->type,
            .l_whence = SEEK_SET,
            .l_start = (off_t)conflict->start,
            .l_len = conflict->end == UINT64_MAX ? 0 : (off_t)(conflict->end - conflict->start + 1),
            .l_pid = conflict->pid,
        };
    pthread_mutex_unlock(&locks->lock);
    fuse_reply_lock(req, &answer);
}

static bool is_given_back(const struct lock *lock, const struct file *file, uint64_t owner)
{
    return file ? lock->file == file : lock->kind == LOCK_OF_RECORD && lock->owner == owner;
}

/* Gives back what was locked at @ino through @file, or, where that is NULL, by @owner. */
static void give_back_all(struct locks *locks, uint64_t ino, const struct file *file,
                          uint64_t owner)
{
    struct request_list ended = TAILQ_HEAD_INITIALIZER(ended);
    struct locked_inode *inode;
    struct lock *lock;
    struct lock *next;

    pthread_mutex_lock(&locks->lock);
    inode = find_inode(locks, ino);
    for (lock = inode ? TAILQ_FIRST(&inode->held) : NULL; lock; lock = next) {
        next = TAILQ_NEXT(lock, link);
        if (is_given_back(lock, file, owner))
            give_back(inode, lock);
    }
    if (inode) {
        retry(locks, inode, &ended);
        drop_unused_inode(locks, inode);
    }
    pthread_mutex_unlock(&locks->lock);
    finish_all(&ended);
}

bool locks_are_there(struct locks *locks)
{
    return atomic_load(&locks->n_inodes) > 0;
}

void locks_close(struct locks *locks, uint64_t ino, uint64_t owner)
{
    give_back_all(locks, ino, NULL, owner);
}

void locks_release(struct locks *locks, struct file *file)
{
    uint64_t ino = atomic_load(&file->lock_ino);

    if (ino)
        give_back_all(locks, ino, file, 0);
}

void locks_end_waiting(struct locks *locks)
{
    struct request_list ended = TAILQ_HEAD_INITIALIZER(ended);
    struct locked_inode *inode;
    struct locked_inode *next;

    pthread_mutex_lock(&locks->lock);
    HASH_ITER(hh, locks->inodes, inode, next) {
        struct lock_request *request;

        while ((request = TAILQ_FIRST(&inode->waiting))) {
            locks_end_wait(locks, request, -EINTR);
            TAILQ_INSERT_TAIL(&ended, request, link);
        }
        drop_unused_inode(locks, inode);
    }
    pthread_mutex_unlock(&locks->lock);
    finish_all(&ended);
}
