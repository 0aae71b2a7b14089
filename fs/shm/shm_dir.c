/* Each change of names is under the room's lock, and checks again what the kernel had checked before it came here
 * (is_removed, a name that is there by now). Objects that lose their last name are given back after the lock. */
#include "shm_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/kernel/caller.h"
#include "fs/kernel/kernel.h"
#include "region.h"
#include "fs/kernel/reply.h"
#include "shm_names.h"
#include "shm_symlink.h"
#include "shm_xattr_ops.h"

#define DIR_BYTES 1024

/* As tmpfs has it: a directory's size grows with each name in it, beginning with two. */
#define NAME_SIZE 20

static const struct node_ops dir_node_ops;

static struct shm_names *names_of(const struct node *node)
{
    return ((const struct shm_dir *)node->object)->names;
}

/* Return: NULL: @node is none. */
static struct shm_dir *dir_of(const struct node *node)
{
    return node->ops == &dir_node_ops ? node->object : NULL;
}

static struct shm_dir *as_dir(struct shm_object *object)
{
    return object->kind->type == S_IFDIR ? (struct shm_dir *)object : NULL;
}

static void dir_free(struct shm_object *object)
{
    shm_order_deinit(&as_dir(object)->order);
    shm_object_deinit(object);
    free(object);
}

static const struct shm_kind dir_kind = {
    .node_ops = &dir_node_ops,
    .type = S_IFDIR,
    .min_bytes = DIR_BYTES,
    .free = dir_free,
};

/* The top one, which nobody has made, counts for nothing. */
static const struct shm_kind top_kind = {
    .node_ops = &dir_node_ops,
    .type = S_IFDIR,
    .free = dir_free,
};

static int dir_new(struct kernel *kernel, struct shm_names *names, const struct shm_kind *kind,
                   mode_t mode, const struct caller *owner, struct shm_object **ret)
{
    struct shm_dir *dir = calloc(1, sizeof(*dir));
    int r;

    if (!dir)
        return -ENOMEM;
    r = shm_object_init(&dir->object, kernel, kind, mode, owner, 0);
    if (r < 0) {
        free(dir);
        return r;
    }
    dir->names = names;
    *ret = &dir->object;
    return 0;
}

int shm_dir_new_top(struct kernel *kernel, struct shm_names *names, mode_t mode,
                    const struct caller *owner, struct shm_dir **ret_dir)
{
    struct shm_object *object;
    int r = dir_new(kernel, names, &top_kind, mode, owner, &object);

    if (r < 0)
        return r;
    object->n_names = 1;
    *ret_dir = as_dir(object);
    (*ret_dir)->parent_ino = NODE_ROOT_ID;
    return 0;
}

static void shm_dir_dir_getattr(struct node *node, struct stat *ret_attr)
{
    struct shm_dir *dir = node->object;
    struct shm_names *names = names_of(node);

    shm_object_getattr(node, ret_attr);
    pthread_mutex_lock(&names->lock);
    ret_attr->st_nlink = dir->is_removed ? 0 : 2 + dir->n_subdirs;
    ret_attr->st_size = (off_t)(NAME_SIZE * (2 + dir->order.n_names));
    pthread_mutex_unlock(&names->lock);
}

/* --- Names that are new --- */

/* Under the room's lock: @object, which has a name there or loses one, is in @dir. */
static void count_subdir(struct shm_dir *dir, struct shm_object *object, int n_more)
{
    struct shm_dir *subdir = as_dir(object);

    if (!subdir)
        return;
    dir->n_subdirs += (unsigned int)n_more;
    if (n_more > 0)
        subdir->parent_ino = dir->object.attr.ino;
}

/* Under the room's lock. Return: 0; -ENOENT: @dir is removed; -EEXIST; as shm_names_add. */
static int enter_locked(struct shm_names *names, struct shm_dir *dir, const char *text,
                        struct shm_object *object)
{
    int r;

    if (dir->is_removed)
        return -ENOENT;
    if (shm_names_find(names, dir, text))
        return -EEXIST;
    r = shm_names_add(names, dir, text, object);
    if (r == 0)
        count_subdir(dir, object, 1);
    return r;
}

/* Gives @object the name @text in @dir. Return: 0; as enter_locked; as shm_object_count_names. */
static int shm_dir_enter(struct node *dir, const char *text, struct shm_object *object)
{
    struct shm_names *names = names_of(dir);
    int r = shm_object_count_names(object, 1);

    if (r < 0)
        return r;
    pthread_mutex_lock(&names->lock);
    r = enter_locked(names, dir->object, text, object);
    pthread_mutex_unlock(&names->lock);
    if (r < 0)
        shm_object_count_names(object, -1);
    else
        shm_object_touch(dir->object);
    return r;
}

/* As enter, and gets the object's node. */
static int enter_with_node(struct node *dir, const char *text, struct shm_object *object,
                           struct node **ret_node)
{
    struct node *node;
    int r = shm_object_node(object, &node);

    if (r < 0)
        return r;
    r = shm_dir_enter(dir, text, object);
    if (r < 0)
        node_forget(&dir->kernel->nodes, node->id, 1);
    else
        *ret_node = node;
    return r;
}

/* As enter_with_node, for a new object, whose reference goes. */
static int enter_new(struct node *dir, const char *text, struct shm_object *object,
                     struct node **ret_node)
{
    int r = enter_with_node(dir, text, object, ret_node);

    shm_object_unref(object);
    return r;
}

/* Return: who owns what @caller makes in @dir; *@mode is the new thing's. */
static struct caller owner_in(struct node *dir, const struct caller *caller, mode_t *mode)
{
    struct shm_object *object = dir->object;
    struct caller owner = *caller;

    pthread_mutex_lock(&object->lock);
    attr_hand_down(&object->attr, &owner, mode);
    pthread_mutex_unlock(&object->lock);
    return owner;
}

static int dir_mkdir(struct node *dir, const char *name, mode_t mode, const struct caller *caller,
                     struct node **ret_node)
{
    mode_t full_mode = S_IFDIR | mode;
    struct caller owner = owner_in(dir, caller, &full_mode);
    struct shm_object *object;
    int r = dir_new(dir->kernel, names_of(dir), &dir_kind, full_mode, &owner, &object);

    return r < 0 ? r : enter_new(dir, name, object, ret_node);
}

static int dir_symlink(struct node *dir, const char *name, const char *target,
                       const struct caller *caller, struct node **ret_node)
{
    mode_t mode = S_IFLNK;
    struct caller owner = owner_in(dir, caller, &mode);
    struct shm_object *object;
    int r = shm_symlink_new(dir->kernel, target, &owner, &object);

    return r < 0 ? r : enter_new(dir, name, object, ret_node);
}

/* Return: 0 with a new region, @caller's; as region_new. */
static int make_region(struct node *dir, mode_t mode, const struct caller *caller,
                       struct region **ret_region)
{
    mode_t full_mode = S_IFREG | mode;
    struct caller owner = owner_in(dir, caller, &full_mode);

    return region_new(dir->kernel, mode, &owner, ret_region);
}

static int dir_mknod(struct node *dir, const char *name, mode_t mode, const struct caller *caller,
                     struct node **ret_node)
{
    struct region *region;
    int r;

    if (!S_ISREG(mode))
        return -EPERM;
    r = make_region(dir, mode, caller, &region);
    return r < 0 ? r : enter_new(dir, name, &region->object, ret_node);
}

/* Makes a region called @name, or with no name for NULL. Return: 0 with its node and an open file. */
static int make_open(struct node *dir, const char *name, mode_t mode, int flags,
                     const struct caller *caller, struct node **ret_node, struct file **ret_file)
{
    struct region *region;
    int r = make_region(dir, mode, caller, &region);

    if (r < 0)
        return r;
    r = region_open(region, flags, ret_file);
    if (r == 0) {
        r = name ? enter_with_node(dir, name, &region->object, ret_node)
                 : shm_object_node(&region->object, ret_node);
        if (r < 0)
            file_discard(*ret_file);
    }
    shm_object_unref(&region->object);
    return r;
}

static void shm_dir_reply_open(struct node *dir, fuse_req_t req, const char *name, mode_t mode,
                               struct fuse_file_info *fi)
{
    struct caller caller = caller_of(req);
    struct file *file = NULL;
    struct node *node = NULL;
    int r = make_open(dir, name, mode, fi->flags, &caller, &node, &file);

    /* Somebody was quicker: the kernel looks again, and checks whether the caller may have that one. */
    if (r == -EEXIST && !(fi->flags & O_EXCL))
        r = -ESTALE;
    if (r < 0)
        reply_result(req, r, "create", name);
    else
        file_reply_create(file, req, dir, node);
}

static void dir_tmpfile(struct node *dir, fuse_req_t req, mode_t mode, struct fuse_file_info *fi)
{
    shm_dir_reply_open(dir, req, NULL, mode, fi);
}

/* Return: NULL: @node is not of shm/. */
static struct shm_object *object_of(struct node *node)
{
    bool is_ours = dir_of(node) || region_of_node(node) || node->ops == &shm_symlink_node_ops;

    return is_ours ? node->object : NULL;
}

/* The kernel has refused directories and what has no name left, and does not link and unlink one thing at
 * a time. */
static int dir_link(struct node *dir, struct node *node, const char *name)
{
    struct shm_object *object = object_of(node);
    struct node *found;

    if (!object)
        return -EXDEV;
    if (as_dir(object))
        return -EPERM;
    return enter_with_node(dir, name, object, &found);
}

/* --- Names that are there --- */

static int shm_dir_dir_lookup(struct node *dir, const char *text, struct node **ret_node)
{
    struct shm_names *names = names_of(dir);
    struct shm_object *object = NULL;
    struct shm_name *name;
    int r;

    pthread_mutex_lock(&names->lock);
    name = shm_names_find(names, dir->object, text);
    if (name)
        object = shm_object_ref(name->object);
    pthread_mutex_unlock(&names->lock);
    if (!object)
        return -ENOENT;
    r = shm_object_node(object, ret_node);
    shm_object_unref(object);
    return r;
}

static bool list_itself(const struct shm_dir *dir, uint64_t after, const struct node_listing *to)
{
    if (after < 1 && !to->add(to->arg, ".", dir->object.attr.ino, S_IFDIR, 1))
        return false;
    return after >= 2 || to->add(to->arg, "..", dir->parent_ino, S_IFDIR, 2);
}

/* A name at position n is told as n + 2. */
static void dir_list_from(struct node *node, uint64_t after, const struct node_listing *to)
{
    struct shm_dir *dir = node->object;
    struct shm_names *names = names_of(node);
    const struct shm_order *order = &dir->order;
    size_t i;

    pthread_mutex_lock(&names->lock);
    if (list_itself(dir, after, to) && shm_order_after(order, after > 2 ? after - 2 : 0, &i)) {
        for (; i < order->n_places; i++) {
            const struct shm_name *name = order->places[i].name;

            if (name && !to->add(to->arg, name->text, name->object->attr.ino,
                                 name->object->kind->type, name->position + 2))
                break;
        }
    }
    pthread_mutex_unlock(&names->lock);
}

/* Under the room's lock: nothing can be made in @object, if it is a directory. Return: -ENOTEMPTY: it has
 * names in it. */
static int remove_dir_locked(struct shm_object *object)
{
    struct shm_dir *dir = as_dir(object);

    if (!dir)
        return 0;
    if (dir->order.n_names > 0)
        return -ENOTEMPTY;
    dir->is_removed = true;
    return 0;
}

/* Under the room's lock. Return: 0, with the object that has lost its name; -ENOENT; -EISDIR or -ENOTDIR: it
 * is the wrong kind; -ENOTEMPTY. */
static int shm_dir_remove_locked(struct shm_names *names, struct shm_dir *dir, const char *text,
                                 bool wants_dir, struct shm_object **ret_object)
{
    struct shm_name *name = shm_names_find(names, dir, text);
    int r;

    if (!name)
        return -ENOENT;
    if (wants_dir != !!as_dir(name->object))
        return wants_dir ? -ENOTDIR : -EISDIR;
    r = remove_dir_locked(name->object);
    if (r < 0)
        return r;
    count_subdir(dir, name->object, -1);
    *ret_object = shm_names_take_out(names, name);
    return 0;
}

/* @object, which may be NULL, has lost a name. */
static void shm_dir_let_go(struct shm_object *object)
{
    if (!object)
        return;
    shm_object_count_names(object, -1);
    shm_object_unref(object);
}

static int shm_dir_remove_name(struct node *dir, const char *text, bool wants_dir)
{
    struct shm_names *names = names_of(dir);
    struct shm_object *object = NULL;
    int r;

    pthread_mutex_lock(&names->lock);
    r = shm_dir_remove_locked(names, dir->object, text, wants_dir, &object);
    pthread_mutex_unlock(&names->lock);
    shm_dir_let_go(object);
    if (r == 0)
        shm_object_touch(dir->object);
    return r;
}

static int dir_unlink(struct node *dir, const char *name, const struct caller *caller,
                      struct mbox_ready *ready)
{
    (void)caller;
    (void)ready;
    return shm_dir_remove_name(dir, name, false);
}

static int dir_rmdir(struct node *dir, const char *name, struct mbox_ready *ready)
{
    (void)ready;
    return shm_dir_remove_name(dir, name, true);
}

/* --- Renaming --- */

/* What a rename is about. A reference to each object is the caller's in the end; NULL: none. */
struct renaming {
    struct shm_dir *from_dir;
    struct shm_dir *to_dir;
    struct shm_object *moved;
    struct shm_object *replaced;  /* it has lost its name */
    struct shm_object *exchanged; /* it has got the other name */
};

/* Under the room's lock, as the next ones. */
static void exchange_locked(struct renaming *renaming, struct shm_name *source,
                            struct shm_name *target)
{
    struct shm_object *moved = source->object;

    count_subdir(source->dir, moved, -1);
    count_subdir(target->dir, target->object, -1);
    source->object = target->object;
    target->object = moved;
    count_subdir(source->dir, source->object, 1);
    count_subdir(target->dir, target->object, 1);
    renaming->exchanged = shm_object_ref(source->object);
}

/* Return: 0; -ENOTDIR, -EISDIR, -ENOTEMPTY: the target can't give way. */
static int replace_locked(struct shm_names *names, struct renaming *renaming,
                          struct shm_name *source, struct shm_name *target)
{
    int r;

    if (as_dir(source->object) && !as_dir(target->object))
        return -ENOTDIR;
    if (!as_dir(source->object) && as_dir(target->object))
        return -EISDIR;
    r = remove_dir_locked(target->object);
    if (r < 0)
        return r;
    count_subdir(target->dir, target->object, -1);
    count_subdir(source->dir, source->object, -1);
    renaming->replaced = target->object;
    target->object = shm_names_take_out(names, source);
    count_subdir(target->dir, target->object, 1);
    return 0;
}

static int shm_dir_move_locked(struct shm_names *names, struct renaming *renaming,
                               struct shm_name *source, const char *to)
{
    int r = enter_locked(names, renaming->to_dir, to, source->object);

    if (r < 0)
        return r;
    if (as_dir(source->object))
        renaming->from_dir->n_subdirs--;
    shm_object_unref(shm_names_take_out(names, source));
    return 0;
}

/* Return: 0; a negative errno, and nothing has changed. */
static int shm_dir_rename_locked(struct shm_names *names, struct renaming *renaming,
                                 const char *from, const char *to, enum names_rename how)
{
    struct shm_name *source = shm_names_find(names, renaming->from_dir, from);
    struct shm_name *target = shm_names_find(names, renaming->to_dir, to);
    int r = 0;

    if (!source || (how == NAMES_RENAME_EXCHANGE && !target))
        return -ENOENT;
    if (how == NAMES_RENAME_NEW && target)
        return -EEXIST;
    /* rename(2): two names of one file stay. */
    if (target && source->object == target->object)
        return 0;
    renaming->moved = shm_object_ref(source->object);
    if (how == NAMES_RENAME_EXCHANGE)
        exchange_locked(renaming, source, target);
    else if (target)
        r = replace_locked(names, renaming, source, target);
    else
        r = shm_dir_move_locked(names, renaming, source, to);
    return r;
}

/* Tells all that took part in it when it was. */
static void note_renaming(struct renaming *renaming)
{
    if (!renaming->moved)
        return;
    shm_object_count_names(renaming->moved, 0);
    if (renaming->exchanged)
        shm_object_count_names(renaming->exchanged, 0);
    shm_object_touch(&renaming->from_dir->object);
    if (renaming->to_dir != renaming->from_dir)
        shm_object_touch(&renaming->to_dir->object);
}

static int dir_rename(struct node *node, const char *name, struct node *to_node,
                      const char *to_name, enum names_rename how, const struct caller *caller,
                      struct mbox_ready *ready)
{
    struct renaming renaming = { .from_dir = node->object, .to_dir = dir_of(to_node) };
    struct shm_names *names = names_of(node);
    int r;

    (void)caller;
    (void)ready;
    if (!renaming.to_dir)
        return -EXDEV;
    pthread_mutex_lock(&names->lock);
    r = shm_dir_rename_locked(names, &renaming, name, to_name, how);
    pthread_mutex_unlock(&names->lock);
    if (r == 0)
        note_renaming(&renaming);
    shm_dir_let_go(renaming.replaced);
    if (renaming.exchanged)
        shm_object_unref(renaming.exchanged);
    if (renaming.moved)
        shm_object_unref(renaming.moved);
    return r;
}

static const struct node_ops dir_node_ops = {
    .getattr = shm_dir_dir_getattr,
    .setattr = shm_object_setattr,
    .attr_seconds = shm_object_attr_seconds,
    .release = shm_object_release,
    .keeps_names = true,
    .lookup = shm_dir_dir_lookup,
    .list_from = dir_list_from,
    .mkdir = dir_mkdir,
    .rmdir = dir_rmdir,
    .rename = dir_rename,
    .link = dir_link,
    .unlink = dir_unlink,
    .symlink = dir_symlink,
    .mknod = dir_mknod,
    .create = shm_dir_reply_open,
    .tmpfile = dir_tmpfile,
    .xattr_set = shm_xattr_set,
    .xattr_get = shm_xattr_get,
    .xattr_list = shm_xattr_list,
    .xattr_remove = shm_xattr_remove,
};
