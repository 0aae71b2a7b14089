#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backing.h"
#include "core/fd.h"
#include "fs.h"

struct region_file {
    struct file file;
    struct region *region; /* a reference */
};

static struct region *region_of(struct file *file)
{
    return ((struct region_file *)file)->region;
}

static struct quota *quota_of(struct region *region)
{
    return &region->fs->domain.quota;
}

int region_new(struct fs *fs, mode_t mode, const struct caller *owner, struct region **ret_region)
{
    struct region *region = calloc(1, sizeof(*region));
    int fd;

    if (!region)
        return -ENOMEM;
    fd = fd_keep(memfd_create("ipcfs-region", MFD_CLOEXEC));
    if (fd < 0) {
        free(region);
        return fd;
    }
    region->fd = fd;
    region->n_refs = 1;
    region->fs = fs;
    pthread_mutex_init(&region->lock, NULL);
    attr_init(&region->attr, nodes_new_inos(&fs->nodes, 1), S_IFREG | (mode & 07777), owner->uid,
              owner->gid);
    *ret_region = region;
    return 0;
}

struct region *region_ref(struct region *region)
{
    /* Relaxed: as msg_ref. */
    atomic_fetch_add_explicit(&region->n_refs, 1, memory_order_relaxed);
    return region;
}

void region_unref(struct region *region)
{
    if (atomic_fetch_sub_explicit(&region->n_refs, 1, memory_order_acq_rel) > 1)
        return;
    quota_release(quota_of(region), region->attr.uid, region->n_bytes);
    backing_close(region->fs, region->backing_id);
    close(region->fd);
    pthread_mutex_destroy(&region->lock);
    free(region);
}

/* --- Size --- */

/* Under lock: charges what the region is going to grow. Return: 0; as quota_charge. */
static int charge_growth(struct region *region, uint64_t n_bytes)
{
    if (n_bytes <= region->n_bytes)
        return 0;
    return quota_charge(quota_of(region), region->attr.uid, n_bytes - region->n_bytes);
}

/* Under lock: @n_charged bytes are charged; as many as the file has now stay so. */
static void settle_size(struct region *region, uint64_t n_charged)
{
    struct stat st;

    if (fstat(region->fd, &st) == 0)
        region->n_bytes = (uint64_t)st.st_size;
    if (n_charged > region->n_bytes)
        quota_release(quota_of(region), region->attr.uid, n_charged - region->n_bytes);
}

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Under lock. */
static int set_size(struct region *region, off_t size)
{
    uint64_t n_bytes = (uint64_t)size;
    uint64_t n_charged = max(n_bytes, region->n_bytes);
    int r = charge_growth(region, n_bytes);

    if (r < 0)
        return r;
    r = ftruncate(region->fd, size) < 0 ? -errno : 0;
    settle_size(region, n_charged);
    return r;
}

/* --- The file --- */

static void region_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(size);

    (void)flags;
    bytes.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
    bytes.buf[0].fd = region_of(file)->fd;
    bytes.buf[0].pos = offset;
    fuse_reply_data(req, &bytes, 0);
}

/* Under lock: others than root write what nobody should run as its owner any more. The kernel does that only
 * for what it caches. */
static void drop_privileges(struct region *region, uid_t uid)
{
    if (uid == 0)
        return;
    region->attr.mode &= ~(mode_t)S_ISUID;
    if (region->attr.mode & S_IXGRP)
        region->attr.mode &= ~(mode_t)S_ISGID;
}

/* Under lock. Return: how much was written; a negative errno. */
static ssize_t write_locked(struct region *region, const char *data, size_t size, off_t offset)
{
    uint64_t end = (uint64_t)offset + size;
    uint64_t n_charged = max(end, region->n_bytes);
    int r = charge_growth(region, end);
    ssize_t n;

    if (r < 0)
        return r;
    n = pwrite(region->fd, data, size, offset);
    if (n < 0)
        n = -errno;
    settle_size(region, n_charged);
    attr_touch(&region->attr);
    return n;
}

static void region_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                         off_t offset, int flags)
{
    struct region *region = region_of(file);
    ssize_t n;

    (void)flags;
    pthread_mutex_lock(&region->lock);
    n = write_locked(region, data, size, offset);
    if (n > 0)
        drop_privileges(region, fuse_req_ctx(req)->uid);
    pthread_mutex_unlock(&region->lock);
    if (n < 0)
        fuse_reply_err(req, (int)-n);
    else
        fuse_reply_write(req, (size_t)n);
}

static void region_close(struct file *file)
{
    region_unref(region_of(file));
}

/* With passthrough: read and write come here, mappings don't (DESIGN: kernel fact 10). */
static const struct file_ops passed_ops = {
    .open_flags = FOPEN_DIRECT_IO | FOPEN_PASSTHROUGH | FOPEN_PARALLEL_DIRECT_WRITES |
                  FOPEN_NOFLUSH,
    .read = region_read,
    .write = region_write,
    .close = region_close,
    .size = sizeof(struct region_file),
};

/* Nobody but the kernel changes the bytes: its pages stay right. */
static const struct file_ops cached_ops = {
    .open_flags = FOPEN_KEEP_CACHE,
    .read = region_read,
    .write = region_write,
    .close = region_close,
    .size = sizeof(struct region_file),
};

int region_open(struct region *region, struct file **ret_file)
{
    bool passes = backing_works(region->fs);
    int id = passes ? backing_obtain(region->fs, &region->lock, &region->backing_id, region->fd)
                    : 0;
    struct file *file;
    int r;

    if (id < 0)
        return id;
    r = file_new(region->fs, passes ? &passed_ops : &cached_ops, NULL, &file);
    if (r < 0)
        return r;
    file->backing_id = id;
    ((struct region_file *)file)->region = region_ref(region);
    *ret_file = file;
    return 0;
}

/* --- The node --- */

static void getattr(struct node *node, struct stat *ret_attr)
{
    struct region *region = node->object;
    struct stat st;

    pthread_mutex_lock(&region->lock);
    attr_get(&region->attr, ret_attr);
    ret_attr->st_size = (off_t)region->n_bytes;
    ret_attr->st_nlink = region->n_names;
    pthread_mutex_unlock(&region->lock);
    if (fstat(region->fd, &st) == 0)
        ret_attr->st_blocks = st.st_blocks;
}

static int setattr(struct node *node, const struct node_change *change)
{
    struct region *region = node->object;
    int r = 0;

    pthread_mutex_lock(&region->lock);
    if (change->to_set & FUSE_SET_ATTR_SIZE)
        r = set_size(region, change->attr.st_size);
    if (r == 0 && (change->to_set & FUSE_SET_ATTR_UID))
        r = quota_move(quota_of(region), region->attr.uid, change->attr.st_uid, region->n_bytes);
    if (r == 0)
        attr_change(&region->attr, change);
    if (r == 0 && (change->to_set & FUSE_SET_ATTR_SIZE))
        attr_touch(&region->attr);
    pthread_mutex_unlock(&region->lock);
    return r;
}

/* Under lock. */
static int grow_allocated(struct region *region, off_t offset, off_t length)
{
    uint64_t end = (uint64_t)offset + (uint64_t)length;
    uint64_t n_charged = max(end, region->n_bytes);
    int r = charge_growth(region, end);

    if (r < 0)
        return r;
    r = fallocate(region->fd, 0, offset, length) < 0 ? -errno : 0;
    settle_size(region, n_charged);
    return r;
}

/* Under lock. What keeps the size must not allocate beyond it, where it would not be charged. */
static int allocate_inside(struct region *region, int mode, off_t offset, off_t length)
{
    uint64_t end = (uint64_t)offset + (uint64_t)length;

    if (!(mode & FALLOC_FL_PUNCH_HOLE) && end > region->n_bytes)
        return -EOPNOTSUPP;
    return fallocate(region->fd, mode, offset, length) < 0 ? -errno : 0;
}

static int allocate(struct node *node, int mode, off_t offset, off_t length)
{
    struct region *region = node->object;
    int r;

    if (mode != 0 && mode != FALLOC_FL_KEEP_SIZE &&
        mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
        return -EOPNOTSUPP;
    pthread_mutex_lock(&region->lock);
    r = mode == 0 ? grow_allocated(region, offset, length)
                  : allocate_inside(region, mode, offset, length);
    if (r == 0)
        attr_touch(&region->attr);
    pthread_mutex_unlock(&region->lock);
    return r;
}

static int open_it(struct node *node, int flags, const struct caller *caller,
                   struct file **ret_file)
{
    (void)flags;
    (void)caller;
    return region_open(node->object, ret_file);
}

static void release(struct node *node)
{
    region_unref(node->object);
}

static const struct node_ops node_ops = {
    .getattr = getattr,
    .setattr = setattr,
    .sets_size = true,
    .fallocate = allocate,
    .open = open_it,
    .release = release,
};

struct region *region_of_node(struct node *node)
{
    return node->ops == &node_ops ? node->object : NULL;
}

void region_count_names(struct region *region, int n_more)
{
    const struct node_change nothing = { 0 };

    pthread_mutex_lock(&region->lock);
    region->n_names += (unsigned int)n_more;
    attr_change(&region->attr, &nothing);
    pthread_mutex_unlock(&region->lock);
}

int region_node(struct region *region, struct node **ret_node)
{
    int r;

    region_ref(region);
    r = node_obtain(region->fs, &node_ops, region, &region->node, ret_node);
    if (r < 0)
        region_unref(region);
    return r;
}
