/* It counts for whom the file was opened for, and as long: its mailbox is kept by the file alone. */
#include "listener.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/kernel/file.h"
#include "fs/kernel/kernel.h"

struct listener {
    struct mbox mbox;
    struct subscription subscription;
    uid_t uid; /* for whom it counts */
};

#define LISTENER_KEPT_BYTES                                                                        \
    (sizeof(struct listener) + MBOX_FEED_FREE_ENTRIES * MBOX_ENTRY_CHARGE_BYTES)

static void free_listener(struct mbox *mbox)
{
    struct listener *listener = (struct listener *)((char *)mbox - offsetof(struct listener, mbox));

    quota_release_kept(&mbox->domain->quota, listener->uid, LISTENER_KEPT_BYTES, QUOTA_OPEN);
    subscription_deinit(&listener->subscription);
    mbox_deinit(mbox);
    free(listener);
}

/* Return: 0 with a mailbox that has subscribed to nothing yet. */
static int new_listener(struct topic_box *box, uid_t uid, struct listener **ret_listener)
{
    struct mbox_domain *domain = box->box.mbox.domain;
    int r = quota_charge_kept(&domain->quota, uid, LISTENER_KEPT_BYTES, QUOTA_OPEN);
    struct listener *listener;

    if (r < 0)
        return r;
    listener = calloc(1, sizeof(*listener));
    if (!listener) {
        quota_release_kept(&domain->quota, uid, LISTENER_KEPT_BYTES, QUOTA_OPEN);
        return -ENOMEM;
    }
    listener->uid = uid;
    mbox_init(&listener->mbox, domain, free_listener);
    subscription_init(&listener->subscription, &box->topic, &listener->mbox, uid, false);
    *ret_listener = listener;
    return 0;
}

int listener_open(struct topic_box *box, const struct caller *caller, listener_open_file *open_file,
                  struct file **ret_file)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct file *file = NULL;
    struct listener *listener;
    int r = new_listener(box, caller->uid, &listener);

    if (r < 0)
        return r;
    r = open_file(box->box.boxes->kernel, &listener->mbox, &file);
    if (r == 0) {
        file->ends_mbox = true;
        r = subscription_begin(&listener->subscription, &ready);
    }
    if (r == 0)
        *ret_file = file;
    else if (file)
        file_discard(file);
    else
        mbox_remove(&listener->mbox, true, &ready);
    mbox_ready_run(&ready);
    mbox_unref(&listener->mbox);
    return r;
}
