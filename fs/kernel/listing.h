/* What a directory holds at one moment: filled when it is first read, handed on piece by piece.
 *
 * A directory that changes much, and may be very long, keeps a place in it instead (listing_part).
 *
 * Its memory counts for who opened the directory.
 *
 * Context: the kernel reads one open directory in one thread at a time; the lock of all listings is a leaf. */
#ifndef IPCFS_FS_LISTING_H
#define IPCFS_FS_LISTING_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "core/mailbox/quota.h"

struct listing_entry {
    uint64_t ino;
    uint32_t name_at; /* where in listing->names */
    mode_t type;      /* S_IFDIR, S_IFREG or S_IFLNK */
};

/* What a directory keeps for one who has it open. Embedded in what that is. */
struct listing_part {
    void (*free)(struct listing_part *part);
};

struct listing {
    struct quota *quota;
    uid_t uid;
    uint64_t n_kept; /* what it counts */
    struct listing_entry *entries;
    size_t n_entries;
    size_t n_allocated; /* bytes */
    char *names;        /* each with its NUL */
    size_t names_bytes;
    size_t names_allocated;
    struct listing_part *part; /* NULL: none */
    TAILQ_ENTRY(listing) link; /* struct listings */
};

/* Those of all open directories, so that what the kernel never releases can be freed at the end. */
struct listings {
    pthread_mutex_t lock;
    TAILQ_HEAD(, listing) list;
};

void listings_init(struct listings *listings);

/* Frees those that are left. */
void listings_deinit(struct listings *listings);

/* Makes an empty one, for a directory that @uid opens. Return: 0; -EDQUOT; -ENOSPC; -ENOMEM. */
int listing_new(struct listings *listings, struct quota *quota, uid_t uid,
                struct listing **ret_listing);
void listing_free(struct listings *listings, struct listing *listing);

/* Return: 0; -EDQUOT; -ENOSPC; -ENOMEM. */
int listing_add(struct listing *listing, const char *name, uint64_t ino, mode_t type);

/* Keeps @part, which takes @n_bytes, until the listing is freed. Return: as listing_add; then it is the
 * caller's still. */
int listing_keep(struct listing *listing, struct listing_part *part, size_t n_bytes);

static inline const char *listing_name(const struct listing *listing, size_t i)
{
    return listing->names + listing->entries[i].name_at;
}

/* Forgets the entries; the listing is empty then. */
void listing_clear(struct listing *listing);

#endif
