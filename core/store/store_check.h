/* Whether a database is sound, told before it is used.
 *
 * LMDB has no checksums of its pages, and takes what it finds for pages: a damaged file can end the process that opens
 * it. So a child process looks first, at every page that is in use and every value, and its death is an answer too.
 *
 * Context: a process of one thread, or one whose child may do without the others' locks. */
#ifndef IPCFS_CORE_STORE_CHECK_H
#define IPCFS_CORE_STORE_CHECK_H

#include "store_dir.h"
#include "store_format.h"

/* What is in a database. */
struct store_census {
    uint64_t n_boxes; /* mailboxes, topics, subscriptions */
    uint64_t n_topics;
    uint64_t n_subscriptions;
    uint64_t n_messages;      /* that wait */
    uint64_t n_message_bytes; /* without headers; what was published counts once */
    uint64_t n_to_do;
    uint64_t n_used_bytes; /* of the file: pages that hold something */
    uint64_t version;      /* 0: nothing was ever committed */
};

/* Looks through the database at @path, which nobody writes. Return: 0; -EUCLEAN: it is damaged; -EPROTONOSUPPORT: it
 * is of a newer version; another negative errno; with one line in @why. */
int store_check(const char *path, struct store_census *ret_census, char why[STORE_WHY_MAX]);

#endif
