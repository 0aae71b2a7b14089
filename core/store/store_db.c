/* A commit without a sync and the death of the process: LMDB never changes a page that the last transaction can
 * reach. It writes new ones, and at last one of two meta pages in turn, whose transaction number is stored by one
 * instruction behind all else. Whoever opens the file takes the meta page of the higher number. So a process that is
 * killed at any instruction has committed or has not; what it stored is the kernel's, which outlives it.
 *
 * Room: a transaction copies each page that it changes. So what only removes needs pages too, and an untouched
 * rest of the file is kept for it. */
#include "store_db.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The library is not built with ThreadSanitizer, which so can't see what it waits for: a page that a reader of before has done
 * with is written again, and a reader sees what was committed. What it does itself tests/tsan.supp leaves out. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DB_IS_WATCHED
#endif
#endif
#ifdef DB_IS_WATCHED
/* Of the sanitizer's library. */
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define HAPPENS_BEFORE(env) __tsan_release(env)
#define HAPPENS_AFTER(env) __tsan_acquire(env)
#else
#define HAPPENS_BEFORE(env) ((void)(env))
#define HAPPENS_AFTER(env) ((void)(env))
#endif

#define MAP_BYTES_MIN (UINT64_C(1) << 20)
#define MAP_STEP_BYTES_MAX (UINT64_C(64) << 20)

/* Those of the filesystems that copy a block when it is written again. */
#define BTRFS_MAGIC 0x9123683e
#define BCACHEFS_MAGIC 0xca451a4e
#define ZFS_MAGIC 0x2fc12fc1

int store_db_errno(int result)
{
    /* A negative errno already; LMDB's own are all below. */
    if (result <= 0 && result > MDB_LAST_ERRCODE)
        return result;
    switch (result) {
    case MDB_MAP_FULL:
        return -ENOSPC;
    case MDB_NOTFOUND:
        return -ENOENT;
    case MDB_INVALID:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_VERSION_MISMATCH:
        return -EUCLEAN;
    default:
        return result > 0 ? -result : -EIO;
    }
}

static bool copies_on_write(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) < 0 || fs.f_type == BTRFS_MAGIC || fs.f_type == BCACHEFS_MAGIC ||
           fs.f_type == ZFS_MAGIC;
}

static unsigned int flags_of(const struct store_db *db)
{
    switch (db->mode) {
    case STORE_DB_LIVE:
        return MDB_NOSUBDIR | MDB_NOTLS | MDB_NOSYNC | (db->is_in_place ? MDB_WRITEMAP : 0);
    case STORE_DB_ON_DISK:
        return MDB_NOSUBDIR | MDB_NOTLS;
    case STORE_DB_READ_ONLY:
        break;
    }
    return MDB_NOSUBDIR | MDB_NOTLS | MDB_RDONLY | MDB_NOLOCK;
}

/* LMDB learns how a table's keys compare when that is first opened. */
static int open_table(struct store_db *db)
{
    MDB_txn *txn;
    MDB_dbi dbi;
    int r = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn);

    if (r != 0)
        return r;
    r = mdb_dbi_open(txn, NULL, 0, &dbi);
    mdb_txn_abort(txn);
    return r == 0 && dbi != STORE_DBI ? MDB_INCOMPATIBLE : r;
}

static int open_env(struct store_db *db, const char *path)
{
    MDB_stat stat;
    int r = mdb_env_create(&db->env);

    if (r == 0)
        r = mdb_env_set_userctx(db->env, db);
    if (r == 0)
        r = mdb_env_set_mapsize(db->env, db->map_bytes);
    if (r == 0)
        r = mdb_env_open(db->env, path, flags_of(db), 0600);
    if (r == 0)
        r = mdb_env_stat(db->env, &stat);
    if (r == 0)
        db->page_bytes = stat.ms_psize;
    if (r == 0)
        r = open_table(db);
    return store_db_errno(r);
}

static void close_env(struct store_db *db)
{
    if (db->env)
        mdb_env_close(db->env);
    db->env = NULL;
}

/* Gives the whole map its blocks. Return: 0; -EOPNOTSUPP; -ENOSPC; -EIO. */
static int allocate(struct store_db *db, uint64_t n_bytes)
{
    int r;

    do
        r = fallocate(db->fd, 0, 0, (off_t)n_bytes);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

/* Allocates what there is of the file; where that can't be, it is not written in place. */
static int open_allocated(struct store_db *db, const char *path)
{
    int r = allocate(db, db->map_bytes);

    db->is_allocated = r == 0;
    if (r != -EOPNOTSUPP)
        return r;
    if (!db->is_in_place)
        return 0;
    close_env(db);
    db->is_in_place = false;
    return open_env(db, path);
}

int store_db_open(struct store_db *db, const char *path, enum store_db_mode mode)
{
    struct stat attr;
    int r;

    *db = (struct store_db){ .mode = mode, .map_bytes = MAP_BYTES_MIN, .fd = -1, .is_open = true };
    pthread_mutex_init(&db->reading, NULL);
    db->fd = open(
        path, (mode == STORE_DB_READ_ONLY ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC | O_NOFOLLOW,
        0600);
    if (db->fd < 0 || fstat(db->fd, &attr) < 0)
        return -errno;
    if (attr.st_size > (off_t)db->map_bytes)
        db->map_bytes = (uint64_t)attr.st_size;
    db->is_in_place = mode == STORE_DB_LIVE && !copies_on_write(db->fd);
    r = open_env(db, path);
    if (r == 0 && mode != STORE_DB_READ_ONLY)
        r = open_allocated(db, path);
    return r;
}

void store_db_close(struct store_db *db)
{
    if (!db->is_open)
        return;
    close_env(db);
    if (db->fd >= 0)
        close(db->fd);
    pthread_mutex_destroy(&db->reading);
    db->is_open = false;
}

/* Return: what a sender is told of it. */
static int write_errno(int error)
{
    switch (error) {
    case 0:
    case -ENOSPC:
    case -ENOMEM:
        return error;
    case -EDQUOT:
    case -EFBIG:
        return -ENOSPC;
    default:
        return -EIO;
    }
}

/* Makes the map @n_bytes larger at least. Return: 0; -ENOSPC; a negative errno. */
static int db_grow(struct store_db *db, uint64_t n_bytes)
{
    uint64_t step = db->map_bytes < MAP_STEP_BYTES_MAX ? db->map_bytes : MAP_STEP_BYTES_MAX;
    uint64_t map_bytes;
    int r = 0;

    if (step < n_bytes)
        step = (n_bytes + MAP_BYTES_MIN - 1) / MAP_BYTES_MIN * MAP_BYTES_MIN;
    map_bytes = db->map_bytes + step;
    if (db->is_allocated) {
        r = allocate(db, map_bytes);
        /* What there is may do for a smaller step. */
        if (r == -ENOSPC && step > n_bytes && n_bytes >= db->page_bytes) {
            map_bytes = db->map_bytes +
                        (n_bytes + db->page_bytes - 1) / db->page_bytes * db->page_bytes;
            r = allocate(db, map_bytes);
        }
    }
    if (r < 0)
        return write_errno(r);
    pthread_mutex_lock(&db->reading);
    r = store_db_errno(mdb_env_set_mapsize(db->env, map_bytes));
    pthread_mutex_unlock(&db->reading);
    if (r == 0)
        db->map_bytes = map_bytes;
    return r;
}

static uint64_t last_page(struct store_db *db)
{
    MDB_envinfo info = { 0 };

    mdb_env_info(db->env, &info);
    return info.me_last_pgno;
}

/* LMDB's own table of pages that are free again: each record is a count and as many numbers. */
#define FREE_DBI 0

/* Return: 0 with how many pages are free again; a negative errno. */
static int db_count_free(struct store_db *db, uint64_t *ret_n)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;
    MDB_txn *txn;
    uint64_t n = 0;
    int r = store_db_read_begin(db, &txn);

    if (r < 0)
        return r;
    r = mdb_cursor_open(txn, FREE_DBI, &cursor);
    if (r == 0) {
        while ((r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
            n += *(const size_t *)value.mv_data;
        mdb_cursor_close(cursor);
    }
    store_db_read_end(db, txn);
    if (r != MDB_NOTFOUND)
        return store_db_errno(r);
    *ret_n = n;
    return 0;
}

/* Whether what has become free does, with the untouched rest of @n_rest pages, for @n_pages more. */
static int reserve_tight(struct store_db *db, uint64_t n_rest, uint64_t n_pages)
{
    uint64_t n_free = 0;
    int r = db_count_free(db, &n_free);

    if (r == 0 && n_rest + n_free < n_pages)
        r = -ENOSPC;
    return r;
}

/* Pages that a value needs beside those of its bytes: its leaf, split, and the way there. */
#define PAGES_PER_VALUE 2
#define PAGES_PER_TRANSACTION 16

int store_db_reserve(struct store_db *db, uint64_t n_bytes, uint64_t n)
{
    uint64_t n_pages = n_bytes / db->page_bytes + PAGES_PER_VALUE * n + PAGES_PER_TRANSACTION +
                       STORE_DB_SPARE_PAGES;
    uint64_t n_rest = db->map_bytes / db->page_bytes - last_page(db) - 1;
    int r;

    if (n_rest >= n_pages)
        return 0;
    r = db_grow(db, (n_pages - n_rest) * db->page_bytes);
    db->is_tight = r == -ENOSPC;
    return db->is_tight ? reserve_tight(db, n_rest, n_pages) : r;
}

static int try_write(struct store_db *db, int (*work)(MDB_txn *txn, void *arg), void *arg)
{
    MDB_txn *txn;
    int r = mdb_txn_begin(db->env, NULL, 0, &txn);

    if (r != 0)
        return r;
    r = work(txn, arg);
    /* It ends with its transaction. */
    db->cursor = NULL;
    HAPPENS_BEFORE(db->env);
    if (r == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return r;
}

int store_db_write(struct store_db *db, int (*work)(MDB_txn *txn, void *arg), void *arg)
{
    int r;

    while ((r = try_write(db, work, arg)) == MDB_MAP_FULL) {
        int grown = db_grow(db, db->page_bytes);

        if (grown < 0)
            return grown;
    }
    return write_errno(store_db_errno(r));
}

int store_db_read_begin(struct store_db *db, MDB_txn **ret_txn)
{
    int r;

    pthread_mutex_lock(&db->reading);
    r = mdb_txn_begin(db->env, NULL, MDB_RDONLY, ret_txn);
    if (r != 0)
        pthread_mutex_unlock(&db->reading);
    HAPPENS_AFTER(db->env);
    return store_db_errno(r);
}

void store_db_read_end(struct store_db *db, MDB_txn *txn)
{
    HAPPENS_BEFORE(db->env);
    mdb_txn_abort(txn);
    pthread_mutex_unlock(&db->reading);
}

int store_db_sync(struct store_db *db)
{
    return store_db_errno(mdb_env_sync(db->env, 1));
}

uint64_t store_db_used(struct store_db *db)
{
    MDB_stat stat = { 0 };

    mdb_env_stat(db->env, &stat);
    return (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) * db->page_bytes;
}

static MDB_val as_value(const struct store_key *key)
{
    return (MDB_val){ .mv_size = key->n_bytes, .mv_data = (void *)(uintptr_t)key->bytes };
}

/* A cursor that is kept need not come from the root each time, and is where changes were made already.
 * Return: 0 with that of @txn; LMDB's. */
static int cursor_of(MDB_txn *txn, MDB_cursor **ret_cursor)
{
    struct store_db *db = mdb_env_get_userctx(mdb_txn_env(txn));
    int r = db->cursor ? 0 : mdb_cursor_open(txn, STORE_DBI, &db->cursor);

    *ret_cursor = db->cursor;
    return r;
}

int store_db_put(MDB_txn *txn, const struct store_key *key, const void *value, size_t n)
{
    MDB_val at = as_value(key);
    MDB_val what = { .mv_size = n, .mv_data = (void *)(uintptr_t)value };
    MDB_cursor *cursor;
    int r = cursor_of(txn, &cursor);

    return r == 0 ? mdb_cursor_put(cursor, &at, &what, 0) : r;
}

int store_db_put_message(MDB_txn *txn, const struct store_key *key,
                         const struct store_message *message)
{
    MDB_val at = as_value(key);
    MDB_val what = { .mv_size = store_message_bytes(message) };
    MDB_cursor *cursor;
    int r = cursor_of(txn, &cursor);

    if (r == 0)
        r = mdb_cursor_put(cursor, &at, &what, MDB_RESERVE);
    if (r != 0)
        return r;
    HAPPENS_AFTER(mdb_txn_env(txn));
    store_message_encode(key, message, what.mv_data);
    return 0;
}

int store_db_remove(MDB_txn *txn, const struct store_key *key)
{
    MDB_val at = as_value(key);
    MDB_cursor *cursor;
    int r = cursor_of(txn, &cursor);

    if (r == 0)
        r = mdb_cursor_get(cursor, &at, NULL, MDB_SET);
    if (r == 0)
        r = mdb_cursor_del(cursor, 0);
    return r == MDB_NOTFOUND ? 0 : r;
}

static bool is_behind(const MDB_val *key, const struct store_key *last)
{
    size_t n = key->mv_size < last->n_bytes ? key->mv_size : last->n_bytes;
    int order = memcmp(key->mv_data, last->bytes, n);

    return order > 0 || (order == 0 && key->mv_size > last->n_bytes);
}

int store_db_remove_range(MDB_txn *txn, const struct store_key *first, const struct store_key *last)
{
    MDB_val at = as_value(first);
    MDB_cursor *cursor;
    MDB_val value;
    int r = cursor_of(txn, &cursor);

    if (r != 0)
        return r;
    r = mdb_cursor_get(cursor, &at, &value, MDB_SET_RANGE);
    while (r == 0 && !is_behind(&at, last)) {
        r = mdb_cursor_del(cursor, 0);
        /* The one that has moved up is the next. */
        if (r == 0)
            r = mdb_cursor_get(cursor, &at, &value, MDB_NEXT);
    }
    return r == MDB_NOTFOUND ? 0 : r;
}

int store_db_get(MDB_txn *txn, const struct store_key *key, const void **ret_value, size_t *ret_n)
{
    MDB_val at = as_value(key);
    MDB_val value;
    int r = mdb_get(txn, STORE_DBI, &at, &value);

    if (r == 0) {
        *ret_value = value.mv_data;
        *ret_n = value.mv_size;
    }
    return r;
}

int store_db_remove_box(MDB_txn *txn, uint64_t box)
{
    static const enum store_table tables[] = { STORE_NAME, STORE_ATTRIBUTES, STORE_CONFIG };
    struct store_key first = store_key_message(box, 0);
    struct store_key last = store_key_message(box, UINT64_MAX);
    int r = store_db_remove_range(txn, &first, &last);

    first = store_key_history(box, 0);
    last = store_key_history(box, UINT64_MAX);
    if (r == 0)
        r = store_db_remove_range(txn, &first, &last);
    for (size_t i = 0; r == 0 && i < sizeof(tables) / sizeof(tables[0]); i++) {
        struct store_key key = store_key_box(tables[i], box);

        r = store_db_remove(txn, &key);
    }
    return r;
}

bool store_is_topic(MDB_txn *txn, uint64_t box)
{
    struct store_key key = store_key_box(STORE_NAME, box);
    struct store_name name;
    const void *value;
    size_t n;

    return store_db_get(txn, &key, &value, &n) == 0 &&
           store_name_decode(key.bytes, key.n_bytes, value, n, &name) == 0 &&
           name.kind == STORE_KIND_TOPIC;
}
