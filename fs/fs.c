#include "fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "box.h"

int fs_init(struct fs *fs, const struct fs_options *options)
{
    struct caller owner = { .uid = geteuid(), .gid = getegid() };
    int r;

    *fs = (struct fs){
        .max_bytes = options->max_bytes,
        .is_passthrough_wanted = !options->no_passthrough,
    };
    mbox_domain_init(&fs->domain, options->max_bytes, options->uid_bytes);
    names_init(&fs->names);
    names_init(&fs->rings);
    ring_waiters_init(&fs->ring_waiters, 0);
    ring_dir_init(&fs->ring_dir);
    regions_init(&fs->regions);
    nodes_init(&fs->nodes);
    files_init(&fs->files);
    listings_init(&fs->listings);
    deferred_init(&fs->deferred);
    prune_init(&fs->prune);
    pthread_mutex_init(&fs->telling, NULL);
    r = processes_init(&fs->processes);
    return r < 0 ? r : tree_init(&fs->tree, fs, &owner);
}

/* The directories in a box's in which something is found. */
static const enum box_file subdirs[] = { BOX_QUEUE, BOX_LINK };

#define N_SUBDIRS (sizeof(subdirs) / sizeof(subdirs[0]))

/* What the kernel is to be told about a directory of mbox/ or proc/. */
struct notice {
    struct deferred_work work;
    struct fs *fs;
    void (*tell)(const struct notice *notice);
    uint64_t parent;
    /* Of one that is gone: */
    uint64_t child;
    uint64_t subdirs[N_SUBDIRS];
    bool has_prios; /* somebody has looked for send.N */
    char name[];
};

static void forget(const struct notice *notice, uint64_t dir, const char *name)
{
    fuse_lowlevel_notify_inval_entry(notice->fs->session, dir, name, strlen(name));
}

static void tell_expiry(const struct notice *notice)
{
    forget(notice, notice->parent, notice->name);
}

/* First its files: the kernel does not delete a directory with something in it. What it does not
 * delete it is to forget, or it would keep that for long. Who looks for a name in a directory that has
 * been forgotten would also keep that: to forget any name in there waits for those who do, and who
 * looks later finds nothing (box_check). */
static void tell_deletion(const struct notice *notice)
{
    char name[16];

    for (unsigned int i = 0; i < N_SUBDIRS; i++) {
        if (notice->subdirs[i])
            forget(notice, notice->subdirs[i], ".");
    }
    for (unsigned int i = 0; i < BOX_N_FILES; i++)
        forget(notice, notice->child, box_file_name((enum box_file)i));
    for (unsigned int prio = 0; prio < MSG_N_PRIOS && notice->has_prios; prio++) {
        snprintf(name, sizeof(name), "send.%u", prio);
        forget(notice, notice->child, name);
    }
    if (fuse_lowlevel_notify_delete(notice->fs->session, notice->parent, notice->child,
                                    notice->name, strlen(notice->name)) == -ENOTEMPTY)
        tell_expiry(notice);
}

static void tell(struct deferred_work *work)
{
    struct notice *notice = (struct notice *)work;
    struct fs *fs = notice->fs;

    pthread_mutex_lock(&fs->telling);
    if (!fs->is_ending)
        notice->tell(notice);
    pthread_mutex_unlock(&fs->telling);
    free(notice);
}

/* Return: a notice about @name in the directory of @parent's node; NULL: nobody is to be told, or
 * memory is short: who looks finds what there is all the same. */
static struct notice *notice_new(struct fs *fs, void (*tell_it)(const struct notice *notice),
                                 struct node *const *parent, const char *name)
{
    uint64_t parent_id = node_slot_id(fs, parent);
    size_t name_size = strlen(name) + 1;
    struct notice *notice;

    if (parent_id == 0 || !fs->session)
        return NULL;
    notice = calloc(1, sizeof(*notice) + name_size);
    if (!notice)
        return NULL;
    notice->work.run = tell;
    notice->tell = tell_it;
    notice->fs = fs;
    notice->parent = parent_id;
    memcpy(notice->name, name, name_size);
    return notice;
}

void fs_announce_deletion(struct fs *fs, struct box *box, struct node *const *parent,
                          const char *name)
{
    uint64_t child = node_slot_id(fs, &box->dir_node);
    struct notice *notice = child ? notice_new(fs, tell_deletion, parent, name) : NULL;

    if (!notice)
        return;
    notice->child = child;
    notice->has_prios = box->has_prios;
    for (unsigned int i = 0; i < N_SUBDIRS; i++)
        notice->subdirs[i] = node_slot_id(fs, &box->file_nodes[subdirs[i]]);
    deferred_add(&fs->deferred, &notice->work);
}

void fs_announce_expiry(struct fs *fs, struct node *const *parent, const char *name)
{
    struct notice *notice = notice_new(fs, tell_expiry, parent, name);

    if (notice)
        deferred_add(&fs->deferred, &notice->work);
}

void fs_remove_box(struct fs *fs, struct box *box, struct mbox_ready *ready)
{
    char name[NAME_BYTES_MAX + 1];

    if (names_remove_mbox(&fs->names, &box->mbox, name, ready) < 0)
        return;
    room_touch(&fs->tree.mboxes);
    fs_announce_deletion(fs, box, &fs->tree.mboxes.node, name);
}

void fs_end_mailboxes(struct fs *fs)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    pthread_mutex_lock(&fs->telling);
    fs->is_ending = true;
    pthread_mutex_unlock(&fs->telling);
    names_remove_all(&fs->names, &ready);
    names_remove_all(&fs->rings, &ready);
    processes_end_all(fs, &ready);
    mbox_ready_run(&ready);
}

void fs_stop(struct fs *fs)
{
    if (fs->is_stopped)
        return;
    fs->is_stopped = true;
    fs_end_mailboxes(fs);
    processes_stop(&fs->processes);
    ring_waiters_deinit(&fs->ring_waiters);
    deferred_stop(&fs->deferred);
}

void fs_deinit(struct fs *fs)
{
    fs_stop(fs);
    files_deinit(&fs->files);
    listings_deinit(&fs->listings);
    nodes_deinit(&fs->nodes);
    regions_deinit(&fs->regions);
    tree_deinit(&fs->tree);
    names_deinit(&fs->names);
    names_deinit(&fs->rings);
    ring_dir_deinit(&fs->ring_dir);
    processes_deinit(&fs->processes);
    prune_deinit(&fs->prune);
    deferred_deinit(&fs->deferred);
    pthread_mutex_destroy(&fs->telling);
    mbox_domain_deinit(&fs->domain);
}
