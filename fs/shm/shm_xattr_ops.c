/* The calls, each under the object's lock: who has more or longer ones is charged before they are there. */
#include "shm_xattr_ops.h"

#include <errno.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "shm_object.h"

#define PREFIX "user."
#define PREFIX_LENGTH (sizeof(PREFIX) - 1)

/* Puts @new in the place of @old; either may be NULL. Return: 0; as quota_charge; -ENOSPC: the names would
 * fit in no list. Then nothing has changed. */
static int xattr_replace(struct shm_object *object, struct shm_xattr *old, struct shm_xattr *new)
{
    const struct node_change nothing = { 0 };
    struct shm_xattrs *xattrs = &object->xattrs;
    uint64_t n_bytes = xattrs->n_bytes;
    size_t n_list_bytes = xattrs->n_list_bytes - shm_xattr_listed_bytes(old) +
                          shm_xattr_listed_bytes(new);
    int r;

    if (n_list_bytes > XATTR_LIST_MAX)
        return -ENOSPC;
    xattrs->n_bytes += shm_xattr_cost(new) - shm_xattr_cost(old);
    r = shm_object_recharge(object, object->n_bytes);
    if (r < 0) {
        xattrs->n_bytes = n_bytes;
        return r;
    }
    xattrs->n_list_bytes = n_list_bytes;
    if (new)
        TAILQ_INSERT_TAIL(&xattrs->list, new, link);
    if (old)
        TAILQ_REMOVE(&xattrs->list, old, link);
    attr_change(&object->attr, &nothing);
    return 0;
}

/* Return: 0; -EOPNOTSUPP: there are no such attributes; -EINVAL: no name. */
static int check_name(const char *name)
{
    if (strncmp(name, PREFIX, PREFIX_LENGTH) != 0)
        return -EOPNOTSUPP;
    return name[PREFIX_LENGTH] ? 0 : -EINVAL;
}

int shm_xattr_set(struct node *node, const char *name, const char *value, size_t size, int flags)
{
    struct shm_object *object = node->object;
    struct shm_xattr *old;
    struct shm_xattr *new;
    int r = check_name(name);

    if (r < 0)
        return r;
    new = shm_xattr_new(name, value, size);
    if (!new)
        return -ENOMEM;
    pthread_mutex_lock(&object->lock);
    old = shm_xattrs_find(&object->xattrs, name);
    if (old && (flags & XATTR_CREATE))
        r = -EEXIST;
    else if (!old && (flags & XATTR_REPLACE))
        r = -ENODATA;
    else
        r = xattr_replace(object, old, new);
    pthread_mutex_unlock(&object->lock);
    free(r < 0 ? new : old);
    return r;
}

int shm_xattr_get(struct node *node, const char *name, char **ret_value, size_t *ret_size)
{
    struct shm_object *object = node->object;
    struct shm_xattr *xattr;
    char *value = NULL;
    int r = -ENODATA;

    pthread_mutex_lock(&object->lock);
    xattr = shm_xattrs_find(&object->xattrs, name);
    if (xattr) {
        /* Of nothing too it is not NULL. */
        value = malloc(xattr->size + 1);
        r = value ? 0 : -ENOMEM;
    }
    if (value) {
        memcpy(value, xattr->value, xattr->size);
        *ret_value = value;
        *ret_size = xattr->size;
    }
    pthread_mutex_unlock(&object->lock);
    return r;
}

int shm_xattr_list(struct node *node, char **ret_names, size_t *ret_size)
{
    struct shm_object *object = node->object;
    struct shm_xattr *xattr;
    char *names;
    char *end;

    pthread_mutex_lock(&object->lock);
    names = malloc(object->xattrs.n_list_bytes + 1);
    end = names;
    if (names) {
        TAILQ_FOREACH(xattr, &object->xattrs.list, link)
            end = stpcpy(end, xattr->name) + 1;
    }
    pthread_mutex_unlock(&object->lock);
    if (!names)
        return -ENOMEM;
    *ret_names = names;
    *ret_size = (size_t)(end - names);
    return 0;
}

int shm_xattr_remove(struct node *node, const char *name)
{
    struct shm_object *object = node->object;
    struct shm_xattr *xattr;
    int r = check_name(name);

    if (r < 0)
        return r;
    pthread_mutex_lock(&object->lock);
    xattr = shm_xattrs_find(&object->xattrs, name);
    r = xattr ? xattr_replace(object, xattr, NULL)
              : -ENODATA; /* which never fails: it counts for less */
    pthread_mutex_unlock(&object->lock);
    free(xattr);
    return r;
}
