/* A process asks the kernel about itself: whether it lives, and whose it is now, which its directory shows. */
#include "process.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/fd.h"
#include "core/base/size.h"
#include "fs/kernel/caller.h"
#include "fs/kernel/caller_descent.h"
#include "fs/kernel/kernel.h"
#include "fs/kernel/pidfd.h"

#define DIR_MODE 0555

/* Who may send at first, as the classes that could search a directory of this mode. */
#define SENDERS_MODE 0100

/* Inode numbers of one process: its directory's and its files', so that a directory has the same whoever
 * looks, and when. No pid is larger than PID_MAX (PID_MAX_LIMIT of proc(5)). */
#define N_INOS UINT64_C(32)
#define PID_MAX (UINT64_C(1) << 22)
static_assert(NODE_INO_PROCESSES + PID_MAX * N_INOS <= NODE_INO_LINKS, "ranges don't overlap");

pid_t process_parse_pid(const char *name)
{
    uint64_t pid;

    if (name[0] == '0' || count_parse(name, strlen(name), &pid) < 0 || pid > INT_MAX)
        return 0;
    return (pid_t)pid;
}

void process_format_pid(pid_t pid, char name[PROCESS_PID_TEXT_MAX])
{
    snprintf(name, PROCESS_PID_TEXT_MAX, "%d", (int)pid);
}

static struct quota *process_quota_of(struct processes *processes)
{
    return processes->boxes->kernel->quota;
}

/* A pidfd can be read from once its process has ended. */
static bool process_pidfd_is_alive(int pidfd)
{
    struct pollfd fd = { .fd = pidfd, .events = POLLIN };

    return poll(&fd, 1, 0) == 0;
}

bool process_is_alive(struct process *process)
{
    bool alive;

    pthread_mutex_lock(&process->box.lock);
    alive = process->pidfd >= 0 && process_pidfd_is_alive(process->pidfd);
    pthread_mutex_unlock(&process->box.lock);
    return alive;
}

/* It has ended. Nodes and open files may hold it for long. */
void process_close_pidfd(struct process *process)
{
    pthread_mutex_lock(&process->box.lock);
    if (process->pidfd >= 0) {
        close(process->pidfd);
        quota_release_fds(process_quota_of(process->processes), process->fd_uid, 1);
    }
    process->pidfd = -1;
    pthread_mutex_unlock(&process->box.lock);
}

int process_admit(struct box *box, const struct caller *caller)
{
    struct process *process = process_of(box);
    int descends = caller_descends(caller, process->pid);

    if (descends < 0)
        return descends;
    /* In this order: if it is alive now, the pid was its own. */
    return descends && process_is_alive(process) ? 0 : -EACCES;
}

static int move_fd(struct process *process, uid_t uid)
{
    int r = 0;

    pthread_mutex_lock(&process->box.lock);
    if (process->pidfd >= 0)
        r = quota_move_fds(process_quota_of(process->processes), process->fd_uid, uid, 1);
    if (r == 0)
        process->fd_uid = uid;
    pthread_mutex_unlock(&process->box.lock);
    return r;
}

/* It counts for @uid, who is going to use it. Return: 0; -EDQUOT; -ENOMEM. */
int process_charge_user(struct process *process, uid_t uid)
{
    int r = move_fd(process, uid);

    return r < 0 ? r : box_move_charge(&process->box, uid);
}

/* Each look at a file of a process asks this several times, and /proc takes long.
 * Return: whether the process of @pidfd is alive, or may be, and *ret_uid and *ret_gid are its effective
 * ids. */
static bool read_ids(int pidfd, pid_t pid, uid_t *ret_uid, gid_t *ret_gid)
{
    struct pidfd_ids ids = { .mask = PIDFD_IDS_CREDS };

    if (ioctl(pidfd, PIDFD_GET_IDS, &ids) == 0 && ids.mask & PIDFD_IDS_CREDS) {
        *ret_uid = ids.euid;
        *ret_gid = ids.egid;
        return true;
    }
    /* If it is alive after that, the pid was its own when it was read. */
    return caller_ids(pid, ret_uid, ret_gid) && process_pidfd_is_alive(pidfd);
}

/* Under box->lock. */
static void set_ids(struct process *process, uid_t uid, gid_t gid)
{
    struct node_change change = { 0 };

    change.attr.st_uid = uid;
    change.attr.st_gid = gid;
    if (uid != process->uid)
        change.to_set |= FUSE_SET_ATTR_UID;
    if (gid != process->gid)
        change.to_set |= FUSE_SET_ATTR_GID;
    if (change.to_set)
        box_change_dir(&process->box, &change);
    process->uid = uid;
    process->gid = gid;
}

void process_refresh(struct box *box)
{
    struct process *process = process_of(box);
    uid_t uid;
    gid_t gid;

    pthread_mutex_lock(&box->lock);
    /* Who is gone stays whose he was. */
    if (process->pidfd >= 0 && read_ids(process->pidfd, process->pid, &uid, &gid))
        set_ids(process, uid, gid);
    pthread_mutex_unlock(&box->lock);
}

void process_tell_name(struct box *box, char ret_name[MBOX_NAME_BYTES_MAX + 1])
{
    snprintf(ret_name, MBOX_NAME_BYTES_MAX + 1, "proc/%d", (int)process_of(box)->pid);
}

bool process_has_ended(struct process *process)
{
    bool ended;

    pthread_mutex_lock(&process->processes->lock);
    ended = process->ended;
    pthread_mutex_unlock(&process->processes->lock);
    return ended;
}

uid_t process_uid(struct process *process)
{
    uid_t uid;

    process_refresh(&process->box);
    pthread_mutex_lock(&process->box.lock);
    uid = process->uid;
    pthread_mutex_unlock(&process->box.lock);
    return uid;
}

static int process_charge(struct processes *processes, uid_t uid)
{
    int r = quota_charge_fds(process_quota_of(processes), uid, 1);

    if (r < 0)
        return r;
    r = quota_charge_kept(process_quota_of(processes), uid, PROCESS_KEPT_BYTES, QUOTA_MADE);
    if (r < 0)
        quota_release_fds(process_quota_of(processes), uid, 1);
    return r;
}

static void process_uncharge(struct processes *processes, uid_t uid)
{
    quota_release_fds(process_quota_of(processes), uid, 1);
    quota_release_kept(process_quota_of(processes), uid, PROCESS_KEPT_BYTES, QUOTA_MADE);
}

/* Opens the pidfd of @pid and asks whose it is. Return: 0; -ENOENT; -ENFILE; -ENOMEM. */
static int open_process(pid_t pid, int *ret_pidfd, struct caller *ret_owner)
{
    int pidfd = fd_keep((int)syscall(SYS_pidfd_open, pid, 0));

    if (pidfd < 0)
        return pidfd == -ENFILE || pidfd == -ENOMEM ? pidfd : -ENOENT;
    if (!process_pidfd_is_alive(pidfd) || !read_ids(pidfd, pid, &ret_owner->uid, &ret_owner->gid)) {
        close(pidfd);
        return -ENOENT;
    }
    *ret_pidfd = pidfd;
    return 0;
}

/* Return: 0 with a process that is in no table, charged to @uid; as process_new, and nothing is charged. */
static int make_charged(struct processes *processes, pid_t pid, uid_t uid,
                        struct process **ret_process)
{
    struct caller owner = { .tid = pid };
    struct process *process;
    struct box *box;
    int pidfd;
    int r = open_process(pid, &pidfd, &owner);

    if (r < 0)
        return r;
    assert(box_n_inos(processes->kind) <= N_INOS);
    box = box_new(processes->boxes, processes->kind, DIR_MODE, SENDERS_MODE, &owner,
                  NODE_INO_PROCESSES + (uint64_t)pid * N_INOS);
    if (!box) {
        close(pidfd);
        return -ENOMEM;
    }
    process = process_of(box);
    process->processes = processes;
    process->pid = pid;
    /* Taken out: not yet in. */
    process->ended = true;
    process->pidfd = pidfd;
    process->fd_uid = uid;
    process->uid = owner.uid;
    process->gid = owner.gid;
    box_adopt_charge(box, uid, PROCESS_KEPT_BYTES);
    *ret_process = process;
    return 0;
}

int process_new(struct processes *processes, pid_t pid, uid_t uid, struct process **ret_process)
{
    int r = process_charge(processes, uid);

    if (r < 0)
        return r;
    r = make_charged(processes, pid, uid, ret_process);
    if (r < 0)
        process_uncharge(processes, uid);
    return r;
}
