/* Attributes of a file that only the kernel changes could be cached there. Those of these files are
 * not: a chown of the directory carries them along, and one file may have several nodes. */
#include "box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "core/size.h"
#include "drop.h"
#include "fs.h"
#include "lines.h"
#include "listing.h"
#include "owner.h"
#include "queue.h"
#include "recv.h"
#include "send.h"
#include "settings.h"
#include "stream.h"
#include "text.h"

#define ALL_WRITE 0222
#define ALL_SEARCH 0111

/* What a write of the largest message needs: the st_size of `send`, because the kernel lets writers
 * in side by side only below the end of a file. Else the second of two that share a descriptor
 * would wait behind the first, deaf to signals. */
#define SEND_SIZE_BYTES (1 << 20)

/* What stdio and others make their buffers: a message up to the default size leaves in one write. */
#define IO_BYTES 65536

struct box_file_kind {
    const char *name;
    mode_t mode;          /* with the type; for a directory that nobody may search */
    mode_t searchers;     /* what each class gets too that may search the directory */
    bool has_fresh_nodes; /* its writers may wait (node.h) */
    struct node_ops ops;
};

static const struct box_file_kind kinds[BOX_N_FILES];

static void box_free(struct mbox *mbox)
{
    struct box *box = box_of(mbox);

    mbox_deinit(mbox);
    pthread_mutex_destroy(&box->lock);
    free(box);
}

/* Return: @bits for each of the three classes that may search a directory of @mode. */
static mode_t for_searchers(mode_t mode, mode_t bits)
{
    mode_t classes = mode & ALL_SEARCH;

    return (classes | classes << 1 | classes << 2) & bits;
}

struct box *box_new(struct fs *fs, mode_t mode, const struct caller *caller)
{
    struct box *box = calloc(1, sizeof(*box));
    uint64_t ino;

    if (!box)
        return NULL;
    mbox_init(&box->mbox, &fs->domain, box_free);
    pthread_mutex_init(&box->lock, NULL);
    box->owner_pidfd = -1;
    ino = nodes_new_inos(&fs->nodes, 1 + BOX_N_FILES);
    attr_init(&box->dir, ino, S_IFDIR | (mode & 07777), caller->uid, caller->gid);
    for (unsigned int i = 0; i < BOX_N_FILES; i++) {
        mode_t file_mode = kinds[i].mode | for_searchers(mode, kinds[i].searchers);

        attr_init(&box->files[i], ino + 1 + i, file_mode, caller->uid, caller->gid);
    }
    return box;
}

static void release(struct node *node)
{
    struct box *box = node->object;

    mbox_unref(&box->mbox);
}

/* Return: which of its box's files @node is. */
static enum box_file file_of(const struct node *node)
{
    const struct box_file_kind *kind = (const struct box_file_kind *)((const char *)node->ops -
                                                                      offsetof(struct box_file_kind,
                                                                               ops));

    return (enum box_file)(kind - kinds);
}

static bool is_sender(enum box_file file)
{
    return file == BOX_SEND || file == BOX_SEND_LINES;
}

static bool is_receiver(enum box_file file)
{
    return file == BOX_RECV || file == BOX_RECV_LINES || file == BOX_RECV_JSON;
}

/* A file was last changed by the last message that went through it. */
static void show_traffic(struct box *box, enum box_file file, struct stat *attr)
{
    const struct timespec *last;
    struct mbox_stat stat;

    if ((!is_sender(file) && !is_receiver(file)) || mbox_get_stat(&box->mbox, &stat) < 0)
        return;
    last = is_sender(file) ? &stat.last_send : &stat.last_receive;
    if (last->tv_sec > attr->st_mtim.tv_sec ||
        (last->tv_sec == attr->st_mtim.tv_sec && last->tv_nsec > attr->st_mtim.tv_nsec))
        attr->st_mtim = *last;
}

void box_file_attr(struct box *box, enum box_file file, struct stat *ret_attr)
{
    pthread_mutex_lock(&box->lock);
    attr_get(&box->files[file], ret_attr);
    pthread_mutex_unlock(&box->lock);
    ret_attr->st_blksize = IO_BYTES;
    if (is_sender(file))
        ret_attr->st_size = SEND_SIZE_BYTES;
    else if (file == BOX_CONFIG || file == BOX_STAT)
        text_set_size(ret_attr, TEXT_SIZE_BYTES);
    if (S_ISDIR(ret_attr->st_mode))
        ret_attr->st_nlink = 2;
    show_traffic(box, file, ret_attr);
}

const char *box_file_name(enum box_file file)
{
    return kinds[file].name;
}

static void file_getattr(struct node *node, struct stat *ret_attr)
{
    box_file_attr(node->object, file_of(node), ret_attr);
}

static int file_setattr(struct node *node, const struct node_change *change)
{
    struct box *box = node->object;

    pthread_mutex_lock(&box->lock);
    attr_change(&box->files[file_of(node)], change);
    pthread_mutex_unlock(&box->lock);
    return 0;
}

static bool is_for(int flags, int access)
{
    return (flags & O_ACCMODE) == access;
}

static struct mbox *mbox_of(struct node *node)
{
    return &((struct box *)node->object)->mbox;
}

static int open_send(struct node *node, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    (void)caller;
    if (!is_for(flags, O_WRONLY))
        return -EACCES;
    return send_open(node->fs, mbox_of(node), node->prio, ret_file);
}

static uint64_t file_ino(struct node *node)
{
    const struct box *box = node->object;

    return box->files[file_of(node)].ino;
}

static int open_send_lines(struct node *node, int flags, const struct caller *caller,
                           struct file **ret_file)
{
    if (!is_for(flags, O_WRONLY))
        return -EACCES;
    return lines_open(node->fs, mbox_of(node), file_ino(node), caller, ret_file);
}

/* Return: 0: @caller may receive with @flags; -EACCES; -EBUSY. */
static int check_receive(struct node *node, int flags, const struct caller *caller)
{
    if (!is_for(flags, O_RDONLY))
        return -EACCES;
    return owner_admits(mbox_of(node), caller->tid) ? 0 : -EBUSY;
}

static int open_recv(struct node *node, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    int r = check_receive(node, flags, caller);

    return r < 0 ? r : recv_open(node->fs, mbox_of(node), ret_file);
}

static int open_recv_lines(struct node *node, int flags, const struct caller *caller,
                           struct file **ret_file)
{
    int r = check_receive(node, flags, caller);

    return r < 0 ? r : stream_open_lines(node->fs, mbox_of(node), ret_file);
}

static int open_recv_json(struct node *node, int flags, const struct caller *caller,
                          struct file **ret_file)
{
    int r = check_receive(node, flags, caller);

    return r < 0 ? r : stream_open_json(node->fs, mbox_of(node), ret_file);
}

static int open_owner(struct node *node, int flags, const struct caller *caller,
                      struct file **ret_file)
{
    if (is_for(flags, O_RDONLY))
        return owner_open(node->fs, mbox_of(node), ret_file);
    return owner_claim(node->fs, node->object, caller, ret_file);
}

static int open_config(struct node *node, int flags, const struct caller *caller,
                       struct file **ret_file)
{
    (void)flags;
    (void)caller;
    return config_open(node->fs, mbox_of(node), ret_file);
}

static int open_stat(struct node *node, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    (void)caller;
    if (!is_for(flags, O_RDONLY))
        return -EACCES;
    return stat_open(node->fs, mbox_of(node), ret_file);
}

static void create_in_drop(struct node *dir, fuse_req_t req, mode_t mode, struct fuse_file_info *fi)
{
    drop_create(dir->object, req, mode, fi);
}

#define COMMON_OPS .getattr = file_getattr, .setattr = file_setattr, .release = release

#define FILE_OPS(open_it)                                                                          \
    {                                                                                              \
        COMMON_OPS, .open = (open_it)                                                              \
    }

static const struct box_file_kind kinds[BOX_N_FILES] = {
    [BOX_SEND] = { "send", S_IFREG, ALL_WRITE, true, FILE_OPS(open_send) },
    [BOX_SEND_LINES] = { "send.lines", S_IFREG, ALL_WRITE, true, FILE_OPS(open_send_lines) },
    [BOX_RECV] = { "recv", S_IFREG | 0400, 0, false, FILE_OPS(open_recv) },
    [BOX_RECV_LINES] = { "recv.lines", S_IFREG | 0400, 0, false, FILE_OPS(open_recv_lines) },
    [BOX_RECV_JSON] = { "recv.json", S_IFREG | 0400, 0, false, FILE_OPS(open_recv_json) },
    [BOX_DROP] = { "drop",
                   S_IFDIR,
                   ALL_WRITE | ALL_SEARCH,
                   true,
                   { COMMON_OPS, .create = create_in_drop } },
    [BOX_QUEUE] = { "queue",
                    S_IFDIR | 0700,
                    0,
                    false,
                    { COMMON_OPS, .lookup = queue_lookup, .opendir = queue_opendir,
                      .list = queue_list, .unlink = queue_unlink, .rename = queue_rename } },
    [BOX_OWNER] = { "owner", S_IFREG | 0644, 0, false, FILE_OPS(open_owner) },
    [BOX_CONFIG] = { "config", S_IFREG | 0644, 0, false, FILE_OPS(open_config) },
    [BOX_STAT] = { "stat", S_IFREG | 0444, 0, false, FILE_OPS(open_stat) },
};

/* Reads "send.N", N from 0 to MSG_N_PRIOS - 1 without leading zeros. */
static bool parse_send_prio(const char *name, unsigned int *ret_prio)
{
    static const char prefix[] = "send.";
    const char *digits = name + sizeof(prefix) - 1;
    uint64_t prio;

    if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
        return false;
    if (count_parse(digits, strlen(digits), &prio) < 0 || prio >= MSG_N_PRIOS)
        return false;
    if (digits[0] == '0' && digits[1])
        return false;
    *ret_prio = (unsigned int)prio;
    return true;
}

/* Return: 0; -ENOENT. */
static int find_file(const char *name, enum box_file *ret_file, unsigned int *ret_prio)
{
    *ret_prio = 0;
    for (unsigned int i = 0; i < BOX_N_FILES; i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            *ret_file = (enum box_file)i;
            return 0;
        }
    }
    *ret_file = BOX_SEND;
    return parse_send_prio(name, ret_prio) ? 0 : -ENOENT;
}

/* Return: 0 with a node of @box for @ops: the one in @slot, or a new one. */
static int get_node(struct fs *fs, struct box *box, const struct node_ops *ops, struct node **slot,
                    struct node **ret_node)
{
    int r;

    mbox_ref(&box->mbox);
    r = node_obtain(fs, ops, box, slot, ret_node);
    if (r < 0)
        mbox_unref(&box->mbox);
    return r;
}

static int dir_lookup(struct node *dir, const char *name, struct node **ret_node)
{
    struct box *box = dir->object;
    enum box_file file;
    unsigned int prio;
    int r;

    r = find_file(name, &file, &prio);
    if (r < 0)
        return r;
    if (!kinds[file].has_fresh_nodes)
        return get_node(dir->fs, box, &kinds[file].ops, &box->file_nodes[file], ret_node);
    r = get_node(dir->fs, box, &kinds[file].ops, NULL, ret_node);
    /* The kernel has not heard of it yet: nobody else sees it. */
    if (r == 0)
        (*ret_node)->prio = prio;
    return r;
}

static int dir_list(struct node *dir, struct listing *listing)
{
    struct box *box = dir->object;
    int r = 0;

    for (unsigned int i = 0; i < BOX_N_FILES && r == 0; i++)
        r = listing_add(listing, kinds[i].name, box->files[i].ino, kinds[i].mode & S_IFMT);
    return r;
}

static void dir_getattr(struct node *dir, struct stat *ret_attr)
{
    struct box *box = dir->object;

    pthread_mutex_lock(&box->lock);
    attr_get(&box->dir, ret_attr);
    pthread_mutex_unlock(&box->lock);
    /* Its own, its parent's entry for it, and those of drop/ and queue/. */
    ret_attr->st_nlink = 4;
}

static int dir_setattr(struct node *dir, const struct node_change *change)
{
    struct node_change owner = { .attr = change->attr };
    struct box *box = dir->object;

    owner.to_set = change->to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID);
    pthread_mutex_lock(&box->lock);
    attr_change(&box->dir, change);
    for (unsigned int i = 0; i < BOX_N_FILES && owner.to_set; i++)
        attr_change(&box->files[i], &owner);
    pthread_mutex_unlock(&box->lock);
    return 0;
}

static const struct node_ops dir_ops = {
    .getattr = dir_getattr,
    .setattr = dir_setattr,
    .release = release,
    .lookup = dir_lookup,
    .list = dir_list,
};

int box_node(struct fs *fs, struct box *box, struct node **ret_node)
{
    return get_node(fs, box, &dir_ops, &box->dir_node, ret_node);
}
