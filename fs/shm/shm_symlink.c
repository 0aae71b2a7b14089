/* The target is behind the struct, and never changes. */
#include "shm_symlink.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdlib.h>
#include <string.h>

/* Beside its target. */
#define SYMLINK_BYTES 1024

struct shm_symlink {
    struct shm_object object;
    char target[];
};

static void symlink_free(struct shm_object *object)
{
    shm_object_deinit(object);
    free(object);
}

static const struct shm_kind symlink_kind = {
    .node_ops = &shm_symlink_node_ops,
    .type = S_IFLNK,
    .min_bytes = SYMLINK_BYTES,
    .free = symlink_free,
};

int shm_symlink_new(struct kernel *kernel, const char *target, const struct caller *owner,
                    struct shm_object **ret_object)
{
    size_t length = strlen(target);
    struct shm_symlink *link;
    int r;

    if (length >= NODE_TARGET_MAX)
        return -ENAMETOOLONG;
    link = calloc(1, sizeof(*link) + length + 1);
    if (!link)
        return -ENOMEM;
    memcpy(link->target, target, length);
    r = shm_object_init(&link->object, kernel, &symlink_kind, 0777, owner, length);
    if (r < 0) {
        free(link);
        return r;
    }
    *ret_object = &link->object;
    return 0;
}

static int symlink_read(struct node *node, const struct caller *caller,
                        char target[NODE_TARGET_MAX])
{
    const struct shm_symlink *link = node->object;

    (void)caller;
    memcpy(target, link->target, strlen(link->target) + 1);
    return 0;
}

/* It always says 0777. */
static int symlink_setattr(struct node *node, const struct node_change *change)
{
    if (change->to_set & FUSE_SET_ATTR_MODE)
        return -EOPNOTSUPP;
    return shm_object_setattr(node, change);
}

const struct node_ops shm_symlink_node_ops = {
    .getattr = shm_object_getattr,
    .setattr = symlink_setattr,
    .attr_seconds = shm_object_attr_seconds,
    .readlink = symlink_read,
    .release = shm_object_release,
};
