/* The copying to disk.mdb, by a thread that waits for the disk so that nobody else has to.
 *
 * The table of what is to be copied tells, in the order of time, which keys of live.mdb disk.mdb lacks. The thread reads
 * a stretch of it and what stands under those keys now, into memory, so that live.mdb is not held up; commits that to
 * disk.mdb, which syncs; and then has the stretch taken out of the table, with whatever is written next. If the daemon is
 * killed anywhere in between, the next one copies some of it again.
 *
 * Those who wait for the disk are told when their transaction has been copied. Others' changes (names, and messages that
 * were received) are copied with the next that somebody waits for, or after a moment. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/clock.h"
#include "store_internal.h"

/* How long what nobody waits for may stay uncopied; as long after a failure. */
#define DELAY_NS UINT64_C(200000000)

/* One transaction copies so much, and the rest of what was one in live.mdb. */
#define COPY_KEYS 4096
#define COPY_BYTES (UINT64_C(16) << 20)

/* One key and what stands there; behind it. */
struct copy {
    struct copy *next;
    struct store_key key;
    bool is_there;
    size_t n_bytes;
    unsigned char bytes[];
};

struct copies {
    struct copy *first;
    struct copy **end;
    size_t n;
    uint64_t n_bytes;
    bool is_all;             /* the table ended */
    struct store_place last; /* the table's last key that was read */
    uint64_t txn;            /* all up to this transaction of live.mdb is in here */
};

static void copies_free(struct copies *copies)
{
    struct copy *copy;

    while ((copy = copies->first)) {
        copies->first = copy->next;
        free(copy);
    }
}

static int add_copy(struct copies *copies, const struct store_key *key, const void *value, size_t n)
{
    struct copy *copy = malloc(sizeof(*copy) + (value ? n : 0));

    if (!copy)
        return -ENOMEM;
    *copy = (struct copy){ .key = *key, .is_there = value, .n_bytes = n };
    if (value)
        memcpy(copy->bytes, value, n);
    *copies->end = copy;
    copies->end = &copy->next;
    copies->n++;
    copies->n_bytes += n;
    return 0;
}

/* Copies what stands under the key that the table has as @value at @at. */
static int read_one(MDB_txn *txn, const MDB_val *at, const MDB_val *value, struct copies *copies)
{
    struct store_key key;
    const void *content = NULL;
    const void *bytes;
    size_t n_content = 0;
    size_t n;
    int r = store_bytes_decode(at->mv_data, at->mv_size, value->mv_data, value->mv_size, &bytes,
                               &n);

    if (r == 0 && n > sizeof(key.bytes))
        r = -EUCLEAN;
    if (r < 0)
        return r;
    key.n_bytes = n;
    memcpy(key.bytes, bytes, n);
    r = store_db_get(txn, &key, &content, &n_content);
    if (r != 0 && r != MDB_NOTFOUND)
        return store_db_errno(r);
    return add_copy(copies, &key, content, n_content);
}

static int read_table(MDB_txn *txn, MDB_cursor *cursor, struct copies *copies)
{
    struct store_key first = store_key_to_do(0, 0);
    MDB_val at = { .mv_size = first.n_bytes, .mv_data = first.bytes };
    MDB_val value;
    int r = mdb_cursor_get(cursor, &at, &value, MDB_SET_RANGE);

    while (r == 0) {
        struct store_place place;

        if (store_key_parse(at.mv_data, at.mv_size, &place.box, &place.seq) != STORE_TO_DO)
            break;
        /* No transaction is cut: what it did at one moment is on the disk at one moment. */
        if ((copies->n >= COPY_KEYS || copies->n_bytes >= COPY_BYTES) &&
            place.box != copies->last.box) {
            copies->txn = copies->last.box;
            return 0;
        }
        r = read_one(txn, &at, &value, copies);
        if (r < 0)
            return r;
        copies->last = place;
        r = mdb_cursor_get(cursor, &at, &value, MDB_NEXT);
    }
    if (r != 0 && r != MDB_NOTFOUND)
        return store_db_errno(r);
    copies->is_all = true;
    copies->txn = mdb_txn_id(txn);
    return 0;
}

static int read_copies(struct store *store, struct copies *copies)
{
    MDB_cursor *cursor;
    MDB_txn *txn;
    int r;

    *copies = (struct copies){ 0 };
    copies->end = &copies->first;
    r = store_db_read_begin(&store->live, &txn);
    if (r < 0)
        return r;
    r = store_db_errno(mdb_cursor_open(txn, STORE_DBI, &cursor));
    if (r == 0) {
        r = read_table(txn, cursor, copies);
        mdb_cursor_close(cursor);
    }
    store_db_read_end(&store->live, txn);
    return r;
}

/* What is not in live.mdb any more; with a mailbox all that is in it. */
static int remove_copy(MDB_txn *txn, const struct copy *copy)
{
    uint64_t box;
    uint64_t seq;
    int r = store_db_remove(txn, &copy->key);

    if (r == 0 && store_key_parse(copy->key.bytes, copy->key.n_bytes, &box, &seq) == STORE_NAME)
        r = store_db_remove_box(txn, box);
    return r;
}

static int write_copies(MDB_txn *txn, void *arg)
{
    const struct copies *copies = arg;
    int r = 0;

    for (const struct copy *copy = copies->first; r == 0 && copy; copy = copy->next)
        r = copy->is_there ? store_db_put(txn, &copy->key, copy->bytes, copy->n_bytes)
                           : remove_copy(txn, copy);
    return r;
}

/* After an error that LMDB does not go on from. */
static int reopen_disk(struct store *store)
{
    store_db_close(&store->disk);
    return store_db_open(&store->disk, store->dir.disk_path, STORE_DB_ON_DISK);
}

static int commit_copies(struct store *store, struct copies *copies)
{
    int r = 0;

    if (!store->disk.env)
        r = reopen_disk(store);
    if (r == 0 && copies->n_bytes > 0)
        r = store_db_reserve(&store->disk, copies->n_bytes, copies->n);
    if (r == 0)
        r = store_db_write(&store->disk, write_copies, copies);
    if (r < 0 && r != -ENOSPC && r != -ENOMEM) {
        store_db_close(&store->disk);
        r = -EIO;
    }
    return r;
}

/* Tells those who wait whose transaction is @txn or before. */
static void tell_waiting(struct store *store, uint64_t txn, int result, struct mbox_ready *ready)
{
    struct journal_note *note;

    for (;;) {
        enum store_what what = STORE_NOTHING;
        struct mbox_entry *entry = NULL;
        struct mbox *mbox = NULL;

        pthread_mutex_lock(&store->lock);
        note = TAILQ_FIRST(&store->disk_waiting);
        if (note && note->txn <= txn) {
            TAILQ_REMOVE(&store->disk_waiting, note, link);
            what = note->what;
            entry = note->entry;
            mbox = note->mbox;
            note->what = STORE_NOTHING;
            note->entry = NULL;
            note->mbox = NULL;
        }
        pthread_mutex_unlock(&store->lock);
        if (!mbox)
            return;
        store_tell(note, what, mbox, entry, result, ready);
    }
}

static void note_copied(struct store *store, const struct copies *copies, int result)
{
    pthread_mutex_lock(&store->lock);
    if (result < 0) {
        store_note_failure(store, result);
    } else {
        store->done_txn = copies->txn;
        if (copies->n > 0) {
            store->stat.n_syncs++;
            store->has_done = true;
            store->done = copies->last;
        }
    }
    pthread_mutex_unlock(&store->lock);
}

/* Copies one stretch. Return: 0, and whether it was the last; a negative errno. */
static int sync_some(struct store *store, bool *ret_is_all, struct mbox_ready *ready)
{
    struct copies copies;
    int r = read_copies(store, &copies);
    uint64_t txn = copies.txn;

    if (r == 0 && copies.n > 0)
        r = commit_copies(store, &copies);
    copies_free(&copies);
    note_copied(store, &copies, r);
    /* Where it failed nobody knows how much of it there is: none that waits has what it waits for. */
    tell_waiting(store, r < 0 ? UINT64_MAX : txn, r, ready);
    *ret_is_all = copies.is_all;
    return r;
}

int store_sync_all(struct store *store)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    bool is_all = false;
    int r = 0;

    while (r == 0 && !is_all) {
        r = sync_some(store, &is_all, &ready);
        mbox_ready_run(&ready);
        /* The table is shorter before it is read again. */
        store_drain(store);
    }
    return r;
}

/* Under store->lock. */
static void wait_until(struct store *store, uint64_t deadline)
{
    struct timespec at = { .tv_sec = (time_t)(deadline / 1000000000),
                           .tv_nsec = (long)(deadline % 1000000000) };

    pthread_cond_timedwait(&store->sync_cond, &store->lock, &at);
}

/* Waits until there is something that is to be copied now. Return: whether there is; else the store ends. */
static bool wait_for_work(struct store *store)
{
    uint64_t deadline = 0;
    bool works;

    pthread_mutex_lock(&store->lock);
    while (!store->is_stopping) {
        if (!TAILQ_EMPTY(&store->disk_waiting))
            break;
        if (store->to_do_txn <= store->done_txn) {
            pthread_cond_wait(&store->sync_cond, &store->lock);
            deadline = 0;
        } else if (!deadline) {
            deadline = clock_now_ns() + DELAY_NS;
        } else if (clock_now_ns() >= deadline) {
            break;
        } else {
            wait_until(store, deadline);
        }
    }
    works = !store->is_stopping;
    pthread_mutex_unlock(&store->lock);
    return works;
}

/* After a failure nothing is tried for a moment, but for those who wait. */
static void sync_rest(struct store *store)
{
    uint64_t deadline = clock_now_ns() + DELAY_NS;

    pthread_mutex_lock(&store->lock);
    while (!store->is_stopping && TAILQ_EMPTY(&store->disk_waiting) && clock_now_ns() < deadline)
        wait_until(store, deadline);
    pthread_mutex_unlock(&store->lock);
}

void *store_sync_run(void *arg)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct store *store = arg;

    while (wait_for_work(store)) {
        bool is_all;
        int r = sync_some(store, &is_all, &ready);

        mbox_ready_run(&ready);
        store->journal.ops->flush(&store->journal);
        if (r < 0)
            sync_rest(store);
    }
    return NULL;
}
