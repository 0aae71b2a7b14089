#include "map.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backing.h"
#include "fs.h"

#define MAP_MODE 0600

struct map {
    atomic_uint n_refs;
    struct fs *fs;
    struct box *box;            /* a reference */
    struct map **slot;          /* under box->lock: may point here */
    struct ring_memory *memory; /* a reference */
    pthread_mutex_t lock;
    int backing_id;    /* under lock; 0: none yet */
    struct node *node; /* the node table's slot */
};

struct map_file {
    struct file file;
    struct map *map; /* a reference */
};

static struct map *map_ref(struct map *map)
{
    /* Relaxed: as msg_ref. */
    atomic_fetch_add_explicit(&map->n_refs, 1, memory_order_relaxed);
    return map;
}

static void map_unref(struct map *map)
{
    if (atomic_fetch_sub_explicit(&map->n_refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_mutex_lock(&map->box->lock);
    if (*map->slot == map)
        *map->slot = NULL;
    pthread_mutex_unlock(&map->box->lock);
    backing_close(map->fs, map->backing_id);
    ring_memory_unref(map->memory);
    mbox_unref(&map->box->mbox);
    pthread_mutex_destroy(&map->lock);
    free(map);
}

/* What is in a slot may be at its end. Return: whether it is not, and has one reference more. */
static bool try_ref(struct map *map)
{
    unsigned int n = atomic_load_explicit(&map->n_refs, memory_order_relaxed);

    while (n > 0 && !atomic_compare_exchange_weak(&map->n_refs, &n, n + 1))
        ;
    return n > 0;
}

static struct map *map_new(struct fs *fs, struct box *box, struct map **slot,
                           struct ring_memory *memory)
{
    struct map *map = calloc(1, sizeof(*map));

    if (!map)
        return NULL;
    map->n_refs = 1;
    map->fs = fs;
    map->box = box;
    mbox_ref(&box->mbox);
    map->slot = slot;
    map->memory = ring_memory_ref(memory);
    pthread_mutex_init(&map->lock, NULL);
    return map;
}

/* Return: the map of @memory, with a reference; NULL when memory is short. */
static struct map *obtain(struct fs *fs, struct box *box, struct map **slot,
                          struct ring_memory *memory)
{
    struct map *map;

    pthread_mutex_lock(&box->lock);
    map = *slot;
    if (!map || map->memory != memory || !try_ref(map)) {
        map = map_new(fs, box, slot, memory);
        *slot = map;
    }
    pthread_mutex_unlock(&box->lock);
    return map;
}

mode_t map_mode(struct fs *fs)
{
    return backing_works(fs) ? S_IFREG | MAP_MODE : S_IFLNK | 0777;
}

/* Return: its length. */
static int format_target(const struct map *map, char target[NODE_TARGET_MAX])
{
    const struct ring_memory *memory = map->memory;

    if (memory->dir_fd >= 0)
        return snprintf(target, NODE_TARGET_MAX, "%s/%s", map->fs->ring_dir.path, memory->name);
    return snprintf(target, NODE_TARGET_MAX, "/proc/%d/fd/%d", (int)getpid(), memory->fd);
}

static void getattr(struct node *node, struct stat *ret_attr)
{
    struct map *map = node->object;
    char target[NODE_TARGET_MAX];

    box_file_attr(map->box, BOX_MAP, ret_attr);
    if (S_ISLNK(ret_attr->st_mode)) {
        ret_attr->st_size = format_target(map, target);
        return;
    }
    ret_attr->st_size = (off_t)map->memory->n_bytes;
    ret_attr->st_blocks = (blkcnt_t)(map->memory->n_bytes / 512);
}

static int setattr(struct node *node, const struct node_change *change)
{
    struct map *map = node->object;

    if (change->to_set & FUSE_SET_ATTR_SIZE)
        return -EPERM;
    return box_change_file(map->box, BOX_MAP, change);
}

/* Its seals know what is not allowed. Without this, posix_fallocate(3) would write a byte to each page. */
static int allocate(struct node *node, int mode, off_t offset, off_t length)
{
    const struct map *map = node->object;

    return fallocate(map->memory->fd, mode, offset, length) < 0 ? -errno : 0;
}

static int readlink_it(struct node *node, const struct caller *caller, char target[NODE_TARGET_MAX])
{
    (void)caller;
    format_target(node->object, target);
    return 0;
}

static void close_file(struct file *file)
{
    map_unref(((struct map_file *)file)->map);
}

static const struct file_ops file_ops = {
    .open_flags = FOPEN_PASSTHROUGH | FOPEN_NOFLUSH,
    .close = close_file,
    .size = sizeof(struct map_file),
};

static int open_it(struct node *node, int flags, const struct caller *caller,
                   struct file **ret_file)
{
    struct map *map = node->object;
    int id = backing_obtain(map->fs, &map->lock, &map->backing_id, map->memory->fd);
    int r;

    (void)flags;
    (void)caller;
    if (id < 0)
        return id;
    r = file_new(map->fs, &file_ops, NULL, ret_file);
    if (r < 0)
        return r;
    (*ret_file)->backing_id = id;
    ((struct map_file *)*ret_file)->map = map_ref(map);
    return 0;
}

static void release(struct node *node)
{
    map_unref(node->object);
}

static const struct node_ops node_ops = {
    .getattr = getattr,
    .setattr = setattr,
    .sets_size = true,
    .fallocate = allocate,
    .readlink = readlink_it,
    .open = open_it,
    .release = release,
};

int map_node(struct fs *fs, struct box *box, struct map **slot, struct ring_memory *memory,
             struct node **ret_node)
{
    struct map *map = obtain(fs, box, slot, memory);
    int r;

    ring_memory_unref(memory);
    if (!map)
        return -ENOMEM;
    r = node_obtain(fs, &node_ops, map, &map->node, ret_node);
    if (r < 0)
        map_unref(map);
    return r;
}
