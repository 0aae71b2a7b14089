/* A process's sides are in a table of its own, by the other's pid: both sides of a link, or none; they
 * hold the link by a reference to each inbox. What has left them lives on as long as files are open.
 * When a process ends its peers' sides leave at once, so that who gets its pid does not find them.
 *
 * Nodes know the two processes, not the link: to look for an end does not make one. */
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/mailbox/pair.h"
#include "fs/mount.h"
#include "fs/kernel/listing.h"
#include "procs.h"
#include "fs/mailbox/recv.h"
#include "fs/mailbox/send.h"

/* What fs/ adds to an end of a link. */
struct side {
    struct link_end *end;
    struct process *process; /* a reference: whose end it is */
    pid_t peer;
    atomic_bool was_opened;
    /* Under the table's lock: in process->sides. */
    UT_hash_handle hh;
    SLIST_ENTRY(side) detached_link; /* in process->detached */
};

struct pair {
    struct link link;
    struct side sides[2];
    uid_t uid;       /* who opened an end of it first */
    uint64_t n_kept; /* what it counts for him, until one of the two processes ends */
};

/* With what malloc adds. Of the open files of an end each counts as much as the link takes. */
#define PAIR_KEPT_BYTES (sizeof(struct pair) + 64)

/* A node's object: the name of an end. A reference to each. */
struct end_name {
    struct process *process;
    struct process *peer;
    LIST_ENTRY(end_name) entry; /* in peer->names, under the table's lock */
};

struct link_file {
    struct recv_file recv;

    struct side *other;
    _Atomic pid_t last_pid; /* as send_message has it */
};

static struct process *process_ref(struct process *process)
{
    mbox_ref(&process->box.mbox);
    return process;
}

static void process_unref(struct process *process)
{
    mbox_unref(&process->box.mbox);
}

static void uncharge(struct pair *pair)
{
    quota_release_kept(pair->sides[0].process->kernel->quota, pair->uid, pair->n_kept, QUOTA_MADE);
    pair->n_kept = 0;
}

static void pair_release(struct link *link)
{
    struct pair *pair = (struct pair *)link;

    uncharge(pair);
    process_unref(pair->sides[0].process);
    process_unref(pair->sides[1].process);
    free(pair);
}

/* Makes a link of the two for @uid, that is in no table, with a reference to each inbox.
 * Return: 0; -EDQUOT; -ENOSPC; -ENOMEM. */
static int pair_new(const struct end_name *name, uid_t uid, struct pair **ret_pair)
{
    struct process *processes[2] = { name->process, name->peer };
    struct kernel *kernel = name->process->kernel;
    struct pair *pair;
    int r = quota_charge_kept(kernel->quota, uid, PAIR_KEPT_BYTES, QUOTA_MADE);

    if (r < 0)
        return r;
    pair = calloc(1, sizeof(*pair));
    if (!pair) {
        quota_release_kept(kernel->quota, uid, PAIR_KEPT_BYTES, QUOTA_MADE);
        return -ENOMEM;
    }
    pair->uid = uid;
    pair->n_kept = PAIR_KEPT_BYTES;
    link_init(&pair->link, &fs_of(kernel)->domain, pair_release);
    for (unsigned int i = 0; i < 2; i++) {
        pair->sides[i].end = &pair->link.ends[i];
        pair->sides[i].process = process_ref(processes[i]);
        pair->sides[i].peer = processes[!i]->pid;
    }
    *ret_pair = pair;
    return 0;
}

static void pair_ref(struct pair *pair)
{
    mbox_ref(&pair->link.ends[0].inbox);
    mbox_ref(&pair->link.ends[1].inbox);
}

static void pair_unref(struct pair *pair)
{
    mbox_unref(&pair->link.ends[0].inbox);
    mbox_unref(&pair->link.ends[1].inbox);
}

static struct pair *pair_of(const struct side *side)
{
    return (struct pair *)side->end->link;
}

static struct side *other_side(struct side *side)
{
    struct side *sides = pair_of(side)->sides;

    return side == &sides[0] ? &sides[1] : &sides[0];
}

/* Under the table's lock. */
static struct side *find_side(const struct end_name *name)
{
    struct side *side;

    HASH_FIND(hh, name->process->sides, &name->peer->pid, sizeof(name->peer->pid), side);
    return side;
}

/* Under the table's lock. Return: whether there was memory for it. */
static bool add_side(struct side *side)
{
    HASH_ADD(hh, side->process->sides, peer, sizeof(side->peer), side);
    return hash_added(side, hh);
}

/* Under the table's lock. */
static void remove_side(struct side *side)
{
    HASH_DELETE(hh, side->process->sides, side);
}

/* Under the table's lock: enters @pair, taking over its references. Return: 0; -ENOMEM. */
static int enter(struct processes *processes, struct pair *pair)
{
    if (!add_side(&pair->sides[0]))
        return -ENOMEM;
    if (!add_side(&pair->sides[1])) {
        remove_side(&pair->sides[0]);
        return -ENOMEM;
    }
    processes->n_links++;
    return 0;
}

/* Under the table's lock. Return: 0 with the side of @name, of @made if the link of the two is new;
 * -ENOENT: one of them has ended; -ENOMEM. */
static int find_or_enter(const struct end_name *name, struct pair *made, struct side **ret_side)
{
    struct side *side = find_side(name);
    int r = 0;

    if (!side && (name->process->ended || name->peer->ended))
        return -ENOENT;
    if (!side) {
        side = &made->sides[0];
        r = enter(&fs_of(name->process->kernel)->processes, made);
    }
    if (r == 0)
        *ret_side = side;
    return r;
}

/* Finds the link. Return: whether there is one; then with references to both inboxes. */
static bool get_side(const struct end_name *name, struct side **ret_side)
{
    struct processes *processes = &fs_of(name->process->kernel)->processes;

    pthread_mutex_lock(&processes->lock);
    *ret_side = find_side(name);
    if (*ret_side)
        pair_ref(pair_of(*ret_side));
    pthread_mutex_unlock(&processes->lock);
    return *ret_side;
}

/* Finds the link, or makes it for @uid. Return: as find_or_enter and pair_new, with references to both inboxes. */
static int obtain_side(const struct end_name *name, uid_t uid, struct side **ret_side)
{
    struct processes *processes = &fs_of(name->process->kernel)->processes;
    struct pair *made;
    int r;

    if (get_side(name, ret_side))
        return 0;
    r = pair_new(name, uid, &made);
    if (r < 0)
        return r;
    pthread_mutex_lock(&processes->lock);
    r = find_or_enter(name, made, ret_side);
    if (r == 0)
        pair_ref(pair_of(*ret_side));
    pthread_mutex_unlock(&processes->lock);
    /* The table has taken over one reference to it, or none. */
    if (r < 0 || pair_of(*ret_side) != made)
        pair_unref(made);
    return r;
}

void links_forget_names(struct process *process)
{
    const struct end_name *end;
    char name[16];

    snprintf(name, sizeof(name), "%d", (int)process->pid);
    LIST_FOREACH(end, &process->names, entry) {
        fs_announce_expiry(process->kernel, box_uid(&end->process->box),
                           box_file_slot(&end->process->box, BOX_LINK), name);
    }
}

void links_detach(struct process *process)
{
    struct side *side;
    struct side *next;

    links_forget_names(process);
    HASH_ITER(hh, process->sides, side, next) {
        remove_side(other_side(side));
        remove_side(side);
        SLIST_INSERT_HEAD(&process->detached, side, detached_link);
        fs_of(process->kernel)->processes.n_links--;
    }
}

void links_end(struct process *process, struct mbox_ready *ready)
{
    struct side *side;

    while ((side = SLIST_FIRST(&process->detached))) {
        SLIST_REMOVE_HEAD(&process->detached, detached_link);
        link_leave(side->end, ready);
        uncharge(pair_of(side));
        pair_unref(pair_of(side));
    }
}

/* Who does not know the other's process, and is another user, does not fill its memory. A process that
 * becomes another user, by a setuid program, has not become what it opened before; root it may have been. */
static bool is_welcome(struct link_file *link)
{
    struct side *other = link->other;
    uid_t opener = link->recv.file.opener.uid;
    uid_t uid;

    if (atomic_load(&other->was_opened))
        return true;
    uid = process_uid(other->process);
    return process_uid(other_side(other)->process) == uid && (opener == uid || opener == 0);
}

static void link_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                       off_t offset, int flags)
{
    struct link_file *link = (struct link_file *)file;

    if (!is_welcome(link))
        fuse_reply_err(req, process_is_alive(link->other->process) ? ENXIO : EPIPE);
    else
        send_message(file, req, data, size, offset, flags, 0, &link->last_pid);
}

static const struct file_ops file_ops = {
    .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES,
    .keeps_from_cache = true,
    .events = MBOX_READABLE | MBOX_WRITABLE,
    .read = recv_read,
    .write = link_write,
    .has_unread = recv_has_unread,
    .close = recv_close,
    .size = sizeof(struct link_file),
};

static void leave_if_ended(struct side *side, struct mbox_ready *ready)
{
    if (!process_is_alive(side->process))
        link_leave(side->end, ready);
}

/* Who has waited for the death of one of the two may be quicker than the thread that waits for it here. */
static void notice_end(struct file *file)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct side *other = ((struct link_file *)file)->other;

    leave_if_ended(other_side(other), &ready);
    leave_if_ended(other, &ready);
    mbox_ready_run(&ready);
}

/* Return: 0 with an open file for the end of @side; -ENOMEM. */
static int open_side(struct kernel *kernel, struct side *side, struct file **ret_file)
{
    struct side *other = other_side(side);
    struct link_file *link;
    int r = recv_file_new(kernel, &file_ops, &side->end->inbox, ret_file);

    if (r < 0)
        return r;
    file_set_out(*ret_file, &other->end->inbox);
    link = (struct link_file *)*ret_file;
    link->recv.goes_on = true;
    link->other = other;
    (*ret_file)->notice_end = notice_end;
    atomic_store(&side->was_opened, true);
    return 0;
}

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
    struct side *side;
    int r = check_open(name, caller);

    (void)flags;
    if (r != 0)
        return r;
    r = obtain_side(name, caller->uid, &side);
    if (r != 0)
        return r;
    r = open_side(node->kernel, side, ret_file);
    pair_unref(pair_of(side));
    return r;
}

static uint64_t ino_of(pid_t pid, pid_t peer)
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
    box_file_attr(&name->process->box, BOX_LINK, ret_attr);
    ret_attr->st_ino = ino_of(name->process->pid, name->peer->pid);
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

/* Makes the name of @process's end of the link to @peer, with a reference to each, of which that to @peer is
 * the caller's until now. Return: 0; -ENOENT: one of them has ended; -ENOMEM. */
static int name_new(struct process *process, struct process *peer, struct end_name **ret_name)
{
    struct processes *processes = &fs_of(process->kernel)->processes;
    struct end_name *name = malloc(sizeof(*name));
    bool ended;

    if (!name)
        return -ENOMEM;
    *name = (struct end_name){ .process = process, .peer = peer };
    pthread_mutex_lock(&processes->lock);
    ended = process->ended || peer->ended;
    if (!ended)
        LIST_INSERT_HEAD(&peer->names, name, entry);
    pthread_mutex_unlock(&processes->lock);
    if (ended) {
        free(name);
        return -ENOENT;
    }
    process_ref(process);
    *ret_name = name;
    return 0;
}

static void name_free(struct end_name *name)
{
    struct processes *processes = &fs_of(name->process->kernel)->processes;

    pthread_mutex_lock(&processes->lock);
    LIST_REMOVE(name, entry);
    pthread_mutex_unlock(&processes->lock);
    process_unref(name->process);
    process_unref(name->peer);
    free(name);
}

static void end_release(struct node *node)
{
    name_free(node->object);
}

static const struct node_ops end_ops = {
    .getattr = end_getattr,
    .setattr = end_setattr,
    .release = end_release,
    .open = end_open,
};

int link_lookup(struct node *dir, const char *name, const struct caller *caller,
                struct node **ret_node)
{
    box_auto *box = box_pass(dir->object);
    struct process *process = box ? process_of(box) : NULL;
    pid_t pid = procs_parse_pid(name);
    struct end_name *end;
    struct process *peer;
    int r = box ? box_check(box) : -ESTALE;

    if (r < 0)
        return r;
    if (pid == process->pid)
        return -EINVAL;
    r = pid ? process_find(dir->kernel, pid, caller->uid, &peer) : -ENOENT;
    if (r < 0)
        return r;
    r = name_new(process, peer, &end);
    if (r < 0) {
        process_unref(peer);
        return r;
    }
    r = node_obtain(&dir->kernel->nodes, &end_ops, end, NULL, ret_node);
    if (r < 0)
        name_free(end);
    return r;
}

void link_create(struct node *dir, fuse_req_t req, const char *name, mode_t mode,
                 struct fuse_file_info *fi)
{
    (void)dir;
    (void)mode;
    (void)fi;
    fuse_reply_err(req, procs_parse_pid(name) ? ENOENT : EPERM);
}

int link_list(struct node *dir, struct listing *listing)
{
    box_auto *box = box_pass(dir->object);
    struct process *process = box ? process_of(box) : NULL;
    struct side *side;
    char name[16];
    int r = 0;

    if (!process)
        return 0;

    pthread_mutex_lock(&fs_of(dir->kernel)->processes.lock);
    for (side = process->sides; side && r == 0; side = side->hh.next) {
        if (!process_is_alive(other_side(side)->process))
            continue;
        snprintf(name, sizeof(name), "%d", (int)side->peer);
        r = listing_add(listing, name, ino_of(process->pid, side->peer), S_IFREG);
    }
    pthread_mutex_unlock(&fs_of(dir->kernel)->processes.lock);
    return r;
}
