/* The directory proc/, and what a process is as a box: it has a mailbox's files but `owner`, and link/. */
#include "procs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/kernel/caller.h"
#include "fs/kernel/kernel.h"
#include "fs/mailbox/box_dir.h"
#include "fs/mailbox/box_files.h"
#include "link_dir.h"

#define SELF "self"

static const struct box_file procs_files[] = {
    /* The first (process.h). */
    { .name = "link",
      .mode = S_IFDIR | 0500,
      .is_searched = true,
      .ops = { BOX_FILE_COMMON_OPS, .lookup_for = link_dir_lookup, .list = link_dir_list,
               .create = link_dir_create } },
};

static const struct box_kind process_kind = {
    .size = sizeof(struct process),
    .files = &box_files,
    .classes = BOX_MAILBOX,
    .own = { procs_files, sizeof(procs_files) / sizeof(procs_files[0]) },
    .admit = process_admit,
    .use = process_use,
    .notice_end = process_notice_end,
    .refresh = process_refresh,
    .tell_name = process_tell_name,
    .free = process_free,
};

int procs_init(struct procs *procs, struct boxes *boxes, mode_t mode, const struct caller *owner)
{
    room_init(&procs->room, &boxes->kernel->nodes, mode, owner);
    return processes_init(&procs->processes, boxes, &process_kind, &procs->room.node);
}

void procs_deinit(struct procs *procs)
{
    processes_deinit(&procs->processes);
    room_deinit(&procs->room);
}

static struct procs *procs_of(struct node *dir)
{
    return (struct procs *)((char *)dir->object - offsetof(struct procs, room));
}

static void self_getattr(struct node *node, struct stat *ret_attr)
{
    room_getattr(node, ret_attr);
    ret_attr->st_ino++;
    ret_attr->st_mode = S_IFLNK | 0777;
    ret_attr->st_nlink = 1;
}

static int self_readlink(struct node *node, const struct caller *caller,
                         char target[NODE_TARGET_MAX])
{
    pid_t pid = caller_process(caller->tid, 0);

    (void)node;
    /* In a pid namespace that is not in sight. */
    if (pid == 0)
        return -ESRCH;
    snprintf(target, NODE_TARGET_MAX, "%d", (int)pid);
    return 0;
}

static const struct node_ops self_ops = {
    .getattr = self_getattr,
    .readlink = self_readlink,
};

static int procs_lookup(struct node *dir, const char *name, const struct caller *caller,
                        struct node **ret_node)
{
    struct process *process;
    pid_t pid;
    int r;

    if (strcmp(name, SELF) == 0)
        return node_obtain(&dir->kernel->nodes, &self_ops, dir->object, NULL, ret_node);
    pid = process_parse_pid(name);
    r = pid ? processes_find(&procs_of(dir)->processes, pid, caller->uid, &process) : -ENOENT;
    if (r < 0)
        return r;
    r = box_dir_node(&process->box, ret_node);
    /* Who ended it before that found no node, and did not tell the kernel of the deletion. */
    if (r == 0 && process_has_ended(process)) {
        node_forget(&dir->kernel->nodes, (*ret_node)->id, 1);
        r = -ENOENT;
    }
    mbox_unref(&process->box.mbox);
    return r;
}

static int procs_add_to_listing(struct process *process, void *listing)
{
    char name[PROCESS_PID_TEXT_MAX];

    if (!process_is_alive(process))
        return 0;
    process_format_pid(process->pid, name);
    return listing_add(listing, name, process->box.dir.ino, S_IFDIR);
}

static int procs_list(struct node *dir, struct listing *listing)
{
    struct room *room = dir->object;
    int r = listing_add(listing, SELF, room->attr.ino + 1, S_IFLNK);

    return r < 0 ? r : processes_each(&procs_of(dir)->processes, procs_add_to_listing, listing);
}

static void procs_getattr(struct node *dir, struct stat *ret_attr)
{
    room_getattr(dir, ret_attr);
    ret_attr->st_nlink += processes_count(&procs_of(dir)->processes);
}

const struct node_ops procs_ops = {
    .getattr = procs_getattr,
    .setattr = room_setattr,
    .lookup_for = procs_lookup,
    .list = procs_list,
};
