#include "process.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/kernel/caller.h"
#include "core/base/fd.h"
#include "fs/mount.h"
#include "link.h"
#include "fs/kernel/pidfd.h"

#define DIR_MODE 0555

/* Who may send at first, as the classes that could search a directory of this mode. */
#define SENDERS_MODE 0100

/* Inode numbers of one process: its directory's and its files', so that a directory has the same whoever
 * looks, and when. No pid is larger than PID_MAX (PID_MAX_LIMIT of proc(5)). */
#define N_INOS UINT64_C(32)
#define PID_MAX (UINT64_C(1) << 22)
static_assert(N_INOS > BOX_N_FILES, "each file of a process has an inode number");
static_assert(NODE_INO_PROCESSES + PID_MAX * N_INOS <= NODE_INO_LINKS, "ranges don't overlap");

/* So many that are not in use the kernel may remember: each takes a descriptor. */
#define IDLE_MAX 16

#define PID_TEXT_MAX 16

/* What epoll tells at once. */
#define EVENTS_MAX 64

/* No pid: the thread is to end. */
#define STOP UINT64_C(0)

/* A pidfd can be read from once its process has ended. */
static bool is_alive(int pidfd)
{
    struct pollfd fd = { .fd = pidfd, .events = POLLIN };

    return poll(&fd, 1, 0) == 0;
}

bool process_is_alive(struct process *process)
{
    bool alive;

    pthread_mutex_lock(&process->box.lock);
    alive = process->pidfd >= 0 && is_alive(process->pidfd);
    pthread_mutex_unlock(&process->box.lock);
    return alive;
}

static struct quota *quota_of(struct kernel *kernel)
{
    return kernel->quota;
}

/* It has ended. Nodes and open files may hold it for long. */
static void close_pidfd(struct process *process)
{
    pthread_mutex_lock(&process->box.lock);
    if (process->pidfd >= 0) {
        close(process->pidfd);
        quota_release_fds(quota_of(process->kernel), process->fd_uid, 1);
    }
    process->pidfd = -1;
    pthread_mutex_unlock(&process->box.lock);
}

static int admit(struct box *box, const struct caller *caller)
{
    struct process *process = process_of(box);
    int descends = caller_descends(caller, process->pid);

    if (descends < 0)
        return descends;
    /* In this order: if it is alive now, the pid was its own. */
    return descends && process_is_alive(process) ? 0 : -EACCES;
}

/* Under the table's lock. */
static void idle_remove(struct processes *processes, struct process *process)
{
    if (!process->is_idle)
        return;
    TAILQ_REMOVE(&processes->idle, process, idle_link);
    process->is_idle = false;
    processes->n_idle--;
}

/* @process was looked up. Return: one that the kernel is to forget instead; 0: none. Under the table's
 * lock. */
static pid_t idle_add(struct processes *processes, struct process *process)
{
    struct process *oldest;

    if (process->in_use)
        return 0;
    idle_remove(processes, process);
    TAILQ_INSERT_TAIL(&processes->idle, process, idle_link);
    process->is_idle = true;
    if (++processes->n_idle <= IDLE_MAX)
        return 0;
    oldest = TAILQ_FIRST(&processes->idle);
    idle_remove(processes, oldest);
    links_forget_names(oldest);
    return oldest->pid;
}

static int move_fd(struct process *process, uid_t uid)
{
    int r = 0;

    pthread_mutex_lock(&process->box.lock);
    if (process->pidfd >= 0)
        r = quota_move_fds(quota_of(process->kernel), process->fd_uid, uid, 1);
    if (r == 0)
        process->fd_uid = uid;
    pthread_mutex_unlock(&process->box.lock);
    return r;
}

/* It counts for @uid, who is going to use it. Return: 0; -EDQUOT; -ENOMEM. */
static int charge_user(struct process *process, uid_t uid)
{
    int r = move_fd(process, uid);

    return r < 0 ? r : box_move_charge(&process->box, uid);
}

static int use(struct box *box, uid_t uid)
{
    struct process *process = process_of(box);
    struct processes *processes = &fs_of(process->kernel)->processes;
    int r = 0;

    pthread_mutex_lock(&processes->lock);
    if (process->ended || !process_is_alive(process))
        r = -ENOENT;
    else if (!process->in_use)
        r = charge_user(process, uid);
    if (r == 0 && !process->in_use) {
        idle_remove(processes, process);
        process->in_use = true;
        processes->n_in_use++;
        mbox_ref(&box->mbox);
    }
    pthread_mutex_unlock(&processes->lock);
    return r;
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
    return caller_ids(pid, ret_uid, ret_gid) && is_alive(pidfd);
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

static void refresh(struct box *box)
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

bool process_has_ended(struct process *process)
{
    bool ended;

    pthread_mutex_lock(&fs_of(process->kernel)->processes.lock);
    ended = process->ended;
    pthread_mutex_unlock(&fs_of(process->kernel)->processes.lock);
    return ended;
}

uid_t process_uid(struct process *process)
{
    uid_t uid;

    refresh(&process->box);
    pthread_mutex_lock(&process->box.lock);
    uid = process->uid;
    pthread_mutex_unlock(&process->box.lock);
    return uid;
}

/* Under the table's lock. */
static void take_out(struct processes *processes, struct process *process)
{
    if (process->ended)
        return;
    process->ended = true;
    idle_remove(processes, process);
    HASH_DEL(processes->table, process);
    epoll_ctl(processes->epoll_fd, EPOLL_CTL_DEL, process->pidfd, NULL);
    links_detach(process);
    if (process->in_use)
        processes->n_in_use--;
}

/* Under the table's lock. Return: 0; -ENOMEM, -ENOSPC. */
static int enter(struct processes *processes, struct process *process)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = (uint64_t)process->pid };

    if (epoll_ctl(processes->epoll_fd, EPOLL_CTL_ADD, process->pidfd, &event) < 0)
        return -errno;
    HASH_ADD(hh, processes->table, pid, sizeof(process->pid), process);
    if (!hash_added(process, hh)) {
        epoll_ctl(processes->epoll_fd, EPOLL_CTL_DEL, process->pidfd, NULL);
        return -ENOMEM;
    }
    process->ended = false;
    return 0;
}

static void free_process(struct box *box)
{
    struct process *process = process_of(box);
    struct processes *processes = &fs_of(process->kernel)->processes;
    struct mbox_ready nobody = TAILQ_HEAD_INITIALIZER(nobody);

    pthread_mutex_lock(&processes->lock);
    take_out(processes, process);
    pthread_mutex_unlock(&processes->lock);
    mbox_remove(&box->mbox, true, &nobody);
    close_pidfd(process);
    box_deinit(box);
    free(process);
}

/* Takes @process out of the table. Return: @process, with a reference, whose end is to be finished;
 * NULL: its last reference is being given back. Under the table's lock. */
static struct process *begin_end(struct processes *processes, struct process *process)
{
    take_out(processes, process);
    return process->in_use || mbox_try_ref(&process->box.mbox) ? process : NULL;
}

static void format_pid(pid_t pid, char name[PID_TEXT_MAX])
{
    snprintf(name, PID_TEXT_MAX, "%d", (int)pid);
}

/* Tells all who have to do with @process, and takes the reference. It may be NULL. */
static void finish_end(struct process *process, struct mbox_ready *ready)
{
    char name[PID_TEXT_MAX];

    if (!process)
        return;
    close_pidfd(process);
    format_pid(process->pid, name);
    mbox_remove(&process->box.mbox, true, ready);
    links_end(process, ready);
    fs_announce_deletion(process->kernel, &process->box, &fs_of(process->kernel)->tree.procs.node,
                         name);
    mbox_unref(&process->box.mbox);
}

/* Who has waited for the end of a process may be quicker than the thread that waits for it here. */
static void notice_end(struct box *box)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct process *process = process_of(box);
    struct processes *processes = &fs_of(process->kernel)->processes;
    struct process *ended = NULL;

    if (process_is_alive(process))
        return;
    pthread_mutex_lock(&processes->lock);
    if (!process->ended)
        ended = begin_end(processes, process);
    pthread_mutex_unlock(&processes->lock);
    finish_end(ended, &ready);
    /* That thread may have begun, and not come so far yet. */
    mbox_remove(&box->mbox, true, &ready);
    mbox_ready_run(&ready);
}

static const struct box_kind process_kind = {
    .files = BOX_FILES_OF_MAILBOX | BOX_FILE(BOX_LINK),
    .admit = admit,
    .use = use,
    .notice_end = notice_end,
    .refresh = refresh,
    .free = free_process,
};

/* Return: the live process of @pid's entry, with a reference. NULL: now there is no entry, and
 * *ret_ended is a process whose end is to be finished, or NULL. Under the table's lock. */
static struct process *look_up(struct processes *processes, pid_t pid, struct process **ret_ended)
{
    struct process *process;

    *ret_ended = NULL;
    HASH_FIND(hh, processes->table, &pid, sizeof(pid), process);
    if (!process)
        return NULL;
    if (process_is_alive(process) && mbox_try_ref(&process->box.mbox))
        return process;
    *ret_ended = begin_end(processes, process);
    return NULL;
}

/* Under the table's lock: as look_up, but the one that is not found is @made, which may be NULL.
 * Return: 0 with *ret_process, which may be NULL if @made is; as enter. */
static int look_up_or_enter(struct processes *processes, pid_t pid, struct process *made,
                            struct process **ret_process, struct process **ret_ended)
{
    struct process *process = look_up(processes, pid, ret_ended);
    int r = 0;

    if (!process && made) {
        r = enter(processes, made);
        process = made;
    }
    if (r == 0)
        *ret_process = process;
    return r;
}

/* Somebody looks for @pid. Return: as look_up_or_enter. */
static int find_or_enter(struct kernel *kernel, pid_t pid, struct process *made,
                         struct process **ret_process)
{
    struct processes *processes = &fs_of(kernel)->processes;
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct process *ended;
    char name[PID_TEXT_MAX];
    pid_t expired = 0;
    int r;

    pthread_mutex_lock(&processes->lock);
    r = look_up_or_enter(processes, pid, made, ret_process, &ended);
    if (r == 0 && *ret_process)
        expired = idle_add(processes, *ret_process);
    pthread_mutex_unlock(&processes->lock);
    finish_end(ended, &ready);
    mbox_ready_run(&ready);
    if (expired) {
        format_pid(expired, name);
        fs_announce_expiry(kernel, box_uid(&(*ret_process)->box), &fs_of(kernel)->tree.procs.node,
                           name);
    }
    return r;
}

/* What a process takes while it is here, with what malloc adds and a node. */
#define KEPT_BYTES (sizeof(struct process) + 256)

static int charge(struct kernel *kernel, uid_t uid)
{
    int r = quota_charge_fds(quota_of(kernel), uid, 1);

    if (r < 0)
        return r;
    r = quota_charge_kept(quota_of(kernel), uid, KEPT_BYTES, QUOTA_MADE);
    if (r < 0)
        quota_release_fds(quota_of(kernel), uid, 1);
    return r;
}

static void uncharge(struct kernel *kernel, uid_t uid)
{
    quota_release_fds(quota_of(kernel), uid, 1);
    quota_release_kept(quota_of(kernel), uid, KEPT_BYTES, QUOTA_MADE);
}

/* Opens the pidfd of @pid and asks whose it is. Return: 0; -ENOENT; -ENFILE; -ENOMEM. */
static int open_process(pid_t pid, int *ret_pidfd, struct caller *ret_owner)
{
    int pidfd = fd_keep((int)syscall(SYS_pidfd_open, pid, 0));

    if (pidfd < 0)
        return pidfd == -ENFILE || pidfd == -ENOMEM ? pidfd : -ENOENT;
    if (!is_alive(pidfd) || !read_ids(pidfd, pid, &ret_owner->uid, &ret_owner->gid)) {
        close(pidfd);
        return -ENOENT;
    }
    *ret_pidfd = pidfd;
    return 0;
}

/* Return: 0 with a process that is in no table, charged to @uid; as process_find, and nothing is charged. */
static int make_charged(struct kernel *kernel, pid_t pid, uid_t uid, struct process **ret_process)
{
    struct caller owner = { .tid = pid };
    struct process *process;
    int pidfd;
    int r = open_process(pid, &pidfd, &owner);

    if (r < 0)
        return r;
    process = calloc(1, sizeof(*process));
    if (!process) {
        close(pidfd);
        return -ENOMEM;
    }
    process->kernel = kernel;
    process->pid = pid;
    /* Taken out: not yet in. */
    process->ended = true;
    process->pidfd = pidfd;
    process->fd_uid = uid;
    process->uid = owner.uid;
    process->gid = owner.gid;
    box_init(&process->box, kernel, &process_kind, DIR_MODE, SENDERS_MODE, &owner,
             NODE_INO_PROCESSES + (uint64_t)pid * N_INOS);
    box_adopt_charge(&process->box, uid, KEPT_BYTES);
    *ret_process = process;
    return 0;
}

static int make(struct kernel *kernel, pid_t pid, uid_t uid, struct process **ret_process)
{
    int r = charge(kernel, uid);

    if (r < 0)
        return r;
    r = make_charged(kernel, pid, uid, ret_process);
    if (r < 0)
        uncharge(kernel, uid);
    return r;
}

int process_find(struct kernel *kernel, pid_t pid, uid_t uid, struct process **ret_process)
{
    struct process *made;
    int r;

    find_or_enter(kernel, pid, NULL, ret_process);
    if (*ret_process)
        return 0;
    r = make(kernel, pid, uid, &made);
    if (r < 0)
        return r;
    r = find_or_enter(kernel, pid, made, ret_process);
    if (r < 0 || *ret_process != made)
        mbox_unref(&made->box.mbox);
    return r;
}

void processes_end_all(struct kernel *kernel, struct mbox_ready *ready)
{
    struct processes *processes = &fs_of(kernel)->processes;
    struct process *process;
    struct process *ended;

    do {
        pthread_mutex_lock(&processes->lock);
        process = processes->table;
        ended = process ? begin_end(processes, process) : NULL;
        pthread_mutex_unlock(&processes->lock);
        finish_end(ended, ready);
    } while (process);
}

int processes_each(struct processes *processes, int (*visit)(struct process *process, void *arg),
                   void *arg)
{
    struct process *process;
    int r = 0;

    pthread_mutex_lock(&processes->lock);
    for (process = processes->table; process && r == 0; process = process->hh.next) {
        if (process->in_use)
            r = visit(process, arg);
    }
    pthread_mutex_unlock(&processes->lock);
    return r;
}

size_t processes_count(struct processes *processes)
{
    size_t n;

    pthread_mutex_lock(&processes->lock);
    n = processes->n_in_use;
    pthread_mutex_unlock(&processes->lock);
    return n;
}

size_t processes_count_links(struct processes *processes)
{
    size_t n;

    pthread_mutex_lock(&processes->lock);
    n = processes->n_links;
    pthread_mutex_unlock(&processes->lock);
    return n;
}

/* A pidfd says that @pid has ended. */
static void end(struct kernel *kernel, pid_t pid)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct process *process;
    struct process *ended;

    pthread_mutex_lock(&fs_of(kernel)->processes.lock);
    process = look_up(&fs_of(kernel)->processes, pid, &ended);
    pthread_mutex_unlock(&fs_of(kernel)->processes.lock);
    finish_end(ended, &ready);
    mbox_ready_run(&ready);
    /* Another one has that pid by now. */
    if (process)
        mbox_unref(&process->box.mbox);
}

static void *run(void *arg)
{
    struct kernel *kernel = arg;
    struct epoll_event events[EVENTS_MAX];

    for (;;) {
        int n = epoll_wait(fs_of(kernel)->processes.epoll_fd, events, EVENTS_MAX, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == STOP)
                return NULL;
            end(kernel, (pid_t)events[i].data.u64);
        }
    }
}

int processes_init(struct processes *processes)
{
    struct epoll_event stop = { .events = EPOLLIN, .data.u64 = STOP };

    *processes = (struct processes){ 0 };
    pthread_mutex_init(&processes->lock, NULL);
    TAILQ_INIT(&processes->idle);
    processes->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    processes->stop_fd = eventfd(0, EFD_CLOEXEC);
    return epoll_ctl(processes->epoll_fd, EPOLL_CTL_ADD, processes->stop_fd, &stop) < 0 ? -errno
                                                                                        : 0;
}

int processes_start(struct kernel *kernel)
{
    struct processes *processes = &fs_of(kernel)->processes;
    int r = pthread_create(&processes->thread, NULL, run, kernel);

    processes->started = r == 0;
    return -r;
}

void processes_stop(struct processes *processes)
{
    if (!processes->started)
        return;
    eventfd_write(processes->stop_fd, 1);
    pthread_join(processes->thread, NULL);
    processes->started = false;
}

void processes_deinit(struct processes *processes)
{
    close(processes->stop_fd);
    close(processes->epoll_fd);
    pthread_mutex_destroy(&processes->lock);
}
