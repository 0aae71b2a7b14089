/* The database is looked through first, as when a daemon starts: what is damaged is not read. */
#include "store_dump.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_check.h"
#include "store_internal.h"

struct dump {
    MDB_txn *txn;
    uint64_t box; /* whose messages are met */
    bool is_topic;
    int (*visit)(const struct mbox_entry *entry, void *arg);
    void *arg;
};

static int dump_message(struct dump *dump, const MDB_val *key, const MDB_val *value)
{
    struct store_message message;
    struct mbox_entry *entry;
    struct msg *msg = NULL;
    int r = store_message_decode(key->mv_data, key->mv_size, value->mv_data, value->mv_size,
                                 &message);

    if (r == 0)
        r = store_load_original(dump->txn, &message);
    /* Nobody has it: the daemon that comes next removes it. */
    if (r == -ENOENT)
        return 0;
    if (r == 0)
        r = store_load_msg(&message, &msg);
    if (r < 0)
        return r;
    entry = mbox_entry_new(msg);
    msg_unref(msg);
    if (!entry)
        return -ENOMEM;
    entry->n_attempts = message.attempts;
    r = dump->visit(entry, dump->arg);
    mbox_entry_free(entry);
    return r;
}

/* Return: whether the message of @key waits, and is no topic's, which are told of where they wait. */
static bool is_waiting(struct dump *dump, const MDB_val *key)
{
    struct store_place place = { 0 };

    store_key_parse(key->mv_data, key->mv_size, &place.box, &place.seq);
    if (place.box != dump->box)
        dump->is_topic = store_is_topic(dump->txn, place.box);
    dump->box = place.box;
    return !dump->is_topic;
}

static int dump_messages(struct dump *dump, MDB_txn *txn)
{
    unsigned char letter = STORE_MESSAGE;
    MDB_val key = { .mv_size = 1, .mv_data = &letter };
    MDB_cursor *cursor;
    MDB_val value;
    int told = 0;
    int r = mdb_cursor_open(txn, STORE_DBI, &cursor);

    if (r != 0)
        return store_db_errno(r);
    dump->txn = txn;
    r = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (r == 0 && told == 0 && *(const unsigned char *)key.mv_data == letter) {
        if (is_waiting(dump, &key))
            told = dump_message(dump, &key, &value);
        r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (told != 0)
        return told;
    return r == 0 || r == MDB_NOTFOUND ? 0 : store_db_errno(r);
}

static int dump_database(struct dump *dump, const char *path)
{
    struct store_db db;
    MDB_txn *txn;
    int r = store_db_open(&db, path, STORE_DB_READ_ONLY);

    if (r == 0)
        r = store_db_read_begin(&db, &txn);
    if (r == 0) {
        r = dump_messages(dump, txn);
        store_db_read_end(&db, txn);
    }
    store_db_close(&db);
    return r;
}

int store_dump(const char *path, int (*visit)(const struct mbox_entry *entry, void *arg), void *arg,
               char why[STORE_WHY_MAX])
{
    struct dump dump = { .visit = visit, .arg = arg };
    struct store_census census;
    struct store_dir dir;
    const char *used;
    int r = store_dir_look(&dir, path, why);

    if (r < 0)
        return r;
    used = dir.is_live_trusted ? dir.live_path : dir.disk_path;
    r = store_check(used, &census, why);
    if (r == 0) {
        r = dump_database(&dump, used);
        if (r < 0)
            snprintf(why, STORE_WHY_MAX, "can't be read: %s", strerror(-r));
    }
    store_dir_close(&dir);
    return r;
}
