/* A process's sides are in a table of its own, by the other's pid: both sides of a link, or none; they
 * hold the link by a reference to each inbox. What has left them lives on as long as files are open.
 * When a process ends its peers' sides leave at once, so that who gets its pid does not find them. */
#include "link.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/mailbox/pair.h"
#include "fs/kernel/kernel.h"
#include "fs/mailbox/box_notice.h"
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

struct link_file {
    struct recv_file recv;

    struct side *other;
    _Atomic pid_t last_pid; /* as send_message has it */
};

static struct quota *link_quota_of(struct process *process)
{
    return process->processes->boxes->kernel->quota;
}

static void link_uncharge(struct pair *pair)
{
    quota_release_kept(link_quota_of(pair->sides[0].process), pair->uid, pair->n_kept, QUOTA_MADE);
    pair->n_kept = 0;
}

static void pair_release(struct link *link)
{
    struct pair *pair = (struct pair *)link;

    link_uncharge(pair);
    process_unref(pair->sides[0].process);
    process_unref(pair->sides[1].process);
    free(pair);
}

/* Makes a link of the two for @uid, that is in no table, with a reference to each inbox.
 * Return: 0; -EDQUOT; -ENOSPC; -ENOMEM. */
static int pair_new(const struct end_name *name, uid_t uid, struct pair **ret_pair)
{
    struct process *processes[2] = { name->process, name->peer };
    struct boxes *boxes = name->process->processes->boxes;
    struct pair *pair;
    int r = quota_charge_kept(boxes->kernel->quota, uid, PAIR_KEPT_BYTES, QUOTA_MADE);

    if (r < 0)
        return r;
    pair = calloc(1, sizeof(*pair));
    if (!pair) {
        quota_release_kept(boxes->kernel->quota, uid, PAIR_KEPT_BYTES, QUOTA_MADE);
        return -ENOMEM;
    }
    pair->uid = uid;
    pair->n_kept = PAIR_KEPT_BYTES;
    link_init(&pair->link, boxes->domain, pair_release);
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
static int link_enter(struct processes *processes, struct pair *pair)
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
static int link_find_or_enter(const struct end_name *name, struct pair *made,
                              struct side **ret_side)
{
    struct side *side = find_side(name);
    int r = 0;

    if (!side && (name->process->ended || name->peer->ended))
        return -ENOENT;
    if (!side) {
        side = &made->sides[0];
        r = link_enter(name->process->processes, made);
    }
    if (r == 0)
        *ret_side = side;
    return r;
}

/* Finds the link. Return: whether there is one; then with references to both inboxes. */
static bool get_side(const struct end_name *name, struct side **ret_side)
{
    struct processes *processes = name->process->processes;

    pthread_mutex_lock(&processes->lock);
    *ret_side = find_side(name);
    if (*ret_side)
        pair_ref(pair_of(*ret_side));
    pthread_mutex_unlock(&processes->lock);
    return *ret_side;
}

/* Finds the link, or makes it for @uid. Return: as link_find_or_enter and pair_new, with references to both inboxes. */
static int obtain_side(const struct end_name *name, uid_t uid, struct side **ret_side)
{
    struct processes *processes = name->process->processes;
    struct pair *made;
    int r;

    if (get_side(name, ret_side))
        return 0;
    r = pair_new(name, uid, &made);
    if (r < 0)
        return r;
    pthread_mutex_lock(&processes->lock);
    r = link_find_or_enter(name, made, ret_side);
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
        box_tell_expiry(process->processes->boxes->kernel, box_uid(&end->process->box),
                        box_file_slot(&end->process->box, process_link_file(end->process)), name);
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
        process->processes->n_links--;
    }
}

void links_end(struct process *process, struct mbox_ready *ready)
{
    struct side *side;

    while ((side = SLIST_FIRST(&process->detached))) {
        SLIST_REMOVE_HEAD(&process->detached, detached_link);
        link_leave(side->end, ready);
        link_uncharge(pair_of(side));
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

static const struct file_ops link_file_ops = {
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
    int r = recv_file_new(kernel, &link_file_ops, &side->end->inbox, ret_file);

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

int link_open(const struct end_name *name, uid_t uid, struct file **ret_file)
{
    struct side *side;
    int r = obtain_side(name, uid, &side);

    if (r != 0)
        return r;
    r = open_side(name->process->processes->boxes->kernel, side, ret_file);
    pair_unref(pair_of(side));
    return r;
}

int links_each(struct process *process, int (*visit)(pid_t peer, void *arg), void *arg)
{
    struct side *side;
    int r = 0;

    pthread_mutex_lock(&process->processes->lock);
    for (side = process->sides; side && r == 0; side = side->hh.next) {
        if (process_is_alive(other_side(side)->process))
            r = visit(side->peer, arg);
    }
    pthread_mutex_unlock(&process->processes->lock);
    return r;
}

int end_name_new(struct process *process, struct process *peer, struct end_name **ret_name)
{
    struct processes *processes = process->processes;
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

void end_name_free(struct end_name *name)
{
    struct processes *processes = name->process->processes;

    pthread_mutex_lock(&processes->lock);
    LIST_REMOVE(name, entry);
    pthread_mutex_unlock(&processes->lock);
    process_unref(name->process);
    process_unref(name->peer);
    free(name);
}
