/* What a topic is in fs/: a box (fs/mailbox/box.h) whose messages go to all who have subscribed.
 *
 * Its struct is its box's, and lives as long: each subscription, too, holds a reference to its mailbox. It owns the
 * names of those that were made in its `sub/`. Who opens a receiving file subscribes as well, for as long as that
 * is open (listener.h).
 *
 * Context: any thread; the box is the caller's, or has a reference. */
#ifndef IPCFS_FS_TOPIC_BOX_H
#define IPCFS_FS_TOPIC_BOX_H

#include "core/mailbox/names.h"
#include "core/mailbox/topic.h"
#include "fs/mailbox/box.h"

struct topic_box {
    struct box box;
    struct topic topic;
    struct names *home;         /* where it is called something */
    struct names subscriptions; /* in sub/ */
    const struct box_file *sub; /* that directory */
};

static inline struct topic_box *topic_box_of(struct box *box)
{
    return (struct topic_box *)((char *)box - offsetof(struct topic_box, box));
}

#endif
