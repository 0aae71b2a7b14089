/* The handlers of extended attributes: what a node gives is freed once it is answered. */
#include "ops_xattr.h"

#include <errno.h>
#include <stdlib.h>

#include "reply.h"
#include "request.h"

/* Answers with @n bytes of @value, or with how many there are. */
static void reply_xattr(fuse_req_t req, const char *value, size_t n, size_t size)
{
    if (size == 0)
        fuse_reply_xattr(req, n);
    else if (n > size)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, value, n);
}

/* Answers with what a node gave: @r, and if that is 0, @n bytes, which are freed. */
static void reply_and_free_xattr(fuse_req_t req, int r, char *value, size_t n, size_t size)
{
    if (r < 0) {
        reply_result(req, r, "getxattr", NULL);
        return;
    }
    reply_xattr(req, value, n, size);
    free(value);
}

void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                  int flags)
{
    struct node *node = node_of(req, ino);
    int r = -EOPNOTSUPP;

    if (node->ops->xattr_set)
        r = node->ops->xattr_set(node, name, value, size, flags);
    reply_result(req, r, "setxattr", NULL);
}

void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct node *node = node_of(req, ino);
    int r = -EOPNOTSUPP;

    if (node->ops->xattr_remove)
        r = node->ops->xattr_remove(node, name);
    reply_result(req, r, "removexattr", NULL);
}

void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct node *node = node_of(req, ino);
    char *value = NULL;
    size_t n = 0;
    int r = -ENODATA;

    if (node->ops->xattr_get)
        r = node->ops->xattr_get(node, name, &value, &n);
    reply_and_free_xattr(req, r, value, n, size);
}

void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct node *node = node_of(req, ino);
    char *names = NULL;
    size_t n = 0;
    int r = 0;

    if (node->ops->xattr_list)
        r = node->ops->xattr_list(node, &names, &n);
    reply_and_free_xattr(req, r, names, n, size);
}
