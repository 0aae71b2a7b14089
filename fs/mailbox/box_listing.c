/* The place is charged with the mailbox that it keeps: to whoever opened the directory. */
#include "box_listing.h"

#include <errno.h>
#include <stdlib.h>

#include "box.h"

int box_listing_of(struct listing *listing, struct mbox *mbox, size_t size_bytes,
                   void (*free_part)(struct listing_part *part), struct box_listing **ret_place)
{
    struct box_listing *place = (struct box_listing *)listing->part;
    int r;

    if (!place) {
        place = calloc(1, size_bytes);
        if (!place)
            return -ENOMEM;
        r = listing_keep(listing, &place->part, size_bytes + sizeof(struct box));
        if (r < 0) {
            free(place);
            return r;
        }
        place->part.free = free_part;
        place->mbox = mbox_ref(mbox);
    }
    *ret_place = place;
    return 0;
}

void box_listing_free(struct box_listing *place)
{
    mbox_unref(place->mbox);
    free(place);
}
