/* The entries and their names are two blocks that double as they grow, each charged before it does. */
#include "listing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How many bytes the first entries and the first names get. */
#define FIRST_BYTES 512

/* What an empty one counts, with what malloc adds. */
#define EMPTY_BYTES (sizeof(struct listing) + 32)

/* Makes @block, which has @*n_allocated bytes, twice as large until it has @n_needed. Return: 0 with what it
 * is now; a negative errno, and it is what it was. */
static int listing_grow(struct listing *listing, void *block, size_t *n_allocated, size_t n_needed,
                        void **ret_block)
{
    size_t n = *n_allocated ? *n_allocated : FIRST_BYTES;
    int r;

    while (n < n_needed)
        n *= 2;
    r = quota_charge_kept(listing->quota, listing->uid, n - *n_allocated, QUOTA_OPEN);
    if (r < 0)
        return r;
    block = realloc(block, n);
    if (!block) {
        quota_release_kept(listing->quota, listing->uid, n - *n_allocated, QUOTA_OPEN);
        return -ENOMEM;
    }
    listing->n_kept += n - *n_allocated;
    *n_allocated = n;
    *ret_block = block;
    return 0;
}

static int make_room_for_entry(struct listing *listing)
{
    size_t n_needed = (listing->n_entries + 1) * sizeof(*listing->entries);
    void *block = listing->entries;
    int r = 0;

    if (n_needed > listing->n_allocated)
        r = listing_grow(listing, block, &listing->n_allocated, n_needed, &block);
    listing->entries = block;
    return r;
}

static int make_room_for_name(struct listing *listing, size_t name_size)
{
    size_t n_needed = listing->names_bytes + name_size;
    void *block = listing->names;
    int r = 0;

    if (n_needed > UINT32_MAX)
        return -ENOMEM;
    if (n_needed > listing->names_allocated)
        r = listing_grow(listing, block, &listing->names_allocated, n_needed, &block);
    listing->names = block;
    return r;
}

int listing_add(struct listing *listing, const char *name, uint64_t ino, mode_t type)
{
    size_t name_size = strlen(name) + 1;
    int r = make_room_for_entry(listing);

    if (r == 0)
        r = make_room_for_name(listing, name_size);
    if (r < 0)
        return r;
    memcpy(listing->names + listing->names_bytes, name, name_size);
    listing->entries[listing->n_entries++] = (struct listing_entry){
        .ino = ino, .name_at = (uint32_t)listing->names_bytes, .type = type
    };
    listing->names_bytes += name_size;
    return 0;
}

void listing_clear(struct listing *listing)
{
    free(listing->entries);
    free(listing->names);
    listing->entries = NULL;
    listing->names = NULL;
    listing->n_entries = listing->n_allocated = 0;
    listing->names_bytes = listing->names_allocated = 0;
    quota_release_kept(listing->quota, listing->uid, listing->n_kept - EMPTY_BYTES, QUOTA_OPEN);
    listing->n_kept = EMPTY_BYTES;
}

int listing_keep(struct listing *listing, struct listing_part *part, size_t n_bytes)
{
    int r = quota_charge_kept(listing->quota, listing->uid, n_bytes, QUOTA_OPEN);

    if (r < 0)
        return r;
    listing->n_kept += n_bytes;
    listing->part = part;
    return 0;
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

int listing_new(struct listings *listings, struct quota *quota, uid_t uid,
                struct listing **ret_listing)
{
    struct listing *listing;
    int r = quota_charge_kept(quota, uid, EMPTY_BYTES, QUOTA_OPEN);

    if (r < 0)
        return r;
    listing = calloc(1, sizeof(*listing));
    if (!listing) {
        quota_release_kept(quota, uid, EMPTY_BYTES, QUOTA_OPEN);
        return -ENOMEM;
    }
    listing->quota = quota;
    listing->uid = uid;
    listing->n_kept = EMPTY_BYTES;
    pthread_mutex_lock(&listings->lock);
    TAILQ_INSERT_TAIL(&listings->list, listing, link);
    pthread_mutex_unlock(&listings->lock);
    *ret_listing = listing;
    return 0;
}

void listing_free(struct listings *listings, struct listing *listing)
{
    pthread_mutex_lock(&listings->lock);
    TAILQ_REMOVE(&listings->list, listing, link);
    pthread_mutex_unlock(&listings->lock);
    listing_clear(listing);
    if (listing->part)
        listing->part->free(listing->part);
    quota_release_kept(listing->quota, listing->uid, listing->n_kept, QUOTA_OPEN);
    free(listing);
}
