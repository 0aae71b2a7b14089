/* A map's node holds a door to the box, as all nodes do, and no memory. What has it open holds the memory, so that
 * a mapping is charged and named while it can be found; once the last file is closed and the ring has other
 * memory, the kernel is asked to forget the name. */
#include "map.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/kernel/backing.h"
#include "fs/kernel/kernel.h"

#define MAP_MODE 0600

struct map {
    atomic_uint n_refs;
    struct kernel *kernel;
    const struct box_file *file;
    const struct ring_dir *dir;
    struct door *door;      /* to the box, as a node has it */
    struct ring_mbox *ring; /* the box's, and there as long as that is */
    struct map **slot;      /* the same; under box->lock: may point here */
    uint64_t memory_id;     /* which memory of the ring's it is, as long as the ring has that */
    uint64_t n_bytes;
    struct node *node; /* the node table's slot */
    pthread_mutex_t lock;
    /* Under lock: */
    unsigned int n_files;       /* that are open */
    struct ring_memory *opened; /* held for them; NULL: there are none */
    int backing_id;             /* the kernel's for it; 0: none */
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

/* Of a box that is removed nobody reads the slot any more (obtain). */
static void leave_slot(struct map *map)
{
    box_auto *box = box_pass(map->door);

    if (!box)
        return;
    pthread_mutex_lock(&box->lock);
    if (*map->slot == map)
        *map->slot = NULL;
    pthread_mutex_unlock(&box->lock);
}

static void map_unref(struct map *map)
{
    if (atomic_fetch_sub_explicit(&map->n_refs, 1, memory_order_acq_rel) > 1)
        return;
    leave_slot(map);
    door_remove_node(map->door);
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

/* @door has one node more, for the map. */
static struct map *map_new(const struct map_of *of, struct door *door,
                           const struct ring_memory *memory)
{
    struct map *map = calloc(1, sizeof(*map));

    if (!map)
        return NULL;
    map->n_refs = 1;
    map->kernel = of->box->boxes->kernel;
    map->file = of->file;
    map->dir = of->dir;
    map->door = door;
    map->ring = of->ring;
    map->slot = of->slot;
    map->memory_id = memory->id;
    map->n_bytes = memory->n_bytes;
    pthread_mutex_init(&map->lock, NULL);
    return map;
}

/* Under box->lock: as obtain, with a new one where there is none, which takes @door over. */
static struct map *obtain_locked(const struct map_of *of, struct door **door,
                                 const struct ring_memory *memory)
{
    struct map *map = *of->slot;

    if (of->box->is_ended)
        return NULL;
    if (map && map->memory_id == memory->id && try_ref(map))
        return map;
    map = map_new(of, *door, memory);
    if (map)
        *door = NULL;
    *of->slot = map;
    return map;
}

/* Return: the map of @memory, with a reference; NULL when memory is short, or the box is removed. */
static struct map *obtain(const struct map_of *of, const struct ring_memory *memory)
{
    struct box *box = of->box;
    struct door *door;
    struct map *map;

    if (box_add_node(box, &door) < 0)
        return NULL;
    pthread_mutex_lock(&box->lock);
    map = obtain_locked(of, &door, memory);
    pthread_mutex_unlock(&box->lock);
    if (door)
        door_remove_node(door);
    return map;
}

mode_t map_mode(struct backing *backing)
{
    return backing_works(backing) ? S_IFREG | MAP_MODE : S_IFLNK | 0777;
}

/* Return: the memory, with a reference; NULL: the ring has let go of it, and nobody has it open. */
static struct ring_memory *memory_of(struct map *map)
{
    struct ring_memory *memory = NULL;
    box_auto *box = NULL;

    pthread_mutex_lock(&map->lock);
    if (map->opened)
        memory = ring_memory_ref(map->opened);
    pthread_mutex_unlock(&map->lock);
    if (memory)
        return memory;
    box = box_pass(map->door);
    memory = box ? ring_mbox_memory(map->ring) : NULL;
    if (memory && memory->id == map->memory_id)
        return memory;
    ring_memory_unref(memory);
    return NULL;
}

/* Return: its length; -ESTALE: it leads nowhere any more. */
static int format_target(struct map *map, char target[NODE_TARGET_MAX])
{
    struct ring_memory *memory = memory_of(map);
    int n;

    if (!memory)
        return -ESTALE;
    if (memory->dir_fd >= 0)
        n = snprintf(target, NODE_TARGET_MAX, "%s/%s", map->dir->path, memory->name);
    else
        n = snprintf(target, NODE_TARGET_MAX, "/proc/%d/fd/%d", (int)getpid(), memory->fd);
    ring_memory_unref(memory);
    return n;
}

static void getattr(struct node *node, struct stat *ret_attr)
{
    struct map *map = node->object;
    box_auto *box = box_pass(map->door);
    char target[NODE_TARGET_MAX];
    int length;

    if (box)
        box_file_attr(box, map->file, ret_attr);
    else
        box_gone_attr(map->door, map->file, ret_attr);
    if (S_ISLNK(ret_attr->st_mode)) {
        length = format_target(map, target);
        ret_attr->st_size = length < 0 ? 0 : length;
        return;
    }
    ret_attr->st_size = (off_t)map->n_bytes;
    ret_attr->st_blocks = (blkcnt_t)(map->n_bytes / 512);
}

static int setattr(struct node *node, const struct node_change *change)
{
    struct map *map = node->object;

    box_auto *box = box_pass(map->door);

    if (change->to_set & FUSE_SET_ATTR_SIZE)
        return -EPERM;
    return box ? box_change_file(box, map->file, change) : -ESTALE;
}

/* Its seals know what is not allowed. Without this, posix_fallocate(3) would write a byte to each page. */
static int map_allocate(struct node *node, int mode, off_t offset, off_t length)
{
    struct ring_memory *memory = memory_of(node->object);
    int r;

    if (!memory)
        return -ESTALE;
    r = fallocate(memory->fd, mode, offset, length) < 0 ? -errno : 0;
    ring_memory_unref(memory);
    return r;
}

static int readlink_it(struct node *node, const struct caller *caller, char target[NODE_TARGET_MAX])
{
    int length = format_target(node->object, target);

    (void)caller;
    return length < 0 ? length : 0;
}

/* One more has it open. Return: 0; -ESTALE: there is nothing to open any more. */
static int begin_use(struct map *map)
{
    struct ring_memory *memory = memory_of(map);

    if (!memory)
        return -ESTALE;
    pthread_mutex_lock(&map->lock);
    if (map->n_files++ == 0)
        map->opened = ring_memory_hold(memory);
    pthread_mutex_unlock(&map->lock);
    ring_memory_unref(memory);
    return 0;
}

/* The kernel keeps the name in a directory that was removed, and with it the node, until it needs the
 * memory. */
static void have_forgotten(struct map *map)
{
    uint64_t id = node_slot_id(&map->kernel->nodes, &map->node);

    if (id != 0)
        prune_later(&map->kernel->prune, id);
}

/* Files that are being closed and mappings stay what they are. */
static void end_use(struct map *map)
{
    struct ring_memory *memory = NULL;
    struct ring_memory *current;
    int backing_id = 0;

    pthread_mutex_lock(&map->lock);
    if (--map->n_files == 0) {
        memory = map->opened;
        backing_id = map->backing_id;
        map->opened = NULL;
        map->backing_id = 0;
    }
    pthread_mutex_unlock(&map->lock);
    if (!memory)
        return;
    backing_close(&map->kernel->backing, backing_id);
    ring_memory_let_go(memory);
    current = memory_of(map);
    if (!current)
        have_forgotten(map);
    ring_memory_unref(current);
}

static void close_file(struct file *file)
{
    struct map *map = ((struct map_file *)file)->map;

    end_use(map);
    map_unref(map);
}

static const struct file_ops map_file_ops = {
    .open_flags = FOPEN_PASSTHROUGH | FOPEN_NOFLUSH,
    .close = close_file,
    .size = sizeof(struct map_file),
};

static int open_it(struct node *node, int flags, const struct caller *caller,
                   struct file **ret_file)
{
    struct map *map = node->object;
    int r = begin_use(map);
    int id;

    (void)flags;
    (void)caller;
    if (r < 0)
        return r;
    id = backing_obtain(&map->kernel->backing, &map->lock, &map->backing_id, map->opened->fd);
    r = id < 0 ? id : file_new(&map->kernel->files, &map_file_ops, NULL, ret_file);
    if (r < 0) {
        end_use(map);
        return r;
    }
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
    .fallocate = map_allocate,
    .readlink = readlink_it,
    .open = open_it,
    .release = release,
};

int map_node(const struct map_of *of, struct node **ret_node)
{
    struct ring_memory *memory = ring_mbox_memory(of->ring);
    struct map *map;
    int r;

    if (!memory)
        return -ENOENT;
    map = obtain(of, memory);
    ring_memory_unref(memory);
    if (!map)
        return -ENOMEM;
    r = node_obtain(&map->kernel->nodes, &node_ops, map, &map->node, ret_node);
    if (r < 0)
        map_unref(map);
    return r;
}
