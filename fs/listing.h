/* What a directory holds at one moment: filled when it is first read, handed on piece by piece. */
#ifndef IPCFS_FS_LISTING_H
#define IPCFS_FS_LISTING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct listing_entry {
    char *name;
    uint64_t ino;
    mode_t type; /* S_IFDIR or S_IFREG */
};

struct listing {
    struct listing_entry *entries;
    size_t n_entries;
    size_t n_allocated;
};

/* Return: 0; -ENOMEM. */
int listing_add(struct listing *listing, const char *name, uint64_t ino, mode_t type);

/* Frees the entries; the listing is empty then. */
void listing_clear(struct listing *listing);

#endif
