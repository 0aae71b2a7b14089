/* An open directory whose entries are things of a mailbox, and which keeps a place among them from one reading of it to the
 * next.
 *
 * The place is the listing's (listing.h): it goes with it. It keeps the mailbox as well, also when that is removed. */
#ifndef IPCFS_FS_BOX_LISTING_H
#define IPCFS_FS_BOX_LISTING_H

#include <stddef.h>

#include "core/mailbox/mbox.h"
#include "fs/kernel/listing.h"

/* The directory's own offset, and its parent's; those of the entries are greater. */
#define OFFSET_SELF 1
#define OFFSET_PARENT 2

/* What a place begins with. */
struct box_listing {
    struct listing_part part;
    struct mbox *mbox; /* a reference */
};

/* Finds the place of @listing, or makes it: @size_bytes, zeroed behind the struct box_listing. @free_part ends what is the caller's in it and
 * calls box_listing_free.
 * Return: 0; -EDQUOT; -ENOSPC; -ENOMEM.
 * Context: with the listing's turn. */
int box_listing_of(struct listing *listing, struct mbox *mbox, size_t size_bytes,
                   void (*free_part)(struct listing_part *part), struct box_listing **ret_place);

/* For @free_part. Context: the listing is being freed, or this part of it. */
void box_listing_free(struct box_listing *place);

#endif
