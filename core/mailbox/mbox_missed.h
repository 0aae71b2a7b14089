/* What a mailbox that is filled from elsewhere (mbox_feed.h) has lost: its next message tells how much. All but
 * the counts are of a mailbox that has a feed.
 *
 * Context: under the mailbox's lock; nothing blocks. */
#ifndef IPCFS_CORE_MBOX_MISSED_H
#define IPCFS_CORE_MBOX_MISSED_H

#include "mbox.h"

/* Of all mailboxes that one fills. */
struct mbox_feed_counts {
    _Atomic uint64_t n_kept;     /* that keep what is filled from being removed */
    _Atomic uint64_t n_blocking; /* that may make it wait */
    _Atomic uint64_t n_full;     /* that do so now */
    _Atomic uint64_t n_dropped;  /* messages that were lost */
};

/* A message was dropped. */
void mbox_feed_lose(struct mbox *mbox);

/* @entry goes to a receiver; or comes back. */
void mbox_feed_launch(struct mbox *mbox, struct mbox_entry *entry);
void mbox_feed_land(struct mbox *mbox, struct mbox_entry *entry);

#endif
