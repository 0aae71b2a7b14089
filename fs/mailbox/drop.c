/* Once a file is sent its name goes on answering to its sender (drop_names.h), and changes nothing. The kernel can't tell a
 * lookup that asks from one that is going to open: so the sender's next open of that name, which means another file,
 * comes as an OPEN of the node that the lookup was answered with (struct drop_again). It makes a new file, as a
 * CREATE does, and that node is the new file's from then on. */
#include "drop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "drop_create.h"
#include "fs/kernel/kernel.h"

void drop_create(struct node *dir, fuse_req_t req, const char *name, mode_t mode,
                 struct fuse_file_info *fi)
{
    box_auto *box = box_pass(dir->object);
    struct drop_creation creation = {
        .mbox = box ? &box->mbox : NULL,
        .name = name,
        .mode = mode,
        .shares_dir = dir->slot,
    };
    int r = -ENOENT;

    if (file_is_for(fi->flags, O_RDONLY))
        r = -EACCES;
    else if (box)
        r = box_use(box, fuse_req_ctx(req)->uid);
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        drop_create_file(&creation, req, fi->flags);
}

/* Return: the file that was opened by the name of @node, with a reference; NULL: none. */
static struct drop_file *opened(struct node *node)
{
    struct drop_again *again = node->object;
    struct drop_file *drop;

    pthread_mutex_lock(&again->lock);
    drop = again->drop;
    if (drop)
        file_ref(&drop->file);
    pthread_mutex_unlock(&again->lock);
    return drop;
}

static void again_getattr(struct node *node, struct stat *ret_attr)
{
    struct drop_file *drop = opened(node);

    if (!drop) {
        *ret_attr = ((struct drop_again *)node->object)->attr;
        return;
    }
    drop_get_attr(drop, ret_attr);
    file_unref(&drop->file);
}

/* What was sent does not change. Its sender is told that it did, except of its bytes. */
static int again_setattr(struct node *node, const struct node_change *change)
{
    struct drop_file *drop = opened(node);
    int r;

    if (!drop)
        return change->to_set & FUSE_SET_ATTR_SIZE ? -EPERM : 0;
    r = drop_set_attr(drop, change);
    file_unref(&drop->file);
    return r;
}

static int again_fallocate(struct node *node, int mode, off_t offset, off_t length)
{
    struct drop_file *drop = opened(node);
    int r;

    if (!drop)
        return -EOPNOTSUPP;
    r = drop_allocate(drop, mode, offset, length);
    file_unref(&drop->file);
    return r;
}

static void again_open(struct node *node, fuse_req_t req, struct fuse_file_info *fi)
{
    struct drop_again *again = node->object;
    box_auto *box = box_pass(again->door);
    struct drop_creation creation = { .mbox = box ? &box->mbox : NULL,
                                      .name = again->name,
                                      .mode = again->attr.st_mode,
                                      .again = again };
    bool was_opened;

    if (!box) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    if (file_is_for(fi->flags, O_RDONLY)) {
        fuse_reply_err(req, EACCES);
        return;
    }
    pthread_mutex_lock(&again->lock);
    was_opened = again->is_opened;
    again->is_opened = true;
    again->node_id = node->id;
    pthread_mutex_unlock(&again->lock);
    if (was_opened)
        fuse_reply_err(req, EPERM);
    else
        drop_create_file(&creation, req, fi->flags);
}

static void again_release(struct node *node)
{
    drop_again_unref(node->object);
}

static const struct node_ops again_ops = {
    .getattr = again_getattr,
    .setattr = again_setattr,
    .sets_size = true,
    .fallocate = again_fallocate,
    .xattr_set = drop_ignore_xattr,
    .release = again_release,
    .open_waiting = again_open,
};

/* Return: what answers as @name with @attr, with one reference; NULL when memory is short. */
static struct drop_again *again_new(struct box *box, const char *name, const struct stat *attr)
{
    struct drop_again *again = malloc(sizeof(*again) + strlen(name) + 1);
    struct door *door;

    if (!again || box_add_node(box, &door) < 0) {
        free(again);
        return NULL;
    }
    *again = (struct drop_again){ .n_refs = 1, .door = door, .attr = *attr };
    pthread_mutex_init(&again->lock, NULL);
    memcpy(again->name, name, strlen(name) + 1);
    return again;
}

int drop_lookup(struct node *dir, const char *name, const struct caller *caller,
                struct node **ret_node)
{
    box_auto *box = box_pass(dir->object);
    struct drop_again *again;
    struct stat attr;
    int r = box ? box_check(box) : -ESTALE;

    if (r == 0)
        r = drop_names_find(&box->boxes->drop_names, drop_dir_ino(&box->mbox), name, caller, &attr);
    if (r < 0)
        return r;
    /* A number of its own: two files that are opened by this name are not to be taken for one. */
    attr.st_ino = nodes_new_inos(&dir->kernel->nodes, 1);
    again = again_new(box, name, &attr);
    if (!again)
        return -ENOMEM;
    r = node_obtain(&dir->kernel->nodes, &again_ops, again, NULL, ret_node);
    if (r < 0)
        drop_again_unref(again);
    return r;
}

int drop_rename(struct node *dir, const char *name, struct node *to_dir, const char *to_name,
                enum names_rename how, const struct caller *caller, struct mbox_ready *ready)
{
    box_auto *box = box_pass(dir->object);

    (void)ready;
    if (to_dir->object != dir->object || to_dir->ops != dir->ops)
        return -EXDEV;
    /* The kernel has seen that nothing has the other name, where that matters. */
    if (how == NAMES_RENAME_EXCHANGE)
        return -EINVAL;
    if (!box)
        return -ENOENT;
    return drop_names_rename(&box->boxes->drop_names, drop_dir_ino(&box->mbox), name, to_name,
                             caller);
}

/* The message stays sent. */
int drop_unlink(struct node *dir, const char *name, const struct caller *caller,
                struct mbox_ready *ready)
{
    box_auto *box = box_pass(dir->object);

    (void)ready;
    if (!box)
        return -ENOENT;
    return drop_names_forget(&box->boxes->drop_names, drop_dir_ino(&box->mbox), name, caller);
}
