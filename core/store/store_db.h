/* One of a store's two databases, an LMDB environment of one table.
 *
 * `live.mdb` is written in place (MDB_WRITEMAP) and never synced by a commit: a transaction costs half a microsecond,
 * and is there after whatever happens to the process, for the kernel has the pages, but not after the machine's
 * end: pages may then be on the disk in any order. `disk.mdb` is written and synced by each commit, and is good at
 * every moment.
 *
 * A file that is written in place must have its blocks before: a store to a page that the filesystem then has no room
 * for would be SIGBUS. So live.mdb is allocated ahead (store_db_reserve), and where a filesystem can't promise that
 * it is written by write(2), at 4 us a transaction. disk.mdb is allocated ahead too: so that there is room for what is
 * removed when the filesystem is full.
 *
 * One thread at a time writes a database, which its user sees to. Readers hold `reading`; so does whoever makes the map
 * larger. Nothing else is locked.
 *
 * Context: as said; a call lasts as long as the disk takes for it. */
#ifndef IPCFS_CORE_STORE_DB_H
#define IPCFS_CORE_STORE_DB_H

#include <lmdb.h>
#include <pthread.h>

#include "store_format.h"

/* The one table; opening it by its name of NULL always gives this. */
#define STORE_DBI 1

enum store_db_mode {
    STORE_DB_LIVE,
    STORE_DB_ON_DISK,
    STORE_DB_READ_ONLY, /* takes no locks and changes nothing: nobody may be writing */
};

struct store_db {
    MDB_env *env;
    int fd;
    enum store_db_mode mode;
    bool is_open;
    bool is_in_place;  /* written through its map */
    bool is_allocated; /* the whole map has its blocks in the file */
    bool is_tight;     /* the filesystem has no more room */
    uint64_t map_bytes;
    unsigned int page_bytes;
    MDB_cursor *cursor; /* of the transaction that is being written; NULL: it has none yet */
    pthread_mutex_t reading;
};

/* What a transaction that only removes may need when there is no room any more; what adds leaves that much. */
#define STORE_DB_SPARE_PAGES 64

/* Opens the file @path, made with mode 0600 where it is missing. The directory is nobody else's.
 * Return: 0; -EUCLEAN: it is no database, or damaged; another negative errno. */
int store_db_open(struct store_db *db, const char *path, enum store_db_mode mode);

/* No transaction is open. @db may be zeroed, or have failed to open. */
void store_db_close(struct store_db *db);

/* Return: 0; the negative errno that stands for LMDB's @result. */
int store_db_errno(int result);

/* Sees to it that a transaction finds room for @n_bytes in @n values. Return: 0; -ENOSPC; -EIO. */
int store_db_reserve(struct store_db *db, uint64_t n_bytes, uint64_t n);

/* Runs @work in a transaction and commits it; again, from its beginning, where the map had to become larger.
 * Return: 0; -ENOSPC; -EIO; -ENOMEM; what @work returned, a negative errno or LMDB's: nothing has changed then. */
int store_db_write(struct store_db *db, int (*work)(MDB_txn *txn, void *arg), void *arg);

/* Begins to read what is there now; store_db_read_end() must follow soon: a larger map waits for it.
 * Return: 0; a negative errno. */
int store_db_read_begin(struct store_db *db, MDB_txn **ret_txn);
void store_db_read_end(struct store_db *db, MDB_txn *txn);

/* Puts all on the disk. Return: 0; a negative errno. */
int store_db_sync(struct store_db *db);

/* Return: how many bytes of the file the table takes. */
uint64_t store_db_used(struct store_db *db);

/* For @work. What is put or removed in the order of keys costs half: who comes next is mostly found where the one before was.
 * Return: LMDB's, which @work is to return. */
int store_db_put(MDB_txn *txn, const struct store_key *key, const void *value, size_t n);
int store_db_put_message(MDB_txn *txn, const struct store_key *key,
                         const struct store_message *message);
/* Nothing may be there. Return: as store_db_put. */
int store_db_remove(MDB_txn *txn, const struct store_key *key);
/* Removes all from @first on that is not greater than @last. Return: as store_db_put. */
int store_db_remove_range(MDB_txn *txn, const struct store_key *first,
                          const struct store_key *last);
/* Removes a mailbox or topic with all that is in it. Return: as store_db_put. */
int store_db_remove_box(MDB_txn *txn, uint64_t box);
/* Return: 0 with the value, good until the next change; MDB_NOTFOUND. */
int store_db_get(MDB_txn *txn, const struct store_key *key, const void **ret_value, size_t *ret_n);

/* Return: whether @box is a topic, whose messages were published, and wait in its subscriptions. */
bool store_is_topic(MDB_txn *txn, uint64_t box);

#endif
