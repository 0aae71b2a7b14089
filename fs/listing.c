#include "listing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int grow(struct listing *listing)
{
    size_t n = listing->n_allocated ? 2 * listing->n_allocated : 16;
    struct listing_entry *entries = reallocarray(listing->entries, n, sizeof(*entries));

    if (!entries)
        return -ENOMEM;
    listing->entries = entries;
    listing->n_allocated = n;
    return 0;
}

int listing_add(struct listing *listing, const char *name, uint64_t ino, mode_t type)
{
    char *copy;

    if (listing->n_entries == listing->n_allocated && grow(listing) < 0)
        return -ENOMEM;
    copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    listing->entries[listing->n_entries++] = (struct listing_entry){ .name = copy,
                                                                     .ino = ino,
                                                                     .type = type };
    return 0;
}

void listing_clear(struct listing *listing)
{
    for (size_t i = 0; i < listing->n_entries; i++)
        free(listing->entries[i].name);
    free(listing->entries);
    listing->entries = NULL;
    listing->n_entries = 0;
    listing->n_allocated = 0;
}

void listings_init(struct listings *listings)
{
    pthread_mutex_init(&listings->lock, NULL);
    TAILQ_INIT(&listings->list);
}

void listings_deinit(struct listings *listings)
{
    struct listing *listing;

    while ((listing = TAILQ_FIRST(&listings->list)))
        listing_free(listings, listing);
    pthread_mutex_destroy(&listings->lock);
}

struct listing *listing_new(struct listings *listings)
{
    struct listing *listing = calloc(1, sizeof(*listing));

    if (!listing)
        return NULL;
    pthread_mutex_lock(&listings->lock);
    TAILQ_INSERT_TAIL(&listings->list, listing, link);
    pthread_mutex_unlock(&listings->lock);
    return listing;
}

void listing_free(struct listings *listings, struct listing *listing)
{
    pthread_mutex_lock(&listings->lock);
    TAILQ_REMOVE(&listings->list, listing, link);
    pthread_mutex_unlock(&listings->lock);
    listing_clear(listing);
    free(listing);
}
