/* A value is behind its name, in one piece. There are few: their names have to fit in one list. */
#include "shm_xattr.h"

#include <stdlib.h>
#include <string.h>

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

struct shm_xattr *shm_xattr_new(const char *name, const char *value, size_t size)
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
uint64_t shm_xattr_cost(const struct shm_xattr *xattr)
{
    return xattr ? sizeof(*xattr) + strlen(xattr->name) + 1 + xattr->size : 0;
}

/* Return: how much longer the list of names is with it; 0 for NULL. */
size_t shm_xattr_listed_bytes(const struct shm_xattr *xattr)
{
    return xattr ? strlen(xattr->name) + 1 : 0;
}

/* Under lock, as the next. There are few: their names have to fit in one list. */
struct shm_xattr *shm_xattrs_find(struct shm_xattrs *xattrs, const char *name)
{
    struct shm_xattr *xattr;

    TAILQ_FOREACH(xattr, &xattrs->list, link) {
        if (strcmp(xattr->name, name) == 0)
            return xattr;
    }
    return NULL;
}
