#include "tree.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "mount.h"
#include "fs/info/info.h"
#include "fs/kernel/listing.h"
#include "fs/mailbox/mboxes.h"
#include "fs/proc/procs.h"
#include "fs/shm/shm.h"

/* What the root holds: a new room is a line here, and a struct room in struct tree. */
static const struct entry {
    const char *name;
    mode_t mode;
    size_t room;                /* where in struct tree */
    const struct node_ops *ops; /* NULL: it is shm/, which has a directory of its own */
} entries[] = {
    { "mbox", 01777, offsetof(struct tree, mboxes), &mboxes_ops },
    { "ring", 01777, offsetof(struct tree, rings), &rings_ops },
    { .name = "shm" },
    { "proc", 0555, offsetof(struct tree, procs), &procs_ops },
    { ".ipcfs", 0555, offsetof(struct tree, info), &info_ops },
};

#define N_ENTRIES (sizeof(entries) / sizeof(entries[0]))

static struct room *room_at(struct tree *tree, size_t i)
{
    return (struct room *)((char *)tree + entries[i].room);
}

static int obtain(struct kernel *kernel, const struct entry *entry, struct node **ret_node)
{
    struct room *room = (struct room *)((char *)&fs_of(kernel)->tree + entry->room);

    if (!entry->ops)
        return shm_node(&fs_of(kernel)->shm, ret_node);
    return node_obtain(&kernel->nodes, entry->ops, room, &room->node, ret_node);
}

static int lookup(struct node *root, const char *name, struct node **ret_node)
{
    for (size_t i = 0; i < N_ENTRIES; i++) {
        if (strcmp(name, entries[i].name) == 0)
            return obtain(root->kernel, &entries[i], ret_node);
    }
    return -ENOENT;
}

static int list(struct node *root, struct listing *listing)
{
    struct kernel *kernel = root->kernel;
    int r = 0;

    for (size_t i = 0; i < N_ENTRIES && r == 0; i++)
        r = listing_add(listing, entries[i].name,
                        entries[i].ops ? room_at(&fs_of(kernel)->tree, i)->attr.ino
                                       : shm_ino(&fs_of(kernel)->shm),
                        S_IFDIR);
    return r;
}

static void getattr(struct node *root, struct stat *ret_attr)
{
    room_getattr(root, ret_attr);
    ret_attr->st_nlink += N_ENTRIES;
}

/* The rooms are there for ever, and only the kernel changes the rest. */
static double attr_seconds(struct node *root)
{
    (void)root;
    return NODE_FOREVER_SECONDS;
}

static const struct node_ops root_ops = {
    .getattr = getattr,
    .attr_seconds = attr_seconds,
    .keeps_names = true,
    .setattr = room_setattr,
    .lookup = lookup,
    .list = list,
};

int tree_init(struct tree *tree, struct kernel *kernel, const struct caller *owner)
{
    struct node *root;
    int r;

    room_init(&tree->root, kernel, 0755, owner);
    for (size_t i = 0; i < N_ENTRIES; i++) {
        if (entries[i].ops)
            room_init(room_at(tree, i), kernel, entries[i].mode, owner);
    }
    r = shm_init(&fs_of(kernel)->shm, kernel, owner);
    if (r < 0)
        return r;
    r = node_obtain(&kernel->nodes, &root_ops, &tree->root, &tree->root.node, &root);
    assert(r < 0 || root->id == NODE_ROOT_ID);
    return r;
}

void tree_deinit(struct tree *tree)
{
    room_deinit(&tree->root);
    for (size_t i = 0; i < N_ENTRIES; i++) {
        if (entries[i].ops)
            room_deinit(room_at(tree, i));
    }
}
