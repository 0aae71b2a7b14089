/* Its directory is for its owner alone at first: who may search it could learn from its files when something comes, and
 * remove nothing, but has no business there. */
#include "subscription.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/mailbox/mbox_keep.h"
#include "fs/kernel/kernel.h"
#include "fs/mailbox/box_files.h"
#include "fs/mailbox/box_notice.h"
#include "fs/mailbox/mailbox.h"
#include "fs/mailbox/owner.h"

struct subscription_box {
    struct box box;
    struct subscription subscription;
};

#define SUBSCRIPTION_KEPT_BYTES                                                                    \
    (BOX_KEPT_BYTES + sizeof(struct subscription) +                                                \
     MBOX_FEED_FREE_ENTRIES * MBOX_ENTRY_CHARGE_BYTES)

static struct subscription_box *subscription_box_of(struct box *box)
{
    return (struct subscription_box *)((char *)box - offsetof(struct subscription_box, box));
}

static struct topic_box *topic_of(struct box *box)
{
    return topic_box_of(box_of(subscription_box_of(box)->subscription.topic->mbox));
}

static int subscription_admit(struct box *box, const struct caller *caller)
{
    return owner_admit(&box->mbox, caller);
}

static void subscription_remove(struct box *box, struct mbox_ready *ready)
{
    struct topic_box *topic = topic_of(box);
    char name[NAME_BYTES_MAX + 1];

    if (names_remove_mbox(&topic->subscriptions, &box->mbox, name, ready) == 0)
        box_tell_deletion(box, box_file_slot(&topic->box, topic->sub), name);
}

/* As its path from the mount; where that is too long for a header, as its own name. */
static void subscription_tell_name(struct box *box, char ret_name[MBOX_NAME_BYTES_MAX + 1])
{
    struct topic_box *topic = topic_of(box);
    char own[NAME_BYTES_MAX + 1];
    char of_topic[NAME_BYTES_MAX + 1];

    names_tell(topic->home, &topic->box.mbox, of_topic);
    names_tell(&topic->subscriptions, &box->mbox, own);
    if (snprintf(ret_name, MBOX_NAME_BYTES_MAX + 1, "topic/%s/sub/%s", of_topic, own) >
        MBOX_NAME_BYTES_MAX)
        memcpy(ret_name, own, sizeof(own));
}

static int subscription_set_owner(struct box *box, uid_t uid, gid_t gid)
{
    (void)gid;
    return mbox_feed_set_uid(&box->mbox, uid);
}

static void free_subscription(struct box *box)
{
    subscription_deinit(&subscription_box_of(box)->subscription);
    box_free(box);
}

static const struct box_kind subscription_kind = {
    .size = sizeof(struct subscription_box),
    .files = &box_files,
    .classes = BOX_RECEIVED_FROM | BOX_QUEUES | BOX_OWNED,
    .admit = subscription_admit,
    .remove = subscription_remove,
    .tell_name = subscription_tell_name,
    .counts_for_owner = true,
    .set_owner = subscription_set_owner,
    .free = free_subscription,
};

/* Makes one that has not begun, whose charge is the caller's to see to. Return: 0; -ENOMEM. */
static int subscription_make_for(struct topic_box *topic, mode_t mode, const struct caller *owner,
                                 struct box **ret_box)
{
    struct box *box = box_new(topic->box.boxes, &subscription_kind, mode, 0, owner, 0);
    int r;

    if (!box)
        return -ENOMEM;
    subscription_init(&subscription_box_of(box)->subscription, &topic->topic, &box->mbox,
                      owner->uid, true);
    r = box_keep(box, JOURNAL_SUBSCRIPTION, &topic->box.mbox);
    if (r < 0)
        return r;
    *ret_box = box;
    return 0;
}

static int begin(struct box *box)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    int r = subscription_begin(&subscription_box_of(box)->subscription, &ready);

    mbox_ready_run(&ready);
    if (r < 0)
        box_discard(box);
    return r;
}

int subscription_make(struct topic_box *topic, mode_t mode, const struct caller *caller,
                      struct box **ret_box)
{
    struct quota *quota = topic->box.boxes->kernel->quota;
    int r = quota_charge_kept(quota, caller->uid, SUBSCRIPTION_KEPT_BYTES, QUOTA_MADE);
    struct box *box;

    if (r < 0)
        return r;
    r = subscription_make_for(topic, mode & ~(mode_t)(S_IRWXG | S_IRWXO), caller, &box);
    if (r < 0) {
        quota_release_kept(quota, caller->uid, SUBSCRIPTION_KEPT_BYTES, QUOTA_MADE);
        return r;
    }
    box_adopt_charge(box, caller->uid, SUBSCRIPTION_KEPT_BYTES);
    r = begin(box);
    if (r == 0)
        *ret_box = box;
    return r;
}

int subscription_restore(struct topic_box *topic, const struct store_found *found,
                         struct mbox **ret_mbox)
{
    struct caller owner;
    struct box *box;
    mode_t mode;
    int r;

    mailbox_found_owner(found, &owner, &mode);
    r = subscription_make_for(topic, mode, &owner, &box);
    if (r == 0)
        r = begin(box);
    if (r == 0)
        r = mailbox_adopt_found(&topic->subscriptions, box, found, SUBSCRIPTION_KEPT_BYTES,
                                mailbox_configure_as_found);
    if (r == 0)
        *ret_mbox = &box->mbox;
    return r;
}
