/* A box that is gone takes all its names along, in the order in which the kernel can let go of them. */
#include "box_notice.h"

#include <stdio.h>

#include "fs/kernel/kernel.h"

static void add_file(struct notice *notice, struct box *box, const struct box_file *file,
                     uint64_t dir)
{
    char name[32];

    notice_add_expiry(notice, dir, file->name);
    if (file->second_name && box->has_second_names)
        notice_add_expiry(notice, dir, file->second_name);
    for (unsigned int prio = 0; prio < MSG_N_PRIOS && file->has_prios && box->has_prios; prio++) {
        snprintf(name, sizeof(name), "%s.%u", file->name, prio);
        notice_add_expiry(notice, dir, name);
    }
}

/* First its files: the kernel does not delete a directory with something in it. Who looks for a name in a
 * directory that has been forgotten would also keep that: to forget any name in there waits for those who
 * do, and who looks later finds nothing (box_check). */
static void add_contents(struct notice *notice, struct box *box, uint64_t dir)
{
    struct nodes *nodes = &box->boxes->kernel->nodes;
    unsigned int n_files = box_n_files(box->kind);

    for (unsigned int i = 0; i < n_files; i++) {
        const struct box_file *file = box_file_at(box->kind, i);
        uint64_t subdir = file && file->is_searched ? node_slot_id(nodes, box_file_slot(box, file))
                                                    : 0;

        if (subdir)
            notice_add_expiry(notice, subdir, ".");
    }
    for (unsigned int i = 0; i < n_files; i++) {
        const struct box_file *file = box_file_at(box->kind, i);

        if (file)
            add_file(notice, box, file, dir);
    }
}

void box_tell_deletion(struct box *box, struct node *const *parent, const char *name)
{
    struct kernel *kernel = box->boxes->kernel;
    uint64_t parent_id = node_slot_id(&kernel->nodes, parent);
    uint64_t dir = node_slot_id(&kernel->nodes, box_dir_slot(box));
    struct notice *notice;

    if (!parent_id || !dir)
        return;
    notice = notice_new(&kernel->notify, box_uid(box));
    if (!notice)
        return;
    add_contents(notice, box, dir);
    notice_add_deletion(notice, parent_id, dir, name);
    notice_give(notice);
}

void box_tell_expiry(struct kernel *kernel, uid_t uid, struct node *const *parent, const char *name)
{
    uint64_t parent_id = node_slot_id(&kernel->nodes, parent);
    struct notice *notice = parent_id ? notice_new(&kernel->notify, uid) : NULL;

    notice_add_expiry(notice, parent_id, name);
    notice_give(notice);
}
