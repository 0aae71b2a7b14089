/* A mailbox has all files, a queue, and an owner once somebody claims it. It counts for whom its directory
 * belongs to. */
#include "mailbox.h"

#include <errno.h>

#include "box_files.h"
#include "fs/kernel/kernel.h"
#include "owner.h"

struct mailbox {
    struct box box;
    struct mboxes *home;
};

static int mailbox_admit(struct box *box, const struct caller *caller)
{
    return owner_admit(&box->mbox, caller);
}

static void mailbox_remove(struct box *box, struct mbox_ready *ready)
{
    mboxes_remove(((struct mailbox *)box)->home, box, ready);
}

static void mailbox_tell_name(struct box *box, char ret_name[MBOX_NAME_BYTES_MAX + 1])
{
    names_tell(&((struct mailbox *)box)->home->names, &box->mbox, ret_name);
}

static const struct box_kind mailbox_kind = {
    .size = sizeof(struct mailbox),
    .files = &box_files,
    .classes = BOX_MAILBOX | BOX_OWNED,
    .admit = mailbox_admit,
    .remove = mailbox_remove,
    .tell_name = mailbox_tell_name,
    .counts_for_owner = true,
    .free = box_free,
};

int mailbox_make(struct mboxes *mboxes, mode_t mode, const struct caller *caller,
                 struct box **ret_box)
{
    struct quota *quota = mboxes->boxes->kernel->quota;
    int r = quota_charge_kept(quota, caller->uid, BOX_KEPT_BYTES, QUOTA_MADE);
    struct box *box;

    if (r < 0)
        return r;
    box = box_new(mboxes->boxes, &mailbox_kind, mode, mode, caller, 0);
    if (!box) {
        quota_release_kept(quota, caller->uid, BOX_KEPT_BYTES, QUOTA_MADE);
        return -ENOMEM;
    }
    ((struct mailbox *)box)->home = mboxes;
    box_adopt_charge(box, caller->uid, BOX_KEPT_BYTES);
    *ret_box = box;
    return 0;
}
