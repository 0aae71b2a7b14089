/* A message that comes back undelivered gives back what it was to tell. */
#include "mbox_missed.h"

void mbox_feed_lose(struct mbox *mbox)
{
    mbox->feed->n_missed++;
    atomic_fetch_add_explicit(&mbox->feed->counts->n_dropped, 1, memory_order_relaxed);
}

void mbox_feed_launch(struct mbox *mbox, struct mbox_entry *entry)
{
    entry->n_missed = mbox->feed->n_missed;
    mbox->feed->n_missed = 0;
}

void mbox_feed_land(struct mbox *mbox, struct mbox_entry *entry)
{
    mbox->feed->n_missed += entry->n_missed;
    entry->n_missed = 0;
}
