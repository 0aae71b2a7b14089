#include "tree.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "fs.h"
#include "info.h"
#include "listing.h"
#include "mboxes.h"
#include "procs.h"
#include "regions.h"

/* What the root holds: a new room is a line here, and a struct room in struct tree. */
static const struct {
    const char *name;
    mode_t mode;
    size_t room; /* where in struct tree */
    const struct node_ops *ops;
} entries[] = {
    { "mbox", 01777, offsetof(struct tree, mboxes), &mboxes_ops },
    { "ring", 01777, offsetof(struct tree, rings), &rings_ops },
    { "shm", 01777, offsetof(struct tree, regions), &regions_ops },
    { "proc", 0555, offsetof(struct tree, procs), &procs_ops },
    { ".ipcfs", 0555, offsetof(struct tree, info), &info_ops },
};

#define N_ENTRIES (sizeof(entries) / sizeof(entries[0]))

static struct room *room_at(struct tree *tree, size_t i)
{
    return (struct room *)((char *)tree + entries[i].room);
}

static int lookup(struct node *root, const char *name, struct node **ret_node)
{
    for (size_t i = 0; i < N_ENTRIES; i++) {
        struct room *room = room_at(&root->fs->tree, i);

        if (strcmp(name, entries[i].name) == 0)
            return node_obtain(root->fs, entries[i].ops, room, &room->node, ret_node);
    }
    return -ENOENT;
}

static int list(struct node *root, struct listing *listing)
{
    int r = 0;

    for (size_t i = 0; i < N_ENTRIES && r == 0; i++)
        r = listing_add(listing, entries[i].name, room_at(&root->fs->tree, i)->attr.ino, S_IFDIR);
    return r;
}

static void getattr(struct node *root, struct stat *ret_attr)
{
    room_getattr(root, ret_attr);
    ret_attr->st_nlink += N_ENTRIES;
}

static const struct node_ops root_ops = {
    .getattr = getattr,
    .setattr = room_setattr,
    .lookup = lookup,
    .list = list,
};

int tree_init(struct tree *tree, struct fs *fs, const struct caller *owner)
{
    struct node *root;
    int r;

    room_init(&tree->root, fs, 0755, owner);
    for (size_t i = 0; i < N_ENTRIES; i++)
        room_init(room_at(tree, i), fs, entries[i].mode, owner);
    r = node_obtain(fs, &root_ops, &tree->root, &tree->root.node, &root);
    assert(r < 0 || root->id == NODE_ROOT_ID);
    return r;
}

void tree_deinit(struct tree *tree)
{
    room_deinit(&tree->root);
    for (size_t i = 0; i < N_ENTRIES; i++)
        room_deinit(room_at(tree, i));
}
