#include "quota.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "core/base/hash.h"

/* Users who hold nothing are forgotten only while there are more than these: one who sends and
 * receives in turn would be added and removed each time. */
#define IDLE_USERS_KEPT 64

/* One user's share of all descriptors. */
#define FDS_SHARE 4

/* What other users leave to root: this part of all descriptors, and no fewer than so many. */
#define FDS_RESERVE_PART 8
#define FDS_RESERVE_MIN 64

/* What root leaves to the daemon, which opens a file now and then: so many, or the part above. */
#define FDS_OWN_MAX 32

/* Of the memory that is kept for one user, this part is only for what is open; and of that for all, this
 * part is only for root. */
#define KEPT_RESERVE_PART 8
#define KEPT_MIN_USERS 4

struct quota_user {
    uid_t uid;
    uint64_t used_bytes;
    uint64_t used_kept;
    uint64_t used_fds;
    UT_hash_handle hh;
};

uint64_t quota_process_fds(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return limit.rlim_cur;
}

void quota_init(struct quota *q, uint64_t max_bytes, uint64_t uid_bytes)
{
    *q = (struct quota){
        .max_bytes = max_bytes,
        .uid_bytes = uid_bytes,
        .max_fds = quota_process_fds,
    };
    pthread_mutex_init(&q->lock, NULL);
}

void quota_deinit(struct quota *q)
{
    struct quota_user *user;
    struct quota_user *next;

    assert(q->used_bytes == 0 && q->used_kept == 0 && q->used_fds == 0);
    HASH_ITER(hh, q->users, user, next) {
        HASH_DEL(q->users, user);
        free(user);
    }
    pthread_mutex_destroy(&q->lock);
}

static struct quota_user *find_or_add_user(struct quota *q, uid_t uid)
{
    struct quota_user *user;

    HASH_FIND(hh, q->users, &uid, sizeof(uid), user);
    if (user)
        return user;
    user = calloc(1, sizeof(*user));
    if (!user)
        return NULL;
    user->uid = uid;
    HASH_ADD(hh, q->users, uid, sizeof(user->uid), user);
    if (!hash_added(user, hh)) {
        free(user);
        return NULL;
    }
    return user;
}

static void forget_idle_user(struct quota *q, struct quota_user *user)
{
    if (user->used_bytes > 0 || user->used_kept > 0 || user->used_fds > 0 ||
        HASH_COUNT(q->users) <= IDLE_USERS_KEPT)
        return;
    HASH_DEL(q->users, user);
    free(user);
}

/* Under lock. @n_new: how many of the bytes nobody held before. Return: as quota_charge. */
static int charge_locked(struct quota *q, uid_t uid, uint64_t bytes, uint64_t n_new)
{
    struct quota_user *user = find_or_add_user(q, uid);
    int r = 0;

    if (!user)
        return -ENOMEM;
    if (bytes > q->uid_bytes || user->used_bytes > q->uid_bytes - bytes) {
        r = -EDQUOT;
    } else if (n_new > 0 && (n_new > q->max_bytes || q->used_bytes > q->max_bytes - n_new)) {
        r = -ENOSPC;
    } else {
        user->used_bytes += bytes;
        q->used_bytes += n_new;
    }
    forget_idle_user(q, user);
    return r;
}

int quota_charge(struct quota *q, uid_t uid, uint64_t bytes)
{
    int r;

    pthread_mutex_lock(&q->lock);
    r = charge_locked(q, uid, bytes, bytes);
    pthread_mutex_unlock(&q->lock);
    return r;
}

/* Under lock. Return: as quota_restore. */
static int restore_locked(struct quota *q, uid_t uid, uint64_t bytes)
{
    struct quota_user *user = find_or_add_user(q, uid);

    if (!user)
        return -ENOMEM;
    user->used_bytes += bytes;
    q->used_bytes += bytes;
    return 0;
}

int quota_restore(struct quota *q, uid_t uid, uint64_t bytes)
{
    int r;

    pthread_mutex_lock(&q->lock);
    r = restore_locked(q, uid, bytes);
    pthread_mutex_unlock(&q->lock);
    return r;
}

/* Under lock. @n_gone: how many of the bytes nobody holds any more. */
static void release_locked(struct quota *q, uid_t uid, uint64_t bytes, uint64_t n_gone)
{
    struct quota_user *user;

    HASH_FIND(hh, q->users, &uid, sizeof(uid), user);
    assert(user && user->used_bytes >= bytes && q->used_bytes >= n_gone);
    user->used_bytes -= bytes;
    q->used_bytes -= n_gone;
    forget_idle_user(q, user);
}

void quota_release(struct quota *q, uid_t uid, uint64_t bytes)
{
    if (bytes == 0)
        return;
    pthread_mutex_lock(&q->lock);
    release_locked(q, uid, bytes, bytes);
    pthread_mutex_unlock(&q->lock);
}

/* Under lock. Return: as quota_move. */
static int quota_move_locked(struct quota *q, uid_t from, uid_t to, uint64_t bytes)
{
    int r;

    if (from == to || bytes == 0)
        return 0;
    r = charge_locked(q, to, bytes, 0);
    if (r == 0)
        release_locked(q, from, bytes, 0);
    return r;
}

int quota_move(struct quota *q, uid_t from, uid_t to, uint64_t bytes)
{
    int r;

    pthread_mutex_lock(&q->lock);
    r = quota_move_locked(q, from, to, bytes);
    pthread_mutex_unlock(&q->lock);
    return r;
}

/* A first holder is a holder, too. */
#define FIRST_HOLD (QUOTA_FIRST + 1)

static uint64_t n_firsts(uint64_t holds)
{
    return holds / QUOTA_FIRST;
}

static uint64_t n_holders(uint64_t holds)
{
    return holds % QUOTA_FIRST;
}

static uint64_t holds_of(const struct quota_charge *charge)
{
    return atomic_load_explicit(&charge->holds, memory_order_relaxed);
}

/* One first holder more, or less, where another is one before and after that: nothing but the count changes then. Return:
 * whether that was so. */
static bool change_firsts_beside_others(struct quota_charge *charge, bool more)
{
    uint64_t holds = holds_of(charge);

    while (n_firsts(holds) > (more ? 0 : 1)) {
        uint64_t changed = more ? holds + FIRST_HOLD : holds - FIRST_HOLD;

        /* Acquire: who comes sees what the one who put it into the quota has written. Release: the last one's letting
         * go, which acquires, comes after whatever this holder did. */
        if (atomic_compare_exchange_weak_explicit(&charge->holds, &holds, changed,
                                                  memory_order_acq_rel, memory_order_relaxed))
            return true;
    }
    return false;
}

/* Under lock. Return: the holds as they were before. */
static uint64_t add_holds(struct quota_charge *charge, uint64_t n)
{
    /* Release: who comes next may do so without the lock, and finds the lock by what is written here. */
    return atomic_fetch_add_explicit(&charge->holds, n, memory_order_release);
}

/* Under lock. Return: the holds as they are now. */
static uint64_t take_holds(struct quota_charge *charge, uint64_t n)
{
    uint64_t before = atomic_fetch_sub_explicit(&charge->holds, n, memory_order_acq_rel);

    assert(n_holders(before) >= n_holders(n) && n_firsts(before) >= n_firsts(n));
    return before - n;
}

/* Under lock. Written only where that changes it: who holds it reads it without the lock. */
static void put_into(struct quota_charge *charge, struct quota *q)
{
    if (charge->quota != q)
        charge->quota = q;
}

void quota_charge_adopt(struct quota_charge *charge, struct quota *q, uid_t uid, uint64_t bytes)
{
    *charge = (struct quota_charge){
        .quota = q, .uid = uid, .holder = uid, .holds = FIRST_HOLD, .bytes = bytes
    };
}

int quota_charge_join(struct quota_charge *charge, struct quota *q, uid_t uid, uint64_t bytes)
{
    int r = 0;

    if (change_firsts_beside_others(charge, true))
        return 0;
    pthread_mutex_lock(&q->lock);
    if (charge->bytes == 0) {
        r = charge_locked(q, uid, bytes, bytes);
        if (r == 0) {
            put_into(charge, q);
            charge->uid = charge->holder = uid;
            charge->bytes = bytes;
        }
    }
    if (r == 0)
        add_holds(charge, FIRST_HOLD);
    pthread_mutex_unlock(&q->lock);
    return r;
}

int quota_charge_begin(struct quota_charge *charge, struct quota *q, uid_t uid, uint64_t bytes)
{
    int r = quota_charge(q, uid, bytes);

    if (r == 0)
        quota_charge_adopt(charge, q, uid, bytes);
    return r;
}

void quota_charge_hold(struct quota_charge *charge, struct quota *q, uid_t uid)
{
    pthread_mutex_lock(&q->lock);
    put_into(charge, q);
    charge->holder = uid;
    add_holds(charge, 1);
    pthread_mutex_unlock(&q->lock);
}

/* Under lock. @n holds are given back. Return: what is left of them. */
static uint64_t drop_locked(struct quota_charge *charge, uint64_t n)
{
    uint64_t left = take_holds(charge, n);

    if (n_holders(left) > 0)
        return left;
    if (charge->bytes > 0)
        release_locked(charge->quota, charge->uid, charge->bytes, charge->bytes);
    charge->bytes = 0;
    return 0;
}

/* Under lock. Return: as quota_move. */
static int move_charge_locked(struct quota_charge *charge, uid_t uid)
{
    int r = quota_move_locked(charge->quota, charge->uid, uid, charge->bytes);

    if (r == 0)
        charge->uid = uid;
    return r;
}

void quota_charge_drop(struct quota_charge *charge)
{
    pthread_mutex_lock(&charge->quota->lock);
    drop_locked(charge, 1);
    pthread_mutex_unlock(&charge->quota->lock);
}

void quota_charge_hand_on(struct quota_charge *charge)
{
    uint64_t left;

    if (change_firsts_beside_others(charge, false))
        return;
    pthread_mutex_lock(&charge->quota->lock);
    left = drop_locked(charge, FIRST_HOLD);
    if (left > 0 && n_firsts(left) == 0)
        move_charge_locked(charge, charge->holder);
    pthread_mutex_unlock(&charge->quota->lock);
}

void quota_charge_restore(struct quota_charge *charge, struct quota *q, uid_t uid, uint64_t bytes)
{
    uint64_t before;

    pthread_mutex_lock(&q->lock);
    put_into(charge, q);
    before = add_holds(charge, FIRST_HOLD);
    if (charge->bytes == 0 || (n_firsts(before) == 0 && charge->uid != uid)) {
        if (restore_locked(q, uid, bytes) == 0) {
            if (charge->bytes > 0)
                release_locked(q, charge->uid, charge->bytes, charge->bytes);
            charge->uid = uid;
            charge->bytes = bytes;
        }
    }
    pthread_mutex_unlock(&q->lock);
}

int quota_charge_move(struct quota_charge *charge, uid_t uid)
{
    int r;

    pthread_mutex_lock(&charge->quota->lock);
    r = n_firsts(holds_of(charge)) > 1 ? 0 : move_charge_locked(charge, uid);
    pthread_mutex_unlock(&charge->quota->lock);
    return r;
}

void quota_charge_end(struct quota_charge *charge)
{
    if (charge->bytes > 0)
        quota_release(charge->quota, charge->uid, charge->bytes);
    charge->bytes = 0;
}

uint64_t quota_used(struct quota *q)
{
    uint64_t used;

    pthread_mutex_lock(&q->lock);
    used = q->used_bytes;
    pthread_mutex_unlock(&q->lock);
    return used;
}

static uint64_t at_least(uint64_t n, uint64_t min)
{
    return n < min ? min : n;
}

/* Return: what may be kept for one user. */
static uint64_t kept_share(const struct quota *q, enum quota_kept what)
{
    uint64_t share = at_least(q->uid_bytes, QUOTA_KEPT_MIN_BYTES);

    return what == QUOTA_OPEN ? share : share - share / KEPT_RESERVE_PART;
}

/* Return: what may be kept for all before @uid gets no more. */
static uint64_t kept_bound(const struct quota *q, uid_t uid)
{
    uint64_t bound = at_least(q->max_bytes, KEPT_MIN_USERS * QUOTA_KEPT_MIN_BYTES);

    return uid == 0 ? bound : bound - bound / KEPT_RESERVE_PART;
}

/* Under lock. @n_new: how much of it nobody held before. Return: as quota_charge. */
static int charge_kept_locked(struct quota *q, uid_t uid, uint64_t bytes, uint64_t n_new,
                              enum quota_kept what)
{
    struct quota_user *user = find_or_add_user(q, uid);
    uint64_t share = kept_share(q, what);
    uint64_t bound = kept_bound(q, uid);
    int r = 0;

    if (!user)
        return -ENOMEM;
    if (bytes > share || user->used_kept > share - bytes) {
        r = -EDQUOT;
    } else if (n_new > 0 && (n_new > bound || q->used_kept > bound - n_new)) {
        r = -ENOSPC;
    } else {
        user->used_kept += bytes;
        q->used_kept += n_new;
        q->used_open += what == QUOTA_OPEN ? n_new : 0;
    }
    forget_idle_user(q, user);
    return r;
}

/* Under lock. @n_gone: how much of it nobody holds any more. */
static void release_kept_locked(struct quota *q, uid_t uid, uint64_t bytes, uint64_t n_gone)
{
    struct quota_user *user;

    HASH_FIND(hh, q->users, &uid, sizeof(uid), user);
    assert(user && user->used_kept >= bytes && q->used_kept >= n_gone);
    user->used_kept -= bytes;
    q->used_kept -= n_gone;
    forget_idle_user(q, user);
}

int quota_charge_kept(struct quota *q, uid_t uid, uint64_t bytes, enum quota_kept what)
{
    int r;

    pthread_mutex_lock(&q->lock);
    r = charge_kept_locked(q, uid, bytes, bytes, what);
    pthread_mutex_unlock(&q->lock);
    return r;
}

void quota_release_kept(struct quota *q, uid_t uid, uint64_t bytes, enum quota_kept what)
{
    if (bytes == 0)
        return;
    pthread_mutex_lock(&q->lock);
    release_kept_locked(q, uid, bytes, bytes);
    q->used_open -= what == QUOTA_OPEN ? bytes : 0;
    pthread_mutex_unlock(&q->lock);
}

int quota_move_kept(struct quota *q, uid_t from, uid_t to, uint64_t bytes)
{
    int r;

    if (from == to || bytes == 0)
        return 0;
    pthread_mutex_lock(&q->lock);
    r = charge_kept_locked(q, to, bytes, 0, QUOTA_MADE);
    if (r == 0)
        release_kept_locked(q, from, bytes, 0);
    pthread_mutex_unlock(&q->lock);
    return r;
}

uint64_t quota_used_kept(struct quota *q, enum quota_kept what)
{
    uint64_t used;

    pthread_mutex_lock(&q->lock);
    used = what == QUOTA_OPEN ? q->used_open : q->used_kept - q->used_open;
    pthread_mutex_unlock(&q->lock);
    return used;
}

/* Return: how many descriptors there may be before @uid gets no more, when @max there are in all. */
static uint64_t fds_for(uid_t uid, uint64_t max)
{
    uint64_t part = max / FDS_RESERVE_PART;
    uint64_t reserve = at_least(part, FDS_RESERVE_MIN);

    if (uid == 0)
        reserve = part < FDS_OWN_MAX ? part : FDS_OWN_MAX;
    return reserve < max ? max - reserve : 0;
}

/* Under lock. @n_new: how many of the descriptors nobody held before. Return: as quota_charge_fds. */
static int charge_fds_locked(struct quota *q, uid_t uid, uint64_t n, uint64_t n_new)
{
    struct quota_user *user = find_or_add_user(q, uid);
    uint64_t max = q->max_fds();
    uint64_t share = max / FDS_SHARE;
    uint64_t bound = fds_for(uid, max);
    int r = 0;

    if (!user)
        return -ENOMEM;
    if (uid != 0 && (n > share || user->used_fds > share - n)) {
        r = -EDQUOT;
    } else if (n_new > 0 && (n_new > bound || q->used_fds > bound - n_new)) {
        r = -ENFILE;
    } else {
        user->used_fds += n;
        q->used_fds += n_new;
    }
    forget_idle_user(q, user);
    return r;
}

/* Under lock. @n_gone: how many of the descriptors nobody holds any more. */
static void release_fds_locked(struct quota *q, uid_t uid, uint64_t n, uint64_t n_gone)
{
    struct quota_user *user;

    HASH_FIND(hh, q->users, &uid, sizeof(uid), user);
    assert(user && user->used_fds >= n && q->used_fds >= n_gone);
    user->used_fds -= n;
    q->used_fds -= n_gone;
    forget_idle_user(q, user);
}

int quota_charge_fds(struct quota *q, uid_t uid, uint64_t n)
{
    int r;

    pthread_mutex_lock(&q->lock);
    r = charge_fds_locked(q, uid, n, n);
    pthread_mutex_unlock(&q->lock);
    return r;
}

void quota_release_fds(struct quota *q, uid_t uid, uint64_t n)
{
    if (n == 0)
        return;
    pthread_mutex_lock(&q->lock);
    release_fds_locked(q, uid, n, n);
    pthread_mutex_unlock(&q->lock);
}

int quota_move_fds(struct quota *q, uid_t from, uid_t to, uint64_t n)
{
    int r;

    if (from == to || n == 0)
        return 0;
    pthread_mutex_lock(&q->lock);
    r = charge_fds_locked(q, to, n, 0);
    if (r == 0)
        release_fds_locked(q, from, n, 0);
    pthread_mutex_unlock(&q->lock);
    return r;
}

uint64_t quota_used_fds(struct quota *q)
{
    uint64_t used;

    pthread_mutex_lock(&q->lock);
    used = q->used_fds;
    pthread_mutex_unlock(&q->lock);
    return used;
}

unsigned int quota_n_users(struct quota *q)
{
    unsigned int n;

    pthread_mutex_lock(&q->lock);
    n = HASH_COUNT(q->users);
    pthread_mutex_unlock(&q->lock);
    return n;
}
