#include "procs.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fs/kernel/caller.h"
#include "core/base/size.h"
#include "fs/mount.h"
#include "fs/kernel/listing.h"
#include "fs/kernel/room.h"

#define SELF "self"

pid_t procs_parse_pid(const char *name)
{
    uint64_t pid;

    if (name[0] == '0' || count_parse(name, strlen(name), &pid) < 0 || pid > INT_MAX)
        return 0;
    return (pid_t)pid;
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

static int lookup(struct node *dir, const char *name, const struct caller *caller,
                  struct node **ret_node)
{
    struct process *process;
    pid_t pid;
    int r;

    if (strcmp(name, SELF) == 0)
        return node_obtain(&dir->kernel->nodes, &self_ops, dir->object, NULL, ret_node);
    pid = procs_parse_pid(name);
    r = pid ? process_find(dir->kernel, pid, caller->uid, &process) : -ENOENT;
    if (r < 0)
        return r;
    r = box_node(dir->kernel, &process->box, ret_node);
    /* Who ended it before that found no node, and did not tell the kernel of the deletion. */
    if (r == 0 && process_has_ended(process)) {
        node_forget(&dir->kernel->nodes, (*ret_node)->id, 1);
        r = -ENOENT;
    }
    mbox_unref(&process->box.mbox);
    return r;
}

static int add_to_listing(struct process *process, void *listing)
{
    char name[16];

    if (!process_is_alive(process))
        return 0;
    snprintf(name, sizeof(name), "%d", (int)process->pid);
    return listing_add(listing, name, process->box.dir.ino, S_IFDIR);
}

static int list(struct node *dir, struct listing *listing)
{
    struct room *room = dir->object;
    int r = listing_add(listing, SELF, room->attr.ino + 1, S_IFLNK);

    return r < 0 ? r : processes_each(&fs_of(dir->kernel)->processes, add_to_listing, listing);
}

static void getattr(struct node *dir, struct stat *ret_attr)
{
    room_getattr(dir, ret_attr);
    ret_attr->st_nlink += processes_count(&fs_of(dir->kernel)->processes);
}

const struct node_ops procs_ops = {
    .getattr = getattr,
    .setattr = room_setattr,
    .lookup_for = lookup,
    .list = list,
};
