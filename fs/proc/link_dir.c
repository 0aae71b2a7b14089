/* The directory `link/` of a process: link/PEER is its end of the link to process PEER. Nodes know the two
 * processes, not the link. */
#include "link_dir.h"

#include <errno.h>

#include "fs/kernel/kernel.h"
#include "link.h"
#include "processes.h"

/* Return: 0: @caller may open the end of @name, and both processes are in use; a negative errno. */
static int check_open(const struct end_name *name, const struct caller *caller)
{
    int r = box_admit(&name->process->box, caller);

    /* First the one that may have ended meanwhile. */
    if (r == 0)
        r = box_use(&name->peer->box, caller->uid);
    if (r == 0)
        r = box_use(&name->process->box, caller->uid);
    return r;
}

static int end_open(struct node *node, int flags, const struct caller *caller,
                    struct file **ret_file)
{
    const struct end_name *name = node->object;
    int r = check_open(name, caller);

    (void)flags;
    return r != 0 ? r : link_open(name, caller->uid, ret_file);
}

static uint64_t link_dir_ino_of(pid_t pid, pid_t peer)
{
    /* Multiplied by an odd number near 2^64 over the golden ratio, the high bits depend on all of both. */
    uint64_t hash = ((uint64_t)pid << 32 | (uint32_t)peer) * UINT64_C(0x9e3779b97f4a7c15);

    return NODE_INO_LINKS + (hash >> (64 - NODE_INO_LINK_BITS));
}

/* As its directory, but a file that is read and written. */
static void end_getattr(struct node *node, struct stat *ret_attr)
{
    const struct end_name *name = node->object;

    box_refresh(&name->process->box);
    box_file_attr(&name->process->box, process_link_file(name->process), ret_attr);
    ret_attr->st_ino = link_dir_ino_of(name->process->pid, name->peer->pid);
    ret_attr->st_mode = S_IFREG | 0600;
    ret_attr->st_nlink = 1;
    ret_attr->st_size = BOX_SEND_SIZE_BYTES;
}

/* Truncated it may be, as `>` does it. Its mode would be of no use: only one process and its
 * descendants may open it. */
static int end_setattr(struct node *node, const struct node_change *change)
{
    (void)node;
    return change->to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) ? -EPERM
                                                                                         : 0;
}

static void link_dir_end_release(struct node *node)
{
    end_name_free(node->object);
}

static const struct node_ops end_ops = {
    .getattr = end_getattr,
    .setattr = end_setattr,
    .release = link_dir_end_release,
    .open = end_open,
};

int link_dir_lookup(struct node *dir, const char *name, const struct caller *caller,
                    struct node **ret_node)
{
    box_auto *box = box_pass(dir->object);
    struct process *process = box ? process_of(box) : NULL;
    pid_t pid = process_parse_pid(name);
    struct end_name *end;
    struct process *peer;
    int r = box ? box_check(box) : -ESTALE;

    if (r < 0)
        return r;
    if (pid == process->pid)
        return -EINVAL;
    r = pid ? processes_find(process->processes, pid, caller->uid, &peer) : -ENOENT;
    if (r < 0)
        return r;
    r = end_name_new(process, peer, &end);
    if (r < 0) {
        process_unref(peer);
        return r;
    }
    r = node_obtain(&dir->kernel->nodes, &end_ops, end, NULL, ret_node);
    if (r < 0)
        end_name_free(end);
    return r;
}

void link_dir_create(struct node *dir, fuse_req_t req, const char *name, mode_t mode,
                     struct fuse_file_info *fi)
{
    (void)dir;
    (void)mode;
    (void)fi;
    fuse_reply_err(req, process_parse_pid(name) ? ENOENT : EPERM);
}

struct filling {
    struct process *process;
    struct listing *listing;
};

static int add_end(pid_t peer, void *arg)
{
    struct filling *filling = arg;
    char name[PROCESS_PID_TEXT_MAX];

    process_format_pid(peer, name);
    return listing_add(filling->listing, name, link_dir_ino_of(filling->process->pid, peer),
                       S_IFREG);
}

int link_dir_list(struct node *dir, struct listing *listing)
{
    box_auto *box = box_pass(dir->object);
    struct filling filling = { .listing = listing };

    if (!box)
        return 0;
    filling.process = process_of(box);
    return links_each(filling.process, add_end, &filling);
}
