/* What a directory holds at one moment: filled when it is first read, handed on piece by piece. */
#ifndef IPCFS_FS_LISTING_H
#define IPCFS_FS_LISTING_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>

struct listing_entry {
    char *name;
    uint64_t ino;
    mode_t type; /* S_IFDIR, S_IFREG or S_IFLNK */
};

struct listing {
    struct listing_entry *entries;
    size_t n_entries;
    size_t n_allocated;
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

/* Return: an empty one, for a directory that is opened; NULL when memory is short. */
struct listing *listing_new(struct listings *listings);
void listing_free(struct listings *listings, struct listing *listing);

/* Return: 0; -ENOMEM. */
int listing_add(struct listing *listing, const char *name, uint64_t ino, mode_t type);

/* Forgets the entries; the listing is empty then. */
void listing_clear(struct listing *listing);

#endif
