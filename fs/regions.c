#include "regions.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "fs.h"
#include "listing.h"
#include "region.h"
#include "room.h"

/* An entry of the table. */
struct region_name {
    struct region *region; /* a reference */
    UT_hash_handle hh;
    char text[];
};

void regions_init(struct regions *regions)
{
    *regions = (struct regions){ 0 };
    pthread_mutex_init(&regions->lock, NULL);
}

/* Under lock, as the next two. Return: NULL: there is none. */
static struct region_name *find(struct regions *regions, const char *text)
{
    struct region_name *name;

    HASH_FIND_STR(regions->table, text, name);
    return name;
}

/* Takes a reference to @region. Return: 0; -ENOMEM. */
static int add(struct regions *regions, struct region *region, const char *text)
{
    size_t size = strlen(text) + 1;
    struct region_name *name = calloc(1, sizeof(*name) + size);

    if (!name)
        return -ENOMEM;
    memcpy(name->text, text, size);
    HASH_ADD_STR(regions->table, text, name);
    if (!hash_added(name, hh)) {
        free(name);
        return -ENOMEM;
    }
    name->region = region_ref(region);
    return 0;
}

/* Return: the region, whose reference is the caller's now. */
static struct region *take_out(struct regions *regions, struct region_name *name)
{
    struct region *region = name->region;

    assert(regions->table);
    HASH_DEL(regions->table, name);
    free(name);
    return region;
}

void regions_deinit(struct regions *regions)
{
    struct region_name *name;
    struct region_name *next;

    HASH_ITER(hh, regions->table, name, next)
        region_unref(take_out(regions, name));
    pthread_mutex_destroy(&regions->lock);
}

static struct regions *regions_of(struct node *dir)
{
    return &dir->fs->regions;
}

static int lookup(struct node *dir, const char *name, struct node **ret_node)
{
    struct regions *regions = regions_of(dir);
    struct region *region = NULL;
    struct region_name *found;
    int r;

    pthread_mutex_lock(&regions->lock);
    found = find(regions, name);
    if (found)
        region = region_ref(found->region);
    pthread_mutex_unlock(&regions->lock);
    if (!region)
        return -ENOENT;
    r = region_node(region, ret_node);
    region_unref(region);
    return r;
}

static int list(struct node *dir, struct listing *listing)
{
    struct regions *regions = regions_of(dir);
    struct region_name *name;
    int r = 0;

    pthread_mutex_lock(&regions->lock);
    for (name = regions->table; name && r == 0; name = name->hh.next)
        r = listing_add(listing, name->text, name->region->attr.ino, S_IFREG);
    pthread_mutex_unlock(&regions->lock);
    return r;
}

/* Enters a new region, or a new name of one. Return: 0; -EEXIST; -ENOMEM. */
static int enter(struct regions *regions, struct region *region, const char *text)
{
    int r = -EEXIST;

    pthread_mutex_lock(&regions->lock);
    if (!find(regions, text))
        r = add(regions, region, text);
    if (r == 0)
        region_count_names(region, 1);
    pthread_mutex_unlock(&regions->lock);
    return r;
}

/* Return: 0 with a node and an open file; a negative errno. */
static int make(struct node *dir, const char *name, mode_t mode, const struct caller *caller,
                struct node **ret_node, struct file **ret_file)
{
    struct region *region;
    int r = region_new(dir->fs, mode, caller, &region);

    if (r < 0)
        return r;
    r = region_node(region, ret_node);
    if (r == 0) {
        r = region_open(region, ret_file);
        if (r < 0)
            node_forget(dir->fs, (*ret_node)->id, 1);
    }
    if (r == 0) {
        r = enter(regions_of(dir), region, name);
        if (r < 0) {
            file_discard(*ret_file);
            node_forget(dir->fs, (*ret_node)->id, 1);
        }
    }
    region_unref(region);
    return r;
}

static void create(struct node *dir, fuse_req_t req, const char *name, mode_t mode,
                   struct fuse_file_info *fi)
{
    struct caller caller = caller_of(req);
    struct file *file = NULL;
    struct node *node = NULL;
    int r = make(dir, name, mode, &caller, &node, &file);

    /* Somebody was quicker: the kernel looks again, and checks whether the caller may have that one. */
    if (r == -EEXIST && !(fi->flags & O_EXCL))
        r = -ESTALE;
    if (r < 0) {
        fuse_reply_err(req, -r);
        return;
    }
    room_touch(dir->object);
    file_reply_create(file, req, node);
}

/* @region, which may be NULL, has lost a name. */
static void unlinked(struct region *region)
{
    if (!region)
        return;
    region_count_names(region, -1);
    region_unref(region);
}

/* The kernel has refused what has no name left, and does not link and unlink one region at a time. */
static int link_it(struct node *dir, struct node *node, const char *name)
{
    struct region *region = region_of_node(node);
    struct node *found;
    int r;

    if (!region)
        return -EPERM;
    r = region_node(region, &found);
    if (r < 0)
        return r;
    r = enter(regions_of(dir), region, name);
    if (r < 0)
        node_forget(dir->fs, found->id, 1);
    else
        room_touch(dir->object);
    return r;
}

static int unlink_it(struct node *dir, const char *name, const struct caller *caller,
                     struct mbox_ready *ready)
{
    struct regions *regions = regions_of(dir);
    struct region *region = NULL;
    struct region_name *found;

    (void)caller;
    (void)ready;
    pthread_mutex_lock(&regions->lock);
    found = find(regions, name);
    if (found)
        region = take_out(regions, found);
    pthread_mutex_unlock(&regions->lock);
    unlinked(region);
    if (!region)
        return -ENOENT;
    room_touch(dir->object);
    return 0;
}

/* Under lock. Return: 0, with the region that gave way, or NULL; a negative errno, and nothing has
 * changed. */
static int rename_locked(struct regions *regions, const char *from, const char *to,
                         enum names_rename how, struct region **ret_replaced)
{
    struct region_name *source = find(regions, from);
    struct region_name *target = find(regions, to);
    int r;

    if (!source || (how == NAMES_RENAME_EXCHANGE && !target))
        return -ENOENT;
    if (how == NAMES_RENAME_NEW && target)
        return -EEXIST;
    /* rename(2): two names of one file stay. */
    if (target && source->region == target->region)
        return 0;
    if (how == NAMES_RENAME_EXCHANGE) {
        struct region *region = source->region;

        source->region = target->region;
        target->region = region;
        return 0;
    }
    r = add(regions, source->region, to);
    if (r < 0)
        return r;
    region_count_names(source->region, 0);
    if (target)
        *ret_replaced = take_out(regions, target);
    region_unref(take_out(regions, source));
    return 0;
}

static int rename_it(struct node *dir, const char *name, struct node *to_dir, const char *to_name,
                     enum names_rename how, const struct caller *caller, struct mbox_ready *ready)
{
    struct regions *regions = regions_of(dir);
    struct region *replaced = NULL;
    int r;

    (void)caller;
    (void)ready;
    if (to_dir != dir)
        return -EPERM;
    pthread_mutex_lock(&regions->lock);
    r = rename_locked(regions, name, to_name, how, &replaced);
    pthread_mutex_unlock(&regions->lock);
    unlinked(replaced);
    if (r == 0)
        room_touch(dir->object);
    return r;
}

const struct node_ops regions_ops = {
    .getattr = room_getattr,
    .setattr = room_setattr,
    .lookup = lookup,
    .list = list,
    .create = create,
    .link = link_it,
    .unlink = unlink_it,
    .rename = rename_it,
};
