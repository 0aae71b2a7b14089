#include "mboxes.h"

#include <errno.h>

#include "box.h"
#include "fs/mount.h"
#include "fs/kernel/listing.h"
#include "fs/ring/ring.h"
#include "fs/kernel/room.h"

static bool is_rings(const struct node *dir)
{
    return dir->ops == &rings_ops;
}

static struct names *names_of(struct node *dir)
{
    return is_rings(dir) ? &fs_of(dir->kernel)->rings : &fs_of(dir->kernel)->names;
}

static int make_box(struct node *dir, mode_t mode, const struct caller *caller,
                    struct box **ret_box)
{
    return is_rings(dir) ? ring_new(dir->kernel, mode, caller, ret_box)
                         : box_new(dir->kernel, mode, caller, ret_box);
}

static int lookup(struct node *dir, const char *name, struct node **ret_node)
{
    struct mbox *mbox = names_find(names_of(dir), name);
    int r;

    if (!mbox)
        return -ENOENT;
    r = box_node(dir->kernel, box_of(mbox), ret_node);
    mbox_unref(mbox);
    return r;
}

static int add_to_listing(const char *name, struct mbox *mbox, void *listing)
{
    return listing_add(listing, name, box_of(mbox)->dir.ino, S_IFDIR);
}

static int list(struct node *dir, struct listing *listing)
{
    return names_each(names_of(dir), add_to_listing, listing);
}

static void getattr(struct node *dir, struct stat *ret_attr)
{
    room_getattr(dir, ret_attr);
    ret_attr->st_nlink += names_count(names_of(dir));
}

/* Enters @box under @name and gets its node. Return: 0; a negative errno. */
static int enter(struct node *dir, const char *name, struct box *box, struct node **ret_node)
{
    struct node *node;
    int r = box_node(dir->kernel, box, &node);

    if (r < 0)
        return r;
    r = names_add(names_of(dir), name, &box->mbox);
    if (r < 0) {
        node_forget(&dir->kernel->nodes, node->id, 1);
        return r;
    }
    *ret_node = node;
    return 0;
}

static int make_dir(struct node *dir, const char *name, mode_t mode, const struct caller *caller,
                    struct node **ret_node)
{
    struct mbox_ready nobody = TAILQ_HEAD_INITIALIZER(nobody);
    struct caller owner = *caller;
    struct box *box;
    int r;

    mode |= S_IFDIR;
    room_hand_down(dir->object, &owner, &mode);
    r = make_box(dir, mode, &owner, &box);

    if (r < 0)
        return r;
    r = enter(dir, name, box, ret_node);
    if (r == 0)
        room_touch(dir->object);
    else
        mbox_remove(&box->mbox, true, &nobody);
    mbox_unref(&box->mbox);
    return r;
}

static int remove_dir(struct node *dir, const char *name, struct mbox_ready *ready)
{
    int r = names_remove(names_of(dir), name, ready);

    if (r == 0)
        room_touch(dir->object);
    return r;
}

static int rename_dir(struct node *dir, const char *name, struct node *to_dir, const char *to_name,
                      enum names_rename how, const struct caller *caller, struct mbox_ready *ready)
{
    int r;

    (void)caller;
    /* Not EXDEV: who copies a mailbox reads it empty. */
    if (to_dir != dir)
        return -EPERM;
    r = names_rename(names_of(dir), name, to_name, how, ready);
    if (r == 0)
        room_touch(dir->object);
    return r;
}

#define BOXES_OPS                                                                                  \
    {                                                                                              \
        .getattr = getattr, .setattr = room_setattr, .lookup = lookup, .list = list,               \
        .mkdir = make_dir, .rmdir = remove_dir, .rename = rename_dir,                              \
    }

const struct node_ops mboxes_ops = BOXES_OPS;
const struct node_ops rings_ops = BOXES_OPS;
