/* The store: a journal of mailboxes (core/mailbox/journal.h) in a directory, and what of them is found there again.
 *
 *   store_open ──> store_load ──> store_start ──> in use ──> store_end ──> store_free
 *
 * Each transition goes into live.mdb, in transactions that whoever has something to note runs itself (store_journal.c);
 * names, owners, modes, configs and what durable=disk keeps go from there to disk.mdb by a thread of their own
 * (store_sync.c), which alone waits for the disk. So a disk that does not answer holds up those who wait for it, and
 * nobody else.
 *
 * Context: store_open, store_load, store_end, store_free: one thread; the rest any, no lock held. */
#ifndef IPCFS_CORE_STORE_H
#define IPCFS_CORE_STORE_H

#include "core/mailbox/mbox_keep.h"
#include "store_dir.h"
#include "store_format.h"

struct store;

/* Opens the store in the directory @path, or makes one there. @describe: mbox_journal.describe.
 * Return: 0 with the store, the caller's; a negative errno with one line in @why, and nothing was changed. */
int store_open(const char *path, size_t (*describe)(struct mbox *mbox, char *text, size_t size),
               struct store **ret_store, char why[STORE_WHY_MAX]);

/* What a mailbox was when it was noted. Texts are not ended by NUL. */
struct store_found {
    struct store_name name;
    const char *attributes;
    size_t n_attributes;
    const char *config;
    size_t n_config;
    struct mbox *parent; /* what it belongs to, without a reference; NULL: nothing that there is */
};

/* Makes the store the journal of @domain, which has no mailboxes yet. @make makes each mailbox that is found; it calls
 * mbox_keep() for it, and gives back a reference. Then the messages are put into them.
 * Return: 0; a negative errno, of @make too. */
int store_load(struct store *store, struct mbox_domain *domain,
               int (*make)(const struct store_found *found, void *arg, struct mbox **ret_mbox),
               void *arg);

/* Starts the threads that write what nobody else does, and copy to the disk. Before, whatever is noted is written by those
 * who note it. Return: 0; a negative errno. */
int store_start(struct store *store);

struct store_stat {
    uint64_t n_used_bytes; /* of live.mdb: what holds something */
    uint64_t n_map_bytes;  /* of live.mdb: the file */
    uint64_t n_messages;
    uint64_t n_boxes;
    uint64_t n_transactions; /* of live.mdb */
    uint64_t n_syncs;        /* transactions of disk.mdb */
    uint64_t n_failures;     /* transactions that could not be committed, of both databases */
    int last_error;          /* of the last of these; 0: there was none */
    struct timespec failed;  /* when that was; CLOCK_REALTIME */
};

void store_get_stat(struct store *store, struct store_stat *ret_stat);

/* Puts all that was noted on the disk, and ends the store: nothing is noted any more, and sends that should be are
 * EIDRM. The mailboxes may go now. Return: 0; a negative errno: the next start finds it as after a kill. */
int store_end(struct store *store);

/* Its domain has no mailboxes any more. */
void store_free(struct store *store);

/* Return: 0 with what is in the store at @path, without a daemon; a negative errno with one line in @why. */
struct store_census;
int store_look(const char *path, struct store_census *ret_live, struct store_census *ret_disk,
               char why[STORE_WHY_MAX]);

#endif
