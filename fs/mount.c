#include "mount.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/mailbox/box.h"

int fs_init(struct fs *fs, const struct fs_options *options)
{
    struct caller owner = { .uid = geteuid(), .gid = getegid() };
    int r;

    *fs = (struct fs){ 0 };
    mbox_domain_init(&fs->domain, options->max_bytes, options->uid_bytes);
    kernel_init(&fs->kernel, &fs->domain.quota, options->max_bytes);
    fs->kernel.backing.is_wanted = !options->no_passthrough;
    names_init(&fs->names);
    names_init(&fs->rings);
    ring_waiters_init(&fs->ring_waiters, 0);
    ring_dir_init(&fs->ring_dir);
    drop_names_init(&fs->drop_names);
    drop_dirs_init(&fs->drop_dirs);
    r = processes_init(&fs->processes);
    return r < 0 ? r : tree_init(&fs->tree, &fs->kernel, &owner);
}

/* The directories in a box's in which something is found. */
static const enum box_file subdirs[] = { BOX_QUEUE, BOX_LINK };

#define N_SUBDIRS (sizeof(subdirs) / sizeof(subdirs[0]))

/* First its files: the kernel does not delete a directory with something in it. Who looks for a name in a
 * directory that has been forgotten would also keep that: to forget any name in there waits for those who
 * do, and who looks later finds nothing (box_check). */
static void add_contents(struct notice *notice, struct kernel *kernel, struct box *box,
                         uint64_t dir)
{
    char name[16];

    for (unsigned int i = 0; i < N_SUBDIRS; i++) {
        uint64_t subdir = node_slot_id(&kernel->nodes, box_file_slot(box, subdirs[i]));

        if (subdir)
            notice_add_expiry(notice, subdir, ".");
    }
    for (unsigned int i = 0; i < BOX_N_FILES; i++)
        notice_add_expiry(notice, dir, box_file_name((enum box_file)i));
    for (unsigned int prio = 0; prio < MSG_N_PRIOS && box->has_prios; prio++) {
        snprintf(name, sizeof(name), "send.%u", prio);
        notice_add_expiry(notice, dir, name);
    }
}

void fs_announce_deletion(struct kernel *kernel, struct box *box, struct node *const *parent,
                          const char *name)
{
    uint64_t parent_id = node_slot_id(&kernel->nodes, parent);
    uint64_t dir = node_slot_id(&kernel->nodes, box_dir_slot(box));
    struct notice *notice;

    if (!parent_id || !dir)
        return;
    notice = notice_new(&kernel->notify, box_uid(box));
    if (!notice)
        return;
    add_contents(notice, kernel, box, dir);
    notice_add_deletion(notice, parent_id, dir, name);
    notice_give(notice);
}

void fs_announce_expiry(struct kernel *kernel, uid_t uid, struct node *const *parent,
                        const char *name)
{
    uint64_t parent_id = node_slot_id(&kernel->nodes, parent);
    struct notice *notice = parent_id ? notice_new(&kernel->notify, uid) : NULL;

    notice_add_expiry(notice, parent_id, name);
    notice_give(notice);
}

void fs_remove_box(struct kernel *kernel, struct box *box, struct mbox_ready *ready)
{
    struct fs *fs = fs_of(kernel);
    char name[NAME_BYTES_MAX + 1];

    if (names_remove_mbox(&fs->names, &box->mbox, name, ready) < 0)
        return;
    room_touch(&fs->tree.mboxes);
    fs_announce_deletion(kernel, box, &fs->tree.mboxes.node, name);
}

void fs_end_mailboxes(struct fs *fs)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    /* Nobody may soon answer what the kernel may need to know to take a notice. */
    fs->is_stuck = !notify_stop(&fs->kernel.notify);
    names_remove_all(&fs->names, &ready);
    names_remove_all(&fs->rings, &ready);
    processes_end_all(&fs->kernel, &ready);
    mbox_ready_run(&ready);
    locks_end_waiting(&fs->kernel.locks);
}

bool fs_stop(struct fs *fs)
{
    if (fs->is_stopped)
        return !fs->is_stuck;
    fs->is_stopped = true;
    fs_end_mailboxes(fs);
    processes_stop(&fs->processes);
    inquiries_stop(&fs->kernel.inquiries);
    ring_waiters_deinit(&fs->ring_waiters);
    deferred_stop(&fs->kernel.deferred);
    log_stop(&fs->kernel.log);
    return !fs->is_stuck;
}

void fs_deinit(struct fs *fs)
{
    fs_stop(fs);
    kernel_let_go(&fs->kernel);
    drop_names_deinit(&fs->drop_names);
    drop_dirs_deinit(&fs->drop_dirs);
    shm_deinit(&fs->shm);
    tree_deinit(&fs->tree);
    names_deinit(&fs->names);
    names_deinit(&fs->rings);
    ring_dir_deinit(&fs->ring_dir);
    processes_deinit(&fs->processes);
    kernel_deinit(&fs->kernel);
    mbox_domain_deinit(&fs->domain);
}
