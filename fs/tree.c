/* A new room is a line in the table of what the root holds, a member of struct tree, and its init and deinit
 * below. */
#include "tree.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "fs/kernel/kernel.h"
#include "fs/mailbox/mailbox.h"

#define MBOX_MODE 01777
#define TOPIC_MODE 01777
#define RING_MODE 01777
#define READ_ONLY_MODE 0555

/* What the root holds. */
static const struct entry {
    const char *name;
    size_t room;                /* where in struct tree */
    const struct node_ops *ops; /* NULL: it is shm/, which has a directory of its own */
} entries[] = {
    { "mbox", offsetof(struct tree, mailboxes.room), &mboxes_ops },
    { "topic", offsetof(struct tree, topics.room), &mboxes_ops },
    { "ring", offsetof(struct tree, rings.mboxes.room), &mboxes_ops },
    { .name = "shm" },
    { "proc", offsetof(struct tree, procs.room), &procs_ops },
    { ".ipcfs", offsetof(struct tree, info.room), &info_ops },
};

#define N_ENTRIES (sizeof(entries) / sizeof(entries[0]))

static struct tree *tree_of(struct node *root)
{
    return (struct tree *)((char *)root->object - offsetof(struct tree, root));
}

static struct room *room_at(struct tree *tree, const struct entry *entry)
{
    return (struct room *)((char *)tree + entry->room);
}

static int root_lookup(struct node *root, const char *name, struct node **ret_node)
{
    struct tree *tree = tree_of(root);
    const struct entry *entry = entries;

    while (entry < entries + N_ENTRIES && strcmp(name, entry->name) != 0)
        entry++;
    if (entry == entries + N_ENTRIES)
        return -ENOENT;
    if (!entry->ops)
        return shm_node(&tree->shm, ret_node);
    return node_obtain(&root->kernel->nodes, entry->ops, room_at(tree, entry),
                       &room_at(tree, entry)->node, ret_node);
}

static int root_list(struct node *root, struct listing *listing)
{
    struct tree *tree = tree_of(root);
    int r = 0;

    for (size_t i = 0; i < N_ENTRIES && r == 0; i++) {
        const struct entry *entry = &entries[i];

        r = listing_add(listing, entry->name,
                        entry->ops ? room_at(tree, entry)->attr.ino : shm_ino(&tree->shm), S_IFDIR);
    }
    return r;
}

static void root_getattr(struct node *root, struct stat *ret_attr)
{
    room_getattr(root, ret_attr);
    ret_attr->st_nlink += N_ENTRIES;
}

/* The rooms are there for ever, and only the kernel changes the rest. */
static double root_attr_seconds(struct node *root)
{
    (void)root;
    return NODE_FOREVER_SECONDS;
}

static const struct node_ops root_ops = {
    .getattr = root_getattr,
    .attr_seconds = root_attr_seconds,
    .keeps_names = true,
    .setattr = room_setattr,
    .lookup = root_lookup,
    .list = root_list,
};

/* What .ipcfs/ tells of. */
static void init_info(struct tree *tree, const struct caller *owner)
{
    room_init(&tree->info.room, &tree->boxes.kernel->nodes, READ_ONLY_MODE, owner);
    tree->info.kernel = tree->boxes.kernel;
    tree->info.domain = tree->boxes.domain;
    tree->info.mailboxes = &tree->mailboxes.names;
    tree->info.topics = &tree->topics.names;
    tree->info.rings = &tree->rings.mboxes.names;
    tree->info.processes = &tree->procs.processes;
}

int tree_init(struct tree *tree, struct kernel *kernel, struct mbox_domain *domain,
              const struct caller *owner)
{
    struct node *root;
    int r_procs;
    int r;

    room_init(&tree->root, &kernel->nodes, 0755, owner);
    boxes_init(&tree->boxes, kernel, domain);
    mboxes_init(&tree->mailboxes, &tree->boxes, MBOX_MODE, owner, mailbox_make);
    mboxes_init(&tree->topics, &tree->boxes, TOPIC_MODE, owner, topic_make);
    rings_init(&tree->rings, &tree->boxes, RING_MODE, owner);
    r_procs = procs_init(&tree->procs, &tree->boxes, READ_ONLY_MODE, owner);
    init_info(tree, owner);
    r = shm_init(&tree->shm, kernel, owner);
    if (r == 0)
        r = r_procs;
    if (r < 0)
        return r;
    r = node_obtain(&kernel->nodes, &root_ops, &tree->root, &tree->root.node, &root);
    assert(r < 0 || root->id == NODE_ROOT_ID);
    return r;
}

struct mbox *tree_find_dead(struct tree *tree, struct mbox *mbox, const char *name,
                            char ret_from[MBOX_NAME_BYTES_MAX + 1])
{
    struct mbox *dead = names_find(&tree->mailboxes.names, name);
    struct box *box = box_of(mbox);

    if (!dead || !box->kind->tell_name) {
        if (dead)
            mbox_unref(dead);
        return NULL;
    }
    box_refresh(box);
    if (box_uid(box) != box_uid(box_of(dead))) {
        mbox_unref(dead);
        return NULL;
    }
    box->kind->tell_name(box, ret_from);
    return dead;
}

void tree_end_mailboxes(struct tree *tree)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    names_remove_all(&tree->mailboxes.names, &ready);
    topics_end_all(&tree->topics, &ready);
    names_remove_all(&tree->rings.mboxes.names, &ready);
    processes_end_all(&tree->procs.processes, &ready);
    mbox_ready_run(&ready);
}

void tree_deinit(struct tree *tree)
{
    boxes_deinit(&tree->boxes);
    shm_deinit(&tree->shm);
    mboxes_deinit(&tree->mailboxes);
    mboxes_deinit(&tree->topics);
    rings_deinit(&tree->rings);
    procs_deinit(&tree->procs);
    room_deinit(&tree->info.room);
    room_deinit(&tree->root);
}
