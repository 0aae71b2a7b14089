/* Attributes of a file that only the kernel changes could be cached there. Those of these files are
 * not: a chown of the directory carries them along, and one file may have several nodes. */
#include "box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/kernel/caller.h"
#include "core/base/size.h"
#include "drop.h"
#include "fs/mount.h"
#include "lines.h"
#include "fs/proc/link.h"
#include "fs/kernel/listing.h"
#include "owner.h"
#include "queue.h"
#include "recv.h"
#include "send.h"
#include "settings.h"
#include "stream.h"
#include "fs/kernel/text.h"

#define ALL_READ 0444
#define ALL_WRITE 0222
#define ALL_SEARCH 0111

struct box_file_kind {
    const char *name;
    mode_t mode;          /* with the type; for a directory that nobody may search */
    mode_t searchers;     /* what each class gets too that may search the directory */
    bool has_fresh_nodes; /* its writers may wait (node.h) */
    struct node_ops ops;
    /* As node_ops.open; @box is the node's. */
    int (*open)(struct node *node, struct box *box, int flags, const struct caller *caller,
                struct file **ret_file);
};

static const struct box_file_kind kinds[BOX_N_FILES];

static void box_release(struct mbox *mbox)
{
    struct box *box = box_of(mbox);

    box->kind->free(box);
}

static struct quota *quota_of(struct box *box)
{
    return &box->mbox.domain->quota;
}

/* Under the mailbox's lock. */
static void box_ended(struct mbox *mbox)
{
    struct box *box = box_of(mbox);

    pthread_mutex_lock(&box->lock);
    quota_release_kept(quota_of(box), box->charged_uid, box->n_kept, QUOTA_MADE);
    box->n_kept = 0;
    box->is_ended = true;
    if (box->door)
        door_shut(box->door, &box->dir);
    pthread_mutex_unlock(&box->lock);
}

struct box *box_pass(struct door *door)
{
    struct mbox *mbox = door_pass(door);

    return mbox ? box_of(mbox) : NULL;
}

/* Under box->lock. */
static int add_node(struct box *box)
{
    if (box->is_ended)
        return -ESTALE;
    if (!box->door)
        box->door = door_new(&box->mbox, BOX_N_FILES);
    if (!box->door)
        return -ENOMEM;
    door_add_node(box->door);
    return 0;
}

int box_add_node(struct box *box, struct door **ret_door)
{
    int r;

    pthread_mutex_lock(&box->lock);
    r = add_node(box);
    if (r == 0)
        *ret_door = box->door;
    pthread_mutex_unlock(&box->lock);
    return r;
}

static struct door *door_of(struct box *box)
{
    struct door *door;

    pthread_mutex_lock(&box->lock);
    door = box->door;
    pthread_mutex_unlock(&box->lock);
    return door;
}

struct node *const *box_dir_slot(struct box *box)
{
    struct door *door = door_of(box);

    return door ? &door->dir_node : NULL;
}

struct node *const *box_file_slot(struct box *box, enum box_file file)
{
    struct door *door = door_of(box);

    return door ? &door->file_nodes[file] : NULL;
}

void box_adopt_charge(struct box *box, uid_t uid, uint64_t n_kept)
{
    box->charged_uid = uid;
    box->n_kept = n_kept;
}

int box_move_charge(struct box *box, uid_t uid)
{
    int r;

    pthread_mutex_lock(&box->lock);
    r = quota_move_kept(quota_of(box), box->charged_uid, uid, box->n_kept);
    if (r == 0)
        box->charged_uid = uid;
    pthread_mutex_unlock(&box->lock);
    return r;
}

void box_deinit(struct box *box)
{
    if (box->door)
        door_disown(box->door);
    mbox_deinit(&box->mbox);
    pthread_mutex_destroy(&box->lock);
}

/* Return: @bits for each of the three classes that may search a directory of @mode. */
static mode_t for_searchers(mode_t mode, mode_t bits)
{
    mode_t classes = mode & ALL_SEARCH;

    return (classes | classes << 1 | classes << 2) & bits;
}

void box_init(struct box *box, struct kernel *kernel, const struct box_kind *kind, mode_t mode,
              mode_t senders, const struct caller *owner, uint64_t ino)
{
    mbox_init(&box->mbox, &fs_of(kernel)->domain, box_release);
    box->mbox.ended = box_ended;
    pthread_mutex_init(&box->lock, NULL);
    box->kind = kind;
    box->owner_pidfd = -1;
    attr_init(&box->dir, ino, S_IFDIR | (mode & 07777), owner->uid, owner->gid);
    for (unsigned int i = 0; i < BOX_N_FILES; i++) {
        mode_t file_mode = kinds[i].mode | for_searchers(senders, kinds[i].searchers);

        attr_init(&box->files[i], ino + 1 + i, file_mode, owner->uid, owner->gid);
    }
}

static int admit_by_owner(struct box *box, const struct caller *caller)
{
    return owner_admit(&box->mbox, caller);
}

static void free_mailbox(struct box *box)
{
    box_deinit(box);
    free(box);
}

static const struct box_kind mailbox_kind = {
    .files = BOX_FILES_OF_MAILBOX | BOX_FILE(BOX_OWNER),
    .admit = admit_by_owner,
    .counts_for_owner = true,
    .free = free_mailbox,
};

int box_new(struct kernel *kernel, mode_t mode, const struct caller *caller, struct box **ret_box)
{
    int r = quota_charge_kept(kernel->quota, caller->uid, BOX_KEPT_BYTES, QUOTA_MADE);
    struct box *box;

    if (r < 0)
        return r;
    box = calloc(1, sizeof(*box));
    if (!box) {
        quota_release_kept(kernel->quota, caller->uid, BOX_KEPT_BYTES, QUOTA_MADE);
        return -ENOMEM;
    }
    box_init(box, kernel, &mailbox_kind, mode, mode, caller,
             nodes_new_inos(&kernel->nodes, 1 + BOX_N_FILES));
    box_adopt_charge(box, caller->uid, BOX_KEPT_BYTES);
    *ret_box = box;
    return 0;
}

int box_admit(struct box *box, const struct caller *caller)
{
    return box->kind->admit(box, caller);
}

static void file_notice_end(struct file *file)
{
    struct box *box = box_of(file->mbox);

    box->kind->notice_end(box);
}

void box_add_file(struct box *box, struct file *file)
{
    if (box->kind->notice_end)
        file->notice_end = file_notice_end;
}

int box_check(struct box *box)
{
    return mbox_poll(&box->mbox, NULL) & MBOX_REMOVED ? -ESTALE : 0;
}

int box_use(struct box *box, uid_t uid)
{
    return box->kind->use ? box->kind->use(box, uid) : 0;
}

uid_t box_uid(struct box *box)
{
    uid_t uid;

    pthread_mutex_lock(&box->lock);
    uid = box->dir.uid;
    pthread_mutex_unlock(&box->lock);
    return uid;
}

void box_refresh(struct box *box)
{
    if (box->kind->refresh)
        box->kind->refresh(box);
}

static bool has_file(const struct box *box, unsigned int file)
{
    return box->kind->files & BOX_FILE(file);
}

static void release(struct node *node)
{
    door_remove_node(node->object);
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
    return file == BOX_SEND || file == BOX_SEND_LINES || file == BOX_SEND_JSON;
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
    ret_attr->st_blksize = BOX_IO_BYTES;
    if (is_sender(file))
        ret_attr->st_size = BOX_SEND_SIZE_BYTES;
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

void box_gone_attr(struct door *door, enum box_file file, struct stat *ret_attr)
{
    attr_get(&door->attr, ret_attr);
    ret_attr->st_ino += 1 + (ino_t)file;
    ret_attr->st_mode = kinds[file].mode;
    ret_attr->st_nlink = 0;
}

static void file_getattr(struct node *node, struct stat *ret_attr)
{
    box_auto *box = box_pass(node->object);

    if (!box) {
        box_gone_attr(node->object, file_of(node), ret_attr);
        return;
    }
    box_refresh(box);
    box_file_attr(box, file_of(node), ret_attr);
}

int box_change_file(struct box *box, enum box_file file, const struct node_change *change)
{
    /* Its owner does, or root for him. */
    int r = box_use(box, box_uid(box));

    if (r < 0)
        return r;
    pthread_mutex_lock(&box->lock);
    attr_change(&box->files[file], change);
    pthread_mutex_unlock(&box->lock);
    return 0;
}

static int file_setattr(struct node *node, const struct node_change *change)
{
    box_auto *box = box_pass(node->object);

    return box ? box_change_file(box, file_of(node), change) : -ENOENT;
}

static bool is_for(int flags, int access)
{
    return (flags & O_ACCMODE) == access;
}

static int open_send(struct node *node, struct box *box, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    (void)caller;
    if (!is_for(flags, O_WRONLY))
        return -EACCES;
    return send_open(node->kernel, &box->mbox, node->prio, ret_file);
}

static int open_send_lines(struct node *node, struct box *box, int flags,
                           const struct caller *caller, struct file **ret_file)
{
    if (!is_for(flags, O_WRONLY))
        return -EACCES;
    return lines_open(node->kernel, &box->mbox, box->files[file_of(node)].ino, caller, ret_file);
}

static int open_send_json(struct node *node, struct box *box, int flags,
                          const struct caller *caller, struct file **ret_file)
{
    if (!is_for(flags, O_WRONLY))
        return -EACCES;
    return lines_open_json(node->kernel, &box->mbox, box->files[file_of(node)].ino, caller,
                           ret_file);
}

/* Return: 0: @caller may receive with @flags; -EACCES; or as box_admit. */
static int check_receive(struct box *box, int flags, const struct caller *caller)
{
    if (!is_for(flags, O_RDONLY))
        return -EACCES;
    return box_admit(box, caller);
}

static int open_recv(struct node *node, struct box *box, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    int r = check_receive(box, flags, caller);

    return r < 0 ? r : recv_open(node->kernel, &box->mbox, ret_file);
}

static int open_recv_lines(struct node *node, struct box *box, int flags,
                           const struct caller *caller, struct file **ret_file)
{
    int r = check_receive(box, flags, caller);

    return r < 0 ? r : stream_open_lines(node->kernel, &box->mbox, ret_file);
}

static int open_recv_json(struct node *node, struct box *box, int flags,
                          const struct caller *caller, struct file **ret_file)
{
    int r = check_receive(box, flags, caller);

    return r < 0 ? r : stream_open_json(node->kernel, &box->mbox, ret_file);
}

static int open_owner(struct node *node, struct box *box, int flags, const struct caller *caller,
                      struct file **ret_file)
{
    if (is_for(flags, O_RDONLY))
        return owner_open(node->kernel, &box->mbox, ret_file);
    return owner_claim(node->kernel, box, caller, ret_file);
}

/* Opens what is the box's kind's own, if it has such a thing. */
static int open_own(struct node *node, struct box *box, int flags, const struct caller *caller,
                    struct file **ret_file)
{
    (void)flags;
    (void)caller;
    return box->kind->open ? box->kind->open(box, node->kernel, file_of(node), ret_file) : -EPERM;
}

static bool has_own_settings(const struct box *box)
{
    return box->kind->open;
}

static int open_config(struct node *node, struct box *box, int flags, const struct caller *caller,
                       struct file **ret_file)
{
    if (has_own_settings(box))
        return open_own(node, box, flags, caller, ret_file);
    return config_open(node->kernel, &box->mbox, ret_file);
}

static int open_stat(struct node *node, struct box *box, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    if (!is_for(flags, O_RDONLY))
        return -EACCES;
    if (has_own_settings(box))
        return open_own(node, box, flags, caller, ret_file);
    return stat_open(node->kernel, &box->mbox, ret_file);
}

static int file_open(struct node *node, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    box_auto *box = box_pass(node->object);
    struct file *file;
    int r = box ? kinds[file_of(node)].open(node, box, flags, caller, &file) : -ENOENT;

    if (r < 0)
        return r;
    r = box_use(box, caller->uid);
    if (r < 0) {
        file_discard(file);
        return r;
    }
    box_add_file(box, file);
    *ret_file = file;
    return 0;
}

#define COMMON_OPS .getattr = file_getattr, .setattr = file_setattr, .release = release

#define FILE_OPS                                                                                   \
    {                                                                                              \
        COMMON_OPS, .open = file_open                                                              \
    }

static const struct box_file_kind kinds[BOX_N_FILES] = {
    [BOX_SEND] = { "send", S_IFREG, ALL_WRITE, true, FILE_OPS, open_send },
    [BOX_SEND_LINES] = { "send.lines", S_IFREG, ALL_WRITE, true, FILE_OPS, open_send_lines },
    [BOX_SEND_JSON] = { "send.json", S_IFREG, ALL_WRITE, true, FILE_OPS, open_send_json },
    [BOX_RECV] = { "recv", S_IFREG | 0400, 0, false, FILE_OPS, open_recv },
    [BOX_RECV_LINES] = { "recv.lines", S_IFREG | 0400, 0, false, FILE_OPS, open_recv_lines },
    [BOX_RECV_JSON] = { "recv.json", S_IFREG | 0400, 0, false, FILE_OPS, open_recv_json },
    [BOX_DROP] = { "drop",
                   S_IFDIR,
                   ALL_WRITE | ALL_SEARCH,
                   true,
                   { COMMON_OPS, .lookup_for = drop_lookup, .create = drop_create,
                     .rename = drop_rename, .unlink = drop_unlink } },
    [BOX_QUEUE] = { "queue",
                    S_IFDIR | 0700,
                    0,
                    false,
                    { COMMON_OPS, .lookup = queue_lookup, .opendir = queue_opendir,
                      .list_part = queue_list, .unlink = queue_unlink, .rename = queue_rename } },
    [BOX_OWNER] = { "owner", S_IFREG | 0644, 0, false, FILE_OPS, open_owner },
    [BOX_CONFIG] = { "config", S_IFREG | 0644, 0, false, FILE_OPS, open_config },
    [BOX_STAT] = { "stat", S_IFREG | 0444, 0, false, FILE_OPS, open_stat },
    [BOX_LINK] = { "link",
                   S_IFDIR | 0500,
                   0,
                   false,
                   { COMMON_OPS, .lookup_for = link_lookup, .list = link_list,
                     .create = link_create } },
    [BOX_MAP] = { "map", S_IFREG | 0600, 0, false, { COMMON_OPS } }, /* its node is map.h's */
    [BOX_BELL] = { "bell", S_IFREG | 0600, ALL_READ | ALL_WRITE, true, FILE_OPS, open_own },
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
static int find_file(struct box *box, const char *name, enum box_file *ret_file,
                     unsigned int *ret_prio)
{
    *ret_prio = 0;
    for (unsigned int i = 0; i < BOX_N_FILES; i++) {
        if (has_file(box, i) && strcmp(name, kinds[i].name) == 0) {
            *ret_file = (enum box_file)i;
            return 0;
        }
    }
    /* What has no queue of messages knows no priorities. */
    *ret_file = BOX_SEND;
    if (!has_file(box, BOX_QUEUE) || !parse_send_prio(name, ret_prio))
        return -ENOENT;
    box->has_prios = true;
    return 0;
}

/* Return: 0 with a node for @file of @box: the one that it has, or, where it @is_fresh, a new one. */
static int get_file_node(struct kernel *kernel, struct box *box, enum box_file file, bool is_fresh,
                         struct node **ret_node)
{
    struct door *door;
    int r = box_add_node(box, &door);

    if (r < 0)
        return r;
    r = node_obtain(&kernel->nodes, &kinds[file].ops, door,
                    is_fresh ? NULL : &door->file_nodes[file], ret_node);
    if (r < 0)
        door_remove_node(door);
    return r;
}

static int dir_lookup(struct node *dir, const char *name, const struct caller *caller,
                      struct node **ret_node)
{
    box_auto *box = box_pass(dir->object);
    enum box_file file;
    unsigned int prio;
    bool is_fresh;
    int r = box ? box_check(box) : -ESTALE;

    if (r < 0)
        return r;
    r = find_file(box, name, &file, &prio);
    if (r < 0)
        return r;
    if (file == BOX_MAP)
        return box->kind->lookup_map(box, dir->kernel, ret_node);
    is_fresh = kinds[file].has_fresh_nodes &&
               (file != BOX_DROP || drop_needs_own_dir(dir->kernel, box, caller->tid));
    r = get_file_node(dir->kernel, box, file, is_fresh, ret_node);
    /* A new one, that the kernel has not heard of yet: nobody else sees it. */
    if (r == 0 && is_fresh)
        (*ret_node)->prio = prio;
    return r;
}

static mode_t type_of(struct box *box, unsigned int file)
{
    mode_t mode;

    pthread_mutex_lock(&box->lock);
    mode = box->files[file].mode;
    pthread_mutex_unlock(&box->lock);
    return mode & S_IFMT;
}

static int dir_list(struct node *dir, struct listing *listing)
{
    box_auto *box = box_pass(dir->object);
    int r = 0;

    for (unsigned int i = 0; box && i < BOX_N_FILES && r == 0; i++) {
        if (has_file(box, i))
            r = listing_add(listing, kinds[i].name, box->files[i].ino, type_of(box, i));
    }
    return r;
}

static void dir_getattr(struct node *dir, struct stat *ret_attr)
{
    struct door *door = dir->object;
    box_auto *box = box_pass(door);

    if (!box) {
        attr_get(&door->attr, ret_attr);
        ret_attr->st_nlink = 0;
        return;
    }
    box_refresh(box);
    pthread_mutex_lock(&box->lock);
    attr_get(&box->dir, ret_attr);
    pthread_mutex_unlock(&box->lock);
    /* Its own, its parent's entry for it, and those of the directories in it. */
    ret_attr->st_nlink = 2;
    for (unsigned int i = 0; i < BOX_N_FILES; i++)
        ret_attr->st_nlink += has_file(box, i) && S_ISDIR(kinds[i].mode);
}

void box_change_dir(struct box *box, const struct node_change *change)
{
    struct node_change owner = { .attr = change->attr };

    owner.to_set = change->to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID);
    attr_change(&box->dir, change);
    for (unsigned int i = 0; i < BOX_N_FILES && owner.to_set; i++)
        attr_change(&box->files[i], &owner);
}

/* @uid and @gid are going to own it. Return: 0; a negative errno: they are not. */
static int hand_over(struct box *box, uid_t uid, gid_t gid)
{
    uid_t before = box_uid(box);
    int r = 0;

    if (box->kind->counts_for_owner)
        r = box_move_charge(box, uid);
    if (r < 0 || !box->kind->set_owner)
        return r;
    r = box->kind->set_owner(box, uid, gid);
    /* Where that fails too it counts for who was to own it, until it is removed. */
    if (r < 0 && box->kind->counts_for_owner)
        box_move_charge(box, before);
    return r;
}

static int set_owner(struct box *box, const struct node_change *change)
{
    uid_t uid;
    gid_t gid;

    if (!(change->to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)))
        return 0;
    pthread_mutex_lock(&box->lock);
    uid = change->to_set & FUSE_SET_ATTR_UID ? change->attr.st_uid : box->dir.uid;
    gid = change->to_set & FUSE_SET_ATTR_GID ? change->attr.st_gid : box->dir.gid;
    pthread_mutex_unlock(&box->lock);
    return hand_over(box, uid, gid);
}

static int dir_setattr(struct node *dir, const struct node_change *change)
{
    box_auto *box = box_pass(dir->object);
    int r = box ? box_use(box, box_uid(box)) : -ENOENT;

    if (r == 0)
        r = set_owner(box, change);
    if (r < 0)
        return r;
    pthread_mutex_lock(&box->lock);
    box_change_dir(box, change);
    pthread_mutex_unlock(&box->lock);
    return 0;
}

static const struct node_ops dir_ops = {
    .getattr = dir_getattr,
    .setattr = dir_setattr,
    .release = release,
    .lookup_for = dir_lookup,
    .list = dir_list,
};

int box_node(struct kernel *kernel, struct box *box, struct node **ret_node)
{
    struct door *door;
    int r = box_add_node(box, &door);

    if (r < 0)
        return r == -ESTALE ? -ENOENT : r;
    r = node_obtain(&kernel->nodes, &dir_ops, door, &door->dir_node, ret_node);
    if (r < 0)
        door_remove_node(door);
    return r;
}
