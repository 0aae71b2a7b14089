#include "shm_xattr.h"

#include <errno.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "shm_object.h"

#define PREFIX "user."
#define PREFIX_LENGTH (sizeof(PREFIX) - 1)

struct shm_xattr {
    TAILQ_ENTRY(shm_xattr) link;
    size_t size; /* of the value */
    char *value; /* behind the name */
    char name[];
};

void shm_xattrs_init(struct shm_xattrs *xattrs)
{
    *xattrs = (struct shm_xattrs){ 0 };
    TAILQ_INIT(&xattrs->list);
}

void shm_xattrs_deinit(struct shm_xattrs *xattrs)
{
    struct shm_xattr *xattr;

    while ((xattr = TAILQ_FIRST(&xattrs->list))) {
        TAILQ_REMOVE(&xattrs->list, xattr, link);
        free(xattr);
    }
}

static struct shm_xattr *xattr_new(const char *name, const char *value, size_t size)
{
    size_t name_size = strlen(name) + 1;
    struct shm_xattr *xattr = malloc(sizeof(*xattr) + name_size + size);

    if (!xattr)
        return NULL;
    xattr->size = size;
    xattr->value = xattr->name + name_size;
    memcpy(xattr->name, name, name_size);
    memcpy(xattr->value, value, size);
    return xattr;
}

/* Return: what it counts for; 0 for NULL. */
static uint64_t cost(const struct shm_xattr *xattr)
{
    return xattr ? sizeof(*xattr) + strlen(xattr->name) + 1 + xattr->size : 0;
}

/* Return: how much longer the list of names is with it; 0 for NULL. */
static size_t listed_bytes(const struct shm_xattr *xattr)
{
    return xattr ? strlen(xattr->name) + 1 : 0;
}

/* Under lock, as the next. There are few: their names have to fit in one list. */
static struct shm_xattr *find(struct shm_xattrs *xattrs, const char *name)
{
    struct shm_xattr *xattr;

    TAILQ_FOREACH(xattr, &xattrs->list, link) {
        if (strcmp(xattr->name, name) == 0)
            return xattr;
    }
    return NULL;
}

/* Puts @new in the place of @old; either may be NULL. Return: 0; as quota_charge; -ENOSPC: the names would
 * fit in no list. Then nothing has changed. */
static int replace(struct shm_object *object, struct shm_xattr *old, struct shm_xattr *new)
{
    const struct node_change nothing = { 0 };
    struct shm_xattrs *xattrs = &object->xattrs;
    uint64_t n_bytes = xattrs->n_bytes;
    size_t n_list_bytes = xattrs->n_list_bytes - listed_bytes(old) + listed_bytes(new);
    int r;

    if (n_list_bytes > XATTR_LIST_MAX)
        return -ENOSPC;
    xattrs->n_bytes += cost(new) - cost(old);
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
    new = xattr_new(name, value, size);
    if (!new)
        return -ENOMEM;
    pthread_mutex_lock(&object->lock);
    old = find(&object->xattrs, name);
    if (old && (flags & XATTR_CREATE))
        r = -EEXIST;
    else if (!old && (flags & XATTR_REPLACE))
        r = -ENODATA;
    else
        r = replace(object, old, new);
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
    xattr = find(&object->xattrs, name);
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
    xattr = find(&object->xattrs, name);
    r = xattr ? replace(object, xattr, NULL) : -ENODATA; /* which never fails: it counts for less */
    pthread_mutex_unlock(&object->lock);
    free(xattr);
    return r;
}
