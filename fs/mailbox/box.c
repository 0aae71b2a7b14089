/* The state of a box: who may do what with it, whose it is and for whom it counts, and what is kept of each
 * of its files. It knows no file by name.
 *
 * Attributes of a file that only the kernel changes could be cached there. Those of these files are
 * not: a chown of the directory carries them along, and one file may have several nodes. */
#include "box.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>

#include "core/mailbox/mbox_keep.h"
#include "fs/kernel/kernel.h"
#include "fs/kernel/text.h"

#define ALL_SEARCH 0111

void boxes_init(struct boxes *boxes, struct kernel *kernel, struct mbox_domain *domain)
{
    boxes->kernel = kernel;
    boxes->domain = domain;
    drop_names_init(&boxes->drop_names);
    drop_dirs_init(&boxes->drop_dirs);
}

void boxes_deinit(struct boxes *boxes)
{
    drop_names_deinit(&boxes->drop_names);
    drop_dirs_deinit(&boxes->drop_dirs);
}

static void box_release(struct mbox *mbox)
{
    struct box *box = box_of(mbox);

    box->kind->free(box);
}

static struct quota *box_quota_of(struct box *box)
{
    return &box->mbox.domain->quota;
}

/* Under the mailbox's lock. */
static void box_ended(struct mbox *mbox)
{
    struct box *box = box_of(mbox);

    pthread_mutex_lock(&box->lock);
    quota_release_kept(box_quota_of(box), box->charged_uid, box->n_kept, QUOTA_MADE);
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
        box->door = door_new(&box->mbox, box->kind, box_n_files(box->kind));
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

struct node *const *box_file_slot(struct box *box, const struct box_file *file)
{
    struct door *door = door_of(box);

    return door ? &door->file_nodes[box_file_index(box->kind, file)] : NULL;
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
    r = quota_move_kept(box_quota_of(box), box->charged_uid, uid, box->n_kept);
    if (r == 0)
        box->charged_uid = uid;
    pthread_mutex_unlock(&box->lock);
    return r;
}

mode_t box_bits_for_searchers(mode_t mode, mode_t bits)
{
    mode_t classes = mode & ALL_SEARCH;

    return (classes | classes << 1 | classes << 2) & bits;
}

/* Return: file @i of the table of all, or of those of its own, whether it has it or not. */
static const struct box_file *file_at(const struct box_kind *kind, unsigned int i)
{
    return i < kind->files->n ? &kind->files->list[i] : &kind->own.list[i - kind->files->n];
}

static void init_files(struct box *box, mode_t senders, const struct caller *owner, uint64_t ino)
{
    for (unsigned int i = 0; i < box_n_files(box->kind); i++) {
        const struct box_file *file = file_at(box->kind, i);

        attr_init(&box->files[i], ino + i,
                  file->mode | box_bits_for_searchers(senders, file->searchers), owner->uid,
                  owner->gid);
    }
}

unsigned int box_n_inos(const struct box_kind *kind)
{
    return 1 + box_n_files(kind);
}

struct box *box_new(struct boxes *boxes, const struct box_kind *kind, mode_t mode, mode_t senders,
                    const struct caller *owner, uint64_t ino)
{
    /* What is kept of the files is behind the kind's struct. */
    size_t size = (kind->size + alignof(struct attr) - 1) & ~(alignof(struct attr) - 1);
    struct box *box;

    assert(box_n_files(kind) <= BOX_N_FILES_MAX);
    box = calloc(1, size + box_n_files(kind) * sizeof(*box->files));
    if (!box)
        return NULL;
    if (ino == 0)
        ino = nodes_new_inos(&boxes->kernel->nodes, box_n_inos(kind));
    mbox_init(&box->mbox, boxes->domain, box_release);
    box->mbox.ended = box_ended;
    pthread_mutex_init(&box->lock, NULL);
    box->kind = kind;
    box->boxes = boxes;
    box->files = (struct attr *)((char *)box + size);
    box->owner_pidfd = -1;
    attr_init(&box->dir, ino, S_IFDIR | (mode & 07777), owner->uid, owner->gid);
    init_files(box, senders, owner, ino + 1);
    return box;
}

void box_discard(struct box *box)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    mbox_remove(&box->mbox, true, &ready);
    mbox_ready_run(&ready);
    mbox_unref(&box->mbox);
}

int box_keep(struct box *box, enum journal_kind kind, struct mbox *parent)
{
    int r = mbox_keep(&box->mbox, kind, parent);

    if (r < 0)
        box_discard(box);
    return r;
}

void box_free(struct box *box)
{
    if (box->door)
        door_disown(box->door);
    mbox_deinit(&box->mbox);
    pthread_mutex_destroy(&box->lock);
    free(box);
}

int box_admit(struct box *box, const struct caller *caller)
{
    return box->kind->admit(box, caller);
}

static void file_notice_end(struct file *file)
{
    struct box *box = box_of(file->out ? file->out : file->mbox);

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

void box_change_dir(struct box *box, const struct node_change *change)
{
    struct node_change owner = { .attr = change->attr };
    mode_t before = box->dir.mode;

    owner.to_set = change->to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID);
    attr_change(&box->dir, change);
    for (unsigned int i = 0; i < box_n_files(box->kind) && owner.to_set; i++)
        attr_change(&box->files[i], &owner);
    if (change->to_set & FUSE_SET_ATTR_MODE && box->kind->follow_mode)
        box->kind->follow_mode(box, before);
}

/* @uid and @gid are going to own it. Return: 0; a negative errno: they are not. */
static int box_hand_to(struct box *box, uid_t uid, gid_t gid)
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

int box_hand_over(struct box *box, const struct node_change *change)
{
    uid_t uid;
    gid_t gid;

    if (!(change->to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)))
        return 0;
    pthread_mutex_lock(&box->lock);
    uid = change->to_set & FUSE_SET_ATTR_UID ? change->attr.st_uid : box->dir.uid;
    gid = change->to_set & FUSE_SET_ATTR_GID ? change->attr.st_gid : box->dir.gid;
    pthread_mutex_unlock(&box->lock);
    return box_hand_to(box, uid, gid);
}

/* --- Its files --- */

const struct box_file *box_file_at(const struct box_kind *kind, unsigned int i)
{
    const struct box_file *file = file_at(kind, i);

    return i >= kind->files->n || file->classes & kind->classes ? file : NULL;
}

unsigned int box_file_index(const struct box_kind *kind, const struct box_file *file)
{
    for (unsigned int i = 0; i < kind->own.n; i++) {
        if (file == &kind->own.list[i])
            return kind->files->n + i;
    }
    return (unsigned int)(file - kind->files->list);
}

struct attr *box_file_kept(struct box *box, const struct box_file *file)
{
    return &box->files[box_file_index(box->kind, file)];
}

/* A file was last changed by the last message that went through it. */
static void show_traffic(struct box *box, enum box_file_shows shows, struct stat *attr)
{
    const struct timespec *last;
    struct mbox_stat stat;

    if (mbox_get_stat(&box->mbox, &stat) < 0)
        return;
    last = shows == BOX_SHOWS_SENDING ? &stat.last_send : &stat.last_receive;
    if (last->tv_sec > attr->st_mtim.tv_sec ||
        (last->tv_sec == attr->st_mtim.tv_sec && last->tv_nsec > attr->st_mtim.tv_nsec))
        attr->st_mtim = *last;
}

void box_file_attr(struct box *box, const struct box_file *file, struct stat *ret_attr)
{
    pthread_mutex_lock(&box->lock);
    attr_get(box_file_kept(box, file), ret_attr);
    pthread_mutex_unlock(&box->lock);
    ret_attr->st_blksize = BOX_IO_BYTES;
    if (file->shows == BOX_SHOWS_SENDING)
        ret_attr->st_size = BOX_SEND_SIZE_BYTES;
    else if (file->shows == BOX_SHOWS_TEXT)
        text_set_size(ret_attr, TEXT_SIZE_BYTES);
    if (S_ISDIR(ret_attr->st_mode))
        ret_attr->st_nlink = 2;
    if (file->shows == BOX_SHOWS_SENDING || file->shows == BOX_SHOWS_RECEIVING)
        show_traffic(box, file->shows, ret_attr);
}

void box_gone_attr(struct door *door, const struct box_file *file, struct stat *ret_attr)
{
    attr_get(&door->attr, ret_attr);
    ret_attr->st_ino += 1 + box_file_index(door->kind, file);
    ret_attr->st_mode = file->mode;
    ret_attr->st_nlink = 0;
}

int box_change_file(struct box *box, const struct box_file *file, const struct node_change *change)
{
    /* Its owner does, or root for him. */
    int r = box_use(box, box_uid(box));

    if (r < 0)
        return r;
    pthread_mutex_lock(&box->lock);
    attr_change(box_file_kept(box, file), change);
    pthread_mutex_unlock(&box->lock);
    return 0;
}
