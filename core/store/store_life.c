/* Beginning and end of a store.
 *
 * At the beginning a child process looks through the databases that are to be used, then the state says that live.mdb is
 * in use. Where the machine has ended since, live.mdb is made again from disk.mdb. A block of ids is set aside on the
 * disk before the first message, so that no id comes twice whatever happens.
 *
 * At the end all that was noted is written and copied, live.mdb is synced, and the state says that it is clean. */
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_check.h"
#include "store_internal.h"

static int store_says(char why[STORE_WHY_MAX], const char *what, int error)
{
    snprintf(why, STORE_WHY_MAX, "%s: %s", what, strerror(-error));
    return error;
}

/* Whether nothing was ever written to the database at @path: its making may have been cut short. */
static bool is_unwritten(const char *path)
{
    struct stat attr;

    return stat(path, &attr) < 0 ? errno == ENOENT : attr.st_size == 0;
}

static int look_through(const char *path, struct store_census *ret_census, char why[STORE_WHY_MAX])
{
    *ret_census = (struct store_census){ 0 };
    return is_unwritten(path) ? 0 : store_check(path, ret_census, why);
}

static int lacks(char why[STORE_WHY_MAX], const char *name)
{
    snprintf(why, STORE_WHY_MAX, "it is damaged: %s is missing or empty", name);
    return -EUCLEAN;
}

/* Whether the databases that will be used are there and sound. Both are made before anything is kept, live.mdb first. */
static int check_databases(const struct store_dir *dir, struct store_census *ret_live,
                           struct store_census *ret_disk, char why[STORE_WHY_MAX])
{
    bool has_live = !is_unwritten(dir->live_path);
    int r = 0;

    *ret_live = (struct store_census){ 0 };
    if (dir->is_live_trusted)
        r = look_through(dir->live_path, ret_live, why);
    if (r == 0)
        r = look_through(dir->disk_path, ret_disk, why);
    if (r < 0)
        return r;
    if (is_unwritten(dir->disk_path))
        return (dir->is_live_trusted ? ret_live->n_boxes > 0 : has_live) ? lacks(why, "disk.mdb")
                                                                         : 0;
    return dir->is_live_trusted && !has_live ? lacks(why, "live.mdb") : 0;
}

/* One transaction copies so many records. */
#define COPIED_MAX 4096

/* How far live.mdb has been made from disk.mdb. */
struct copying {
    MDB_cursor *cursor;
    struct store_key next;   /* empty: none was copied yet */
    struct store_key behind; /* where the next transaction is to begin; empty: nowhere */
};

static int copy_some(MDB_txn *txn, void *arg)
{
    struct copying *copying = arg;
    MDB_val key = { .mv_size = copying->next.n_bytes, .mv_data = copying->next.bytes };
    MDB_val value;
    int r = mdb_cursor_get(copying->cursor, &key, &value,
                           copying->next.n_bytes ? MDB_SET_RANGE : MDB_FIRST);

    copying->behind.n_bytes = 0;
    for (unsigned int n = 0; r == 0; n++) {
        if (n == COPIED_MAX) {
            copying->behind.n_bytes = key.mv_size;
            memcpy(copying->behind.bytes, key.mv_data, key.mv_size);
            return 0;
        }
        r = mdb_put(txn, STORE_DBI, &key, &value, MDB_APPEND);
        if (r == 0)
            r = mdb_cursor_get(copying->cursor, &key, &value, MDB_NEXT);
    }
    return r == MDB_NOTFOUND ? 0 : r;
}

/* Makes live.mdb, which is empty, from disk.mdb. */
static int copy_from_disk(struct store *store)
{
    struct copying copying = { 0 };
    MDB_txn *txn;
    int r = store_db_read_begin(&store->disk, &txn);

    if (r < 0)
        return r;
    r = store_db_errno(mdb_cursor_open(txn, STORE_DBI, &copying.cursor));
    if (r == 0) {
        do {
            r = store_db_write(&store->live, copy_some, &copying);
            copying.next = copying.behind;
        } while (r == 0 && copying.next.n_bytes > 0);
        mdb_cursor_close(copying.cursor);
    }
    store_db_read_end(&store->disk, txn);
    return r;
}

/* The databases, once nothing speaks against using them. */
static int open_databases(struct store *store, char why[STORE_WHY_MAX])
{
    bool renews = !store->dir.is_live_trusted;
    int r = 0;

    if (renews && unlink(store->dir.live_path) < 0 && errno != ENOENT)
        return store_says(why, "live.mdb", -errno);
    r = store_db_open(&store->live, store->dir.live_path, STORE_DB_LIVE);
    if (r < 0)
        return store_says(why, "live.mdb", r);
    r = store_db_open(&store->disk, store->dir.disk_path, STORE_DB_ON_DISK);
    if (r == 0 && renews)
        r = copy_from_disk(store);
    return r < 0 ? store_says(why, "disk.mdb", r) : 0;
}

/* Where live.mdb is made again the state says so at last: who is cut short begins anew. In a new store it says so at
 * first: else there would be databases without a state. */
static int life_use(struct store *store, char why[STORE_WHY_MAX])
{
    bool renews = !store->dir.is_live_trusted && !store->dir.is_new;
    int r = store_dir_enter(&store->dir);

    if (r == 0 && !renews)
        r = store_dir_begin(&store->dir);
    if (r < 0)
        return store_says(why, "can't be written", r);
    r = open_databases(store, why);
    if (r < 0 || !renews)
        return r;
    r = store_dir_begin(&store->dir);
    return r < 0 ? store_says(why, "can't be written", r) : 0;
}

static int life_open_locked(struct store *store, const char *path, char why[STORE_WHY_MAX])
{
    struct store_census live;
    struct store_census disk;
    int r = store_dir_open(&store->dir, path, why);

    if (r == 0)
        r = check_databases(&store->dir, &live, &disk, why);
    return r < 0 ? r : life_use(store, why);
}

static void store_init(struct store *store)
{
    pthread_condattr_t monotonic;

    store->dir = STORE_DIR_NONE;
    store->journal.ops = &store_journal_ops;
    store->turn.complete = store_take_turn;
    pthread_mutex_init(&store->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&store->writer_cond, NULL);
    pthread_cond_init(&store->turn_cond, &monotonic);
    pthread_cond_init(&store->sync_cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
    TAILQ_INIT(&store->notes);
    TAILQ_INIT(&store->boxes);
    TAILQ_INIT(&store->disk_waiting);
}

int store_open(const char *path, size_t (*describe)(struct mbox *mbox, char *text, size_t size),
               struct store **ret_store, char why[STORE_WHY_MAX])
{
    struct store *store = calloc(1, sizeof(*store));
    struct store_batch *batch = calloc(1, sizeof(*batch));
    int r;

    if (!store || !batch) {
        free(store);
        free(batch);
        return store_says(why, "it can't be opened", -ENOMEM);
    }
    store_init(store);
    store->batch = batch;
    store->journal.describe = describe;
    r = life_open_locked(store, path, why);
    if (r < 0) {
        store_free(store);
        return r;
    }
    *ret_store = store;
    return 0;
}

static void *run_writer(void *arg)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct store *store = arg;

    pthread_mutex_lock(&store->lock);
    for (;;) {
        if (store->is_wanted && !store->is_turn_taken) {
            store->is_wanted = false;
            store->is_turn_taken = true;
            store->n_rounds = 0;
            pthread_mutex_unlock(&store->lock);
            TAILQ_INSERT_TAIL(&ready, &store->turn, link);
            mbox_ready_run(&ready);
            pthread_mutex_lock(&store->lock);
        } else if (store->is_stopping) {
            break;
        } else {
            pthread_cond_wait(&store->writer_cond, &store->lock);
        }
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

int store_start(struct store *store)
{
    int r = pthread_create(&store->writer, NULL, run_writer, store);

    store->has_writer = r == 0;
    if (r == 0)
        r = pthread_create(&store->syncer, NULL, store_sync_run, store);
    store->has_syncer = store->has_writer && r == 0;
    return -r;
}

static void stop_threads(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    store->is_stopping = true;
    pthread_cond_broadcast(&store->writer_cond);
    pthread_cond_broadcast(&store->sync_cond);
    pthread_mutex_unlock(&store->lock);
    if (store->has_syncer)
        pthread_join(store->syncer, NULL);
    if (store->has_writer)
        pthread_join(store->writer, NULL);
    store->has_syncer = false;
    store->has_writer = false;
}

/* Return: whether nothing was noted any more, and nothing will be. */
static bool try_end(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    store->is_ended = !store->is_turn_taken && TAILQ_EMPTY(&store->notes) &&
                      TAILQ_EMPTY(&store->boxes) && TAILQ_EMPTY(&store->disk_waiting);
    pthread_mutex_unlock(&store->lock);
    return store->is_ended;
}

int store_write_ids(MDB_txn *txn, void *arg)
{
    struct store_key key = store_key_info(STORE_INFO_IDS);
    unsigned char value[STORE_NUMBER_BYTES];

    store_number_encode(&key, *(const uint64_t *)arg, value);
    return store_db_put(txn, &key, value, sizeof(value));
}

/* How often the end is tried while others still note something. */
#define N_ENDINGS 1000

static int end_in_order(struct store *store)
{
    uint64_t ids = atomic_load(&store->domain->last_id);
    bool is_ended = false;
    int r = 0;

    for (unsigned int i = 0; r == 0 && !is_ended && i < N_ENDINGS; i++) {
        store_drain(store);
        r = store_sync_all(store);
        is_ended = try_end(store);
    }
    if (r == 0 && !is_ended)
        r = -EBUSY;
    pthread_mutex_lock(&store->lock);
    store->is_ended = true;
    pthread_mutex_unlock(&store->lock);
    if (r == 0)
        r = store_db_write(&store->live, store_write_ids, &ids);
    if (r == 0)
        r = store_db_write(&store->disk, store_write_ids, &ids);
    if (r == 0)
        r = store_db_sync(&store->live);
    return r == 0 ? store_dir_end(&store->dir) : r;
}

int store_end(struct store *store)
{
    int r;

    if (store->is_ended)
        return 0;
    store_dir_leave(&store->dir);
    stop_threads(store);
    r = end_in_order(store);
    /* Who came too late is told. */
    store_drain(store);
    return r;
}

void store_free(struct store *store)
{
    stop_threads(store);
    store_db_close(&store->live);
    store_db_close(&store->disk);
    store_dir_close(&store->dir);
    pthread_cond_destroy(&store->writer_cond);
    pthread_cond_destroy(&store->turn_cond);
    pthread_cond_destroy(&store->sync_cond);
    pthread_mutex_destroy(&store->lock);
    free(store->batch);
    free(store);
}

void store_get_stat(struct store *store, struct store_stat *ret_stat)
{
    pthread_mutex_lock(&store->lock);
    *ret_stat = store->stat;
    pthread_mutex_unlock(&store->lock);
}

int store_look(const char *path, struct store_census *ret_live, struct store_census *ret_disk,
               char why[STORE_WHY_MAX])
{
    struct store_dir dir;
    int r = store_dir_look(&dir, path, why);

    if (r < 0)
        return r;
    r = check_databases(&dir, ret_live, ret_disk, why);
    store_dir_close(&dir);
    return r;
}
