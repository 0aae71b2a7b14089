/* The nodes of a box: its directory, and what all its files' nodes have in common.
 *
 * Which files there are, and what each is, the box's kind says (struct box_file): nothing here knows one by
 * name. */
#include "box_dir.h"

#include <errno.h>
#include <string.h>

#include "core/base/size.h"
#include "core/mailbox/mbox_keep.h"
#include "fs/kernel/kernel.h"

void box_file_release(struct node *node)
{
    door_remove_node(node->object);
}

void box_file_getattr(struct node *node, struct stat *ret_attr)
{
    box_auto *box = box_pass(node->object);

    if (!box) {
        box_gone_attr(node->object, box_file_of(node), ret_attr);
        return;
    }
    box_refresh(box);
    box_file_attr(box, box_file_of(node), ret_attr);
}

int box_file_setattr(struct node *node, const struct node_change *change)
{
    box_auto *box = box_pass(node->object);

    int r = box ? box_change_file(box, box_file_of(node), change) : -ENOENT;

    if (r == 0)
        mbox_note_attributes(&box->mbox);
    return r;
}

int box_file_open(struct node *node, int flags, const struct caller *caller, struct file **ret_file)
{
    box_auto *box = box_pass(node->object);
    struct file *file;
    int r = box ? box_file_of(node)->open(node, box, flags, caller, &file) : -ENOENT;

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

/* Reads "NAME.N" of a file called NAME, N from 0 to MSG_N_PRIOS - 1 without leading zeros. */
static bool parse_prio(const char *name, const char *file_name, unsigned int *ret_prio)
{
    size_t length = strlen(file_name);
    const char *digits = name + length + 1;
    uint64_t prio;

    if (strncmp(name, file_name, length) != 0 || name[length] != '.')
        return false;
    if (count_parse(digits, strlen(digits), &prio) < 0 || prio >= MSG_N_PRIOS)
        return false;
    if (digits[0] == '0' && digits[1])
        return false;
    *ret_prio = (unsigned int)prio;
    return true;
}

/* What has no messages of the daemon's knows no priorities. */
static bool is_prio_of(struct box *box, const struct box_file *file, const char *name,
                       unsigned int *ret_prio)
{
    if (!file->has_prios || !(box->kind->classes & BOX_POSTED))
        return false;
    if (!parse_prio(name, file->name, ret_prio))
        return false;
    box->has_prios = true;
    return true;
}

static bool is_second_name_of(struct box *box, const struct box_file *file, const char *name,
                              unsigned int *ret_prio)
{
    if (!file->second_name || strcmp(name, file->second_name) != 0)
        return false;
    *ret_prio = 1;
    box->has_second_names = true;
    return true;
}

static bool file_is_called(struct box *box, const struct box_file *file, const char *name,
                           unsigned int *ret_prio)
{
    return strcmp(name, file->name) == 0 || is_prio_of(box, file, name, ret_prio) ||
           is_second_name_of(box, file, name, ret_prio);
}

/* Return: the file called @name; NULL: there is none. */
static const struct box_file *find_file(struct box *box, const char *name, unsigned int *ret_prio)
{
    *ret_prio = 0;
    for (unsigned int i = 0; i < box_n_files(box->kind); i++) {
        const struct box_file *file = box_file_at(box->kind, i);

        if (file && file_is_called(box, file, name, ret_prio))
            return file;
    }
    return NULL;
}

/* Return: 0 with a node for @file of @box: the one that it has, or, where it @is_fresh, a new one. */
static int get_file_node(struct box *box, const struct box_file *file, bool is_fresh,
                         struct node **ret_node)
{
    struct door *door;
    int r = box_add_node(box, &door);

    if (r < 0)
        return r;
    r = node_obtain(&box->boxes->kernel->nodes, &file->ops, door,
                    is_fresh ? NULL : &door->file_nodes[box_file_index(box->kind, file)], ret_node);
    if (r < 0)
        door_remove_node(door);
    return r;
}

static int dir_lookup(struct node *dir, const char *name, const struct caller *caller,
                      struct node **ret_node)
{
    box_auto *box = box_pass(dir->object);
    const struct box_file *file;
    unsigned int prio;
    bool is_fresh;
    int r = box ? box_check(box) : -ESTALE;

    if (r < 0)
        return r;
    file = find_file(box, name, &prio);
    if (!file)
        return -ENOENT;
    if (file->lookup)
        return file->lookup(box, ret_node);
    is_fresh = file->is_fresh && file->is_fresh(box, caller);
    r = get_file_node(box, file, is_fresh, ret_node);
    /* A new one, that the kernel has not heard of yet: nobody else sees it. */
    if (r == 0 && is_fresh)
        (*ret_node)->prio = prio;
    return r;
}

static mode_t type_of(struct box *box, unsigned int i)
{
    mode_t mode;

    pthread_mutex_lock(&box->lock);
    mode = box->files[i].mode;
    pthread_mutex_unlock(&box->lock);
    return mode & S_IFMT;
}

static int dir_list(struct node *dir, struct listing *listing)
{
    box_auto *box = box_pass(dir->object);
    int r = 0;

    for (unsigned int i = 0; box && i < box_n_files(box->kind) && r == 0; i++) {
        const struct box_file *file = box_file_at(box->kind, i);

        if (file)
            r = listing_add(listing, file->name, box->files[i].ino, type_of(box, i));
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
    for (unsigned int i = 0; i < box_n_files(box->kind); i++) {
        const struct box_file *file = box_file_at(box->kind, i);

        ret_attr->st_nlink += file && S_ISDIR(file->mode);
    }
}

static int dir_setattr(struct node *dir, const struct node_change *change)
{
    box_auto *box = box_pass(dir->object);
    int r = box ? box_use(box, box_uid(box)) : -ENOENT;

    if (r == 0)
        r = box_hand_over(box, change);
    if (r < 0)
        return r;
    pthread_mutex_lock(&box->lock);
    box_change_dir(box, change);
    pthread_mutex_unlock(&box->lock);
    mbox_note_attributes(&box->mbox);
    return 0;
}

static const struct node_ops dir_ops = {
    .getattr = dir_getattr,
    .setattr = dir_setattr,
    .release = box_file_release,
    .lookup_for = dir_lookup,
    .list = dir_list,
};

int box_dir_node(struct box *box, struct node **ret_node)
{
    struct door *door;
    int r = box_add_node(box, &door);

    if (r < 0)
        return r == -ESTALE ? -ENOENT : r;
    r = node_obtain(&box->boxes->kernel->nodes, &dir_ops, door, &door->dir_node, ret_node);
    if (r < 0)
        door_remove_node(door);
    return r;
}
