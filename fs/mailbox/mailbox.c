/* A mailbox has all files, a queue, and an owner once somebody claims it. It counts for whom its directory
 * belongs to. */
#include "mailbox.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "box_files.h"
#include "box_kept.h"
#include "core/mailbox/mbox_keep.h"
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

/* Makes one whose charge is the caller's to see to. Return: 0; -ENOMEM. */
static int mailbox_make_for(struct mboxes *mboxes, mode_t mode, const struct caller *owner,
                            struct box **ret_box)
{
    struct box *box = box_new(mboxes->boxes, &mailbox_kind, mode, mode, owner, 0);
    int r;

    if (!box)
        return -ENOMEM;
    ((struct mailbox *)box)->home = mboxes;
    r = box_keep(box, JOURNAL_MAILBOX, NULL);
    if (r < 0)
        return r;
    *ret_box = box;
    return 0;
}

int mailbox_make(struct mboxes *mboxes, mode_t mode, const struct caller *caller,
                 struct box **ret_box)
{
    struct quota *quota = mboxes->boxes->kernel->quota;
    int r = quota_charge_kept(quota, caller->uid, BOX_KEPT_BYTES, QUOTA_MADE);

    if (r < 0)
        return r;
    r = mailbox_make_for(mboxes, mode, caller, ret_box);
    if (r < 0)
        quota_release_kept(quota, caller->uid, BOX_KEPT_BYTES, QUOTA_MADE);
    else
        box_adopt_charge(*ret_box, caller->uid, BOX_KEPT_BYTES);
    return r;
}

/* Names @box and sets it up as @found says. */
static int set_up_found(struct names *names, struct box *box, const struct store_found *found,
                        mailbox_configure_found *configure)
{
    char name[NAME_BYTES_MAX + 1] = { 0 };
    int r;

    memcpy(name, found->name.text, found->name.n_bytes);
    box_restore_files(box, found->attributes, found->n_attributes);
    r = configure(&box->mbox, found->config, found->n_config);
    return r < 0 ? r : names_add(names, name, &box->mbox);
}

void mailbox_found_owner(const struct store_found *found, struct caller *ret_owner,
                         mode_t *ret_mode)
{
    struct box_kept kept = { .mode = 0700, .uid = geteuid(), .gid = getegid() };

    box_read_kept(found->attributes, found->n_attributes, &kept);
    *ret_owner = (struct caller){ .uid = kept.uid, .gid = kept.gid };
    *ret_mode = kept.mode;
}

int mailbox_adopt_found(struct names *names, struct box *box, const struct store_found *found,
                        uint64_t n_kept, mailbox_configure_found *configure)
{
    uid_t uid = box_uid(box);
    int r;

    if (quota_charge_kept(box->boxes->kernel->quota, uid, n_kept, QUOTA_MADE) == 0)
        box_adopt_charge(box, uid, n_kept);
    r = set_up_found(names, box, found, configure);
    if (r < 0)
        box_discard(box);
    return r;
}

int mailbox_configure_as_found(struct mbox *mbox, const char *text, size_t n)
{
    struct mbox_ready nobody = TAILQ_HEAD_INITIALIZER(nobody);

    return mbox_configure(mbox, text, n, &nobody);
}

int mailbox_restore(struct mboxes *mboxes, const struct store_found *found, struct mbox **ret_mbox)
{
    struct caller owner;
    struct box *box;
    mode_t mode;
    int r;

    mailbox_found_owner(found, &owner, &mode);
    r = mailbox_make_for(mboxes, mode, &owner, &box);
    if (r == 0)
        r = mailbox_adopt_found(&mboxes->names, box, found, BOX_KEPT_BYTES,
                                mailbox_configure_as_found);
    if (r == 0)
        *ret_mbox = &box->mbox;
    return r;
}
