/* How a region is opened depends on what the kernel may do with it: the page cache (no passthrough), the bytes'
 * own file (passthrough, to read), or the daemon for each read and write and the file for mappings (passthrough,
 * to write). */
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/kernel/backing.h"
#include "fs/kernel/caller.h"
#include "fs/kernel/kernel.h"
#include "shm_xattr_ops.h"
#include "fs/kernel/reply.h"

/* With its descriptor's file and its node, and with what the kernel needs for them. */
#define REGION_BYTES 2048

/* At once. */
#define COPY_BYTES_MAX (256 << 10)

struct region_file {
    struct file file;
    struct region *region; /* a reference */
};

static struct region *region_of(struct file *file)
{
    return ((struct region_file *)file)->region;
}

static void region_free(struct shm_object *object)
{
    struct region *region = (struct region *)object;

    region_bytes_drop(region);
    shm_object_deinit(object);
    free(region);
}

static const struct node_ops region_node_ops;

static const struct shm_kind region_kind = {
    .node_ops = &region_node_ops,
    .type = S_IFREG,
    .min_bytes = REGION_BYTES,
    .free = region_free,
};

int region_new(struct kernel *kernel, mode_t mode, const struct caller *owner,
               struct region **ret_region)
{
    struct region *region = calloc(1, sizeof(*region));
    int r;

    if (!region)
        return -ENOMEM;
    region->fd = -1;
    r = shm_object_init(&region->object, kernel, &region_kind, mode, owner, 0);
    if (r < 0) {
        free(region);
        return r;
    }
    *ret_region = region;
    return 0;
}

struct region *region_of_node(struct node *node)
{
    return node->ops == &region_node_ops ? node->object : NULL;
}

/* --- The file --- */

static void region_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(size);
    int fd = region_of(file)->fd;

    (void)flags;
    if (fd < 0) {
        fuse_reply_buf(req, NULL, 0);
        return;
    }
    bytes.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
    bytes.buf[0].fd = fd;
    bytes.buf[0].pos = offset;
    fuse_reply_data(req, &bytes, 0);
}

/* Under lock. Return: whether it had any of @bits. */
static bool clear_mode(struct region *region, mode_t bits)
{
    struct attr *attr = &region->object.attr;
    bool had = attr->mode & bits;

    attr->mode &= ~bits;
    return had;
}

/* Others than root change what nobody should run as its owner any more. The kernel does not always see to
 * that. */
static void drop_privileges(struct region *region, fuse_req_t req)
{
    struct shm_object *object = &region->object;
    bool has_changed;
    mode_t mode;
    gid_t gid;

    if (fuse_req_ctx(req)->uid == 0)
        return;
    pthread_mutex_lock(&object->lock);
    has_changed = clear_mode(region, S_ISUID);
    mode = object->attr.mode;
    gid = object->attr.gid;
    pthread_mutex_unlock(&object->lock);
    if ((mode & S_ISGID) && ((mode & S_IXGRP) || !caller_is_in_group(req, gid))) {
        pthread_mutex_lock(&object->lock);
        has_changed |= clear_mode(region, S_ISGID);
        pthread_mutex_unlock(&object->lock);
    }
    if (has_changed)
        shm_object_invalidate(object);
}

static void region_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                         off_t offset, int flags)
{
    struct region *region = region_of(file);
    ssize_t n = region_bytes_write(region, data, size, offset);

    (void)flags;
    if (n > 0)
        drop_privileges(region, req);
    if (n < 0)
        reply_result(req, (int)n, "write", NULL);
    else
        fuse_reply_write(req, (size_t)n);
}

/* An empty region whose bytes nobody can have mapped does without them. */
static void region_close(struct file *file)
{
    struct region *region = region_of(file);
    struct shm_object *object = &region->object;

    pthread_mutex_lock(&object->lock);
    if (--region->n_open == 0 && object->n_bytes == 0 && !region->was_mappable)
        region_bytes_drop(region);
    pthread_mutex_unlock(&object->lock);
    shm_object_unref(object);
}

#define REGION_FILE_OPS                                                                            \
    .read = region_read, .close = region_close, .size = sizeof(struct region_file)

/* With passthrough: read and write come here, mappings don't (DESIGN: kernel fact 10). */
static const struct file_ops writing_ops = {
    .open_flags = FOPEN_DIRECT_IO | FOPEN_PASSTHROUGH | FOPEN_PARALLEL_DIRECT_WRITES,
    .keeps_from_cache = true,
    .write = region_write,
    REGION_FILE_OPS,
};

/* With passthrough: nothing comes here. */
static const struct file_ops reading_ops = {
    .open_flags = FOPEN_PASSTHROUGH,
    REGION_FILE_OPS,
};

/* Nobody but the kernel changes the bytes: its pages stay right. */
static const struct file_ops cached_ops = {
    .open_flags = FOPEN_KEEP_CACHE,
    .write = region_write,
    REGION_FILE_OPS,
};

static const struct file_ops *ops_for(struct kernel *kernel, int flags)
{
    if (!backing_works(&kernel->backing))
        return &cached_ops;
    return file_is_for(flags, O_RDONLY) ? &reading_ops : &writing_ops;
}

/* Under lock: the kernel will map the bytes themselves. Return: an id for the open's answer; a negative errno. */
static int pass_through(struct region *region, int flags)
{
    int r = region_bytes_make(region);

    if (r == 0 && region->backing_id == 0) {
        r = backing_open(&region->object.kernel->backing, region->fd);
        if (r < 0)
            return r;
        region->backing_id = r;
    }
    if (r < 0)
        return r;
    if (!file_is_for(flags, O_WRONLY))
        region->was_mappable = true;
    if (file_is_for(flags, O_RDWR))
        region->may_be_written = true;
    return region->backing_id;
}

/* The file is there already, so that it closes what this opens. */
static int attach(struct file *file, struct region *region, int flags)
{
    bool began_to_be_written;
    int id = 0;

    ((struct region_file *)file)->region = region;
    shm_object_ref(&region->object);
    pthread_mutex_lock(&region->object.lock);
    region->n_open++;
    began_to_be_written = !region->may_be_written;
    if (file->ops != &cached_ops)
        id = pass_through(region, flags);
    began_to_be_written &= region->may_be_written;
    pthread_mutex_unlock(&region->object.lock);
    /* What the kernel was told it may keep. */
    if (began_to_be_written)
        shm_object_invalidate(&region->object);
    if (id < 0)
        return id;
    file->backing_id = id;
    return 0;
}

int region_open(struct region *region, int flags, struct file **ret_file)
{
    struct kernel *kernel = region->object.kernel;
    struct file *file;
    int r = file_new(&kernel->files, ops_for(kernel, flags), NULL, &file);

    if (r < 0)
        return r;
    r = attach(file, region, flags);
    if (r < 0)
        file_discard(file);
    else
        *ret_file = file;
    return r;
}

/* --- The node --- */

static void region_getattr(struct node *node, struct stat *ret_attr)
{
    struct region *region = node->object;
    struct shm_object *object = &region->object;
    blkcnt_t n_blocks;

    pthread_mutex_lock(&object->lock);
    n_blocks = region_bytes_look(region);
    attr_get(&object->attr, ret_attr);
    ret_attr->st_size = (off_t)object->n_bytes;
    ret_attr->st_nlink = object->n_names;
    ret_attr->st_blocks = n_blocks;
    pthread_mutex_unlock(&object->lock);
}

/* Times that a mapping may be about to move are not kept. */
static double region_attr_seconds(struct node *node)
{
    struct region *region = node->object;
    bool may_move;

    pthread_mutex_lock(&region->object.lock);
    if (region->may_be_written && region->n_open == 0)
        region->may_be_written = region_bytes_are_written(region);
    may_move = region->may_be_written;
    pthread_mutex_unlock(&region->object.lock);
    return may_move ? 0.0 : NODE_FOREVER_SECONDS;
}

/* Under lock. */
static int change_locked(struct region *region, const struct node_change *change)
{
    int r = 0;

    if (change->to_set & FUSE_SET_ATTR_SIZE)
        r = region_bytes_resize(region, change->attr.st_size);
    if (r < 0)
        return r;
    region_bytes_look(region);
    r = shm_object_change(&region->object, change);
    if (r == 0 && (change->to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME)))
        region_bytes_set_times(region, true, true);
    return r;
}

static int region_setattr(struct node *node, const struct node_change *change)
{
    struct region *region = node->object;
    int r;

    pthread_mutex_lock(&region->object.lock);
    r = change_locked(region, change);
    pthread_mutex_unlock(&region->object.lock);
    return r;
}

static int region_allocate(struct node *node, int mode, off_t offset, off_t length)
{
    struct region *region = node->object;
    int r;

    pthread_mutex_lock(&region->object.lock);
    r = region_bytes_allocate(region, mode, offset, length);
    pthread_mutex_unlock(&region->object.lock);
    return r;
}

/* What the kernel caches may have been written by a mapping and is not here yet: all is data then. */
static off_t region_seek(struct node *node, off_t offset, int whence)
{
    struct region *region = node->object;

    return backing_works(&node->kernel->backing) ? region_bytes_seek(region, offset, whence)
                                                 : -EOPNOTSUPP;
}

/* Return: how much was copied; 0: there is no more; a negative errno. */
static ssize_t region_copy(struct node *node, off_t offset, struct node *to_node, off_t to_offset,
                           size_t size)
{
    struct region *to = region_of_node(to_node);
    struct region *from = node->object;
    char *bytes;
    ssize_t n;

    if (!to)
        return -EOPNOTSUPP;
    if (from->fd < 0)
        return 0;
    if (size > COPY_BYTES_MAX)
        size = COPY_BYTES_MAX;
    bytes = malloc(size);
    if (!bytes)
        return -ENOMEM;
    n = pread(from->fd, bytes, size, offset);
    if (n < 0)
        n = -errno;
    else if (n > 0)
        n = region_bytes_write(to, bytes, (size_t)n, to_offset);
    free(bytes);
    return n;
}

static int region_open_node(struct node *node, int flags, const struct caller *caller,
                            struct file **ret_file)
{
    (void)caller;
    return region_open(node->object, flags, ret_file);
}

static void region_drop_privileges(struct node *node, fuse_req_t req)
{
    drop_privileges(node->object, req);
}

static const struct node_ops region_node_ops = {
    .getattr = region_getattr,
    .setattr = region_setattr,
    .drop_privileges = region_drop_privileges,
    .sets_size = true,
    .attr_seconds = region_attr_seconds,
    .fallocate = region_allocate,
    .seek = region_seek,
    .copy = region_copy,
    .open = region_open_node,
    .release = shm_object_release,
    .xattr_set = shm_xattr_set,
    .xattr_get = shm_xattr_get,
    .xattr_list = shm_xattr_list,
    .xattr_remove = shm_xattr_remove,
};
