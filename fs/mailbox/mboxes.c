/* The directory's own work: names, made, removed and renamed. What is made in it, its maker knows. */
#include "mboxes.h"

#include <errno.h>

#include "box_dir.h"
#include "box_notice.h"
#include "core/mailbox/mbox_keep.h"
#include "fs/kernel/kernel.h"

void mboxes_init(struct mboxes *mboxes, struct boxes *boxes, mode_t mode,
                 const struct caller *owner, mboxes_make *make)
{
    room_init(&mboxes->room, &boxes->kernel->nodes, mode, owner);
    names_init(&mboxes->names);
    mboxes->boxes = boxes;
    mboxes->make = make;
}

void mboxes_deinit(struct mboxes *mboxes)
{
    room_deinit(&mboxes->room);
    names_deinit(&mboxes->names);
}

static struct mboxes *mboxes_of(struct node *dir)
{
    return (struct mboxes *)((char *)dir->object - offsetof(struct mboxes, room));
}

void mboxes_remove(struct mboxes *mboxes, struct box *box, struct mbox_ready *ready)
{
    char name[NAME_BYTES_MAX + 1];

    if (names_remove_mbox(&mboxes->names, &box->mbox, name, ready) < 0)
        return;
    room_touch(&mboxes->room);
    box_tell_deletion(box, &mboxes->room.node, name);
}

int mboxes_lookup_in(struct names *names, const char *name, struct node **ret_node)
{
    struct mbox *mbox = names_find(names, name);
    int r;

    if (!mbox)
        return -ENOENT;
    r = box_dir_node(box_of(mbox), ret_node);
    mbox_unref(mbox);
    return r;
}

static int mboxes_lookup(struct node *dir, const char *name, struct node **ret_node)
{
    return mboxes_lookup_in(&mboxes_of(dir)->names, name, ret_node);
}

static int mboxes_add_to_listing(const char *name, struct mbox *mbox, void *listing)
{
    return listing_add(listing, name, box_of(mbox)->dir.ino, S_IFDIR);
}

int mboxes_list_in(struct names *names, struct listing *listing)
{
    return names_each(names, mboxes_add_to_listing, listing);
}

static int mboxes_list(struct node *dir, struct listing *listing)
{
    return mboxes_list_in(&mboxes_of(dir)->names, listing);
}

static void mboxes_getattr(struct node *dir, struct stat *ret_attr)
{
    room_getattr(dir, ret_attr);
    ret_attr->st_nlink += names_count(&mboxes_of(dir)->names);
}

/* Enters @box under @name and gets its node. Return: 0; a negative errno. */
static int mboxes_enter(struct names *names, const char *name, struct box *box,
                        struct node **ret_node)
{
    struct node *node;
    int r = box_dir_node(box, &node);

    if (r < 0)
        return r;
    r = names_add(names, name, &box->mbox);
    if (r < 0) {
        node_forget(&box->boxes->kernel->nodes, node->id, 1);
        return r;
    }
    *ret_node = node;
    return 0;
}

int mboxes_enter_in(struct names *names, const char *name, struct box *box, struct node **ret_node)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    int r = mboxes_enter(names, name, box, ret_node);

    if (r < 0)
        mbox_remove(&box->mbox, true, &ready);
    mbox_ready_run(&ready);
    mbox_unref(&box->mbox);
    return r;
}

static int make_dir(struct node *dir, const char *name, mode_t mode, const struct caller *caller,
                    struct node **ret_node)
{
    struct caller owner = *caller;
    struct box *box;
    int r;

    mode |= S_IFDIR;
    room_hand_down(dir->object, &owner, &mode);
    r = mboxes_of(dir)->make(mboxes_of(dir), mode, &owner, &box);
    if (r == 0)
        r = mboxes_enter_in(&mboxes_of(dir)->names, name, box, ret_node);
    if (r == 0)
        room_touch(dir->object);
    mbox_flush(mboxes_of(dir)->boxes->domain);
    return r;
}

static int remove_dir(struct node *dir, const char *name, struct mbox_ready *ready)
{
    int r = names_remove(&mboxes_of(dir)->names, name, ready);

    if (r == 0)
        room_touch(dir->object);
    return r;
}

void mboxes_note_rename(struct mbox_domain *domain, struct mbox_ready *ready)
{
    if (!domain->journal)
        return;
    /* The turn to write may be in there, which nobody else has meanwhile. */
    mbox_ready_run(ready);
    mbox_flush(domain);
}

static int rename_dir(struct node *dir, const char *name, struct node *to_dir, const char *to_name,
                      enum names_rename how, const struct caller *caller, struct mbox_ready *ready)
{
    int r;

    (void)caller;
    /* Not EXDEV: who copies a mailbox reads it empty. */
    if (to_dir != dir)
        return -EPERM;
    r = names_rename(&mboxes_of(dir)->names, name, to_name, how, ready);
    if (r == 0)
        room_touch(dir->object);
    mboxes_note_rename(mboxes_of(dir)->boxes->domain, ready);
    return r;
}

const struct node_ops mboxes_ops = {
    .getattr = mboxes_getattr,
    .setattr = room_setattr,
    .lookup = mboxes_lookup,
    .list = mboxes_list,
    .mkdir = make_dir,
    .rmdir = remove_dir,
    .rename = rename_dir,
};
