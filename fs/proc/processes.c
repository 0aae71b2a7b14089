/* How a process comes into the table, comes into use, and ends. Its end is noticed by the thread, by whoever
 * looks for its pid, or by who has a file of it; each begins it under the table's lock (begin_end) and finishes
 * it without, once: whoever took it out of the table does. */
#include "processes.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fs/mailbox/box_notice.h"
#include "link.h"

/* So many that are not in use the kernel may remember: each takes a descriptor. */
#define IDLE_MAX 16

/* What epoll tells at once. */
#define EVENTS_MAX 64

/* No pid: the thread is to end. */
#define STOP UINT64_C(0)

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

int process_use(struct box *box, uid_t uid)
{
    struct process *process = process_of(box);
    struct processes *processes = process->processes;
    int r = 0;

    pthread_mutex_lock(&processes->lock);
    if (process->ended || !process_is_alive(process))
        r = -ENOENT;
    else if (!process->in_use)
        r = process_charge_user(process, uid);
    if (r == 0 && !process->in_use) {
        idle_remove(processes, process);
        process->in_use = true;
        processes->n_in_use++;
        mbox_ref(&box->mbox);
    }
    pthread_mutex_unlock(&processes->lock);
    return r;
}

/* Under the table's lock. */
static void processes_take_out(struct processes *processes, struct process *process)
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
static int processes_enter(struct processes *processes, struct process *process)
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

void process_free(struct box *box)
{
    struct process *process = process_of(box);
    struct processes *processes = process->processes;
    struct mbox_ready nobody = TAILQ_HEAD_INITIALIZER(nobody);

    pthread_mutex_lock(&processes->lock);
    processes_take_out(processes, process);
    pthread_mutex_unlock(&processes->lock);
    mbox_remove(&box->mbox, true, &nobody);
    process_close_pidfd(process);
    box_free(box);
}

/* Takes @process out of the table. Return: @process, with a reference, whose end is to be finished;
 * NULL: its last reference is being given back. Under the table's lock. */
static struct process *begin_end(struct processes *processes, struct process *process)
{
    processes_take_out(processes, process);
    return process->in_use || mbox_try_ref(&process->box.mbox) ? process : NULL;
}

/* Tells all who have to do with @process, and takes the reference. It may be NULL. */
static void finish_end(struct process *process, struct mbox_ready *ready)
{
    char name[PROCESS_PID_TEXT_MAX];

    if (!process)
        return;
    process_close_pidfd(process);
    process_format_pid(process->pid, name);
    mbox_remove(&process->box.mbox, true, ready);
    links_end(process, ready);
    box_tell_deletion(&process->box, process->processes->parent, name);
    mbox_unref(&process->box.mbox);
}

/* Who has waited for the end of a process may be quicker than the thread that waits for it here. */
void process_notice_end(struct box *box)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct process *process = process_of(box);
    struct processes *processes = process->processes;
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
        r = processes_enter(processes, made);
        process = made;
    }
    if (r == 0)
        *ret_process = process;
    return r;
}

/* Somebody looks for @pid. Return: as look_up_or_enter. */
static int processes_find_or_enter(struct processes *processes, pid_t pid, struct process *made,
                                   struct process **ret_process)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct process *ended;
    char name[PROCESS_PID_TEXT_MAX];
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
        process_format_pid(expired, name);
        box_tell_expiry(processes->boxes->kernel, box_uid(&(*ret_process)->box), processes->parent,
                        name);
    }
    return r;
}

int processes_find(struct processes *processes, pid_t pid, uid_t uid, struct process **ret_process)
{
    struct process *made;
    int r;

    processes_find_or_enter(processes, pid, NULL, ret_process);
    if (*ret_process)
        return 0;
    r = process_new(processes, pid, uid, &made);
    if (r < 0)
        return r;
    r = processes_find_or_enter(processes, pid, made, ret_process);
    if (r < 0 || *ret_process != made)
        mbox_unref(&made->box.mbox);
    return r;
}

void processes_end_all(struct processes *processes, struct mbox_ready *ready)
{
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
static void processes_end(struct processes *processes, pid_t pid)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct process *process;
    struct process *ended;

    pthread_mutex_lock(&processes->lock);
    process = look_up(processes, pid, &ended);
    pthread_mutex_unlock(&processes->lock);
    finish_end(ended, &ready);
    mbox_ready_run(&ready);
    /* Another one has that pid by now. */
    if (process)
        mbox_unref(&process->box.mbox);
}

static void *processes_run(void *arg)
{
    struct processes *processes = arg;
    struct epoll_event events[EVENTS_MAX];

    for (;;) {
        int n = epoll_wait(processes->epoll_fd, events, EVENTS_MAX, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == STOP)
                return NULL;
            processes_end(processes, (pid_t)events[i].data.u64);
        }
    }
}

int processes_init(struct processes *processes, struct boxes *boxes, const struct box_kind *kind,
                   struct node *const *parent)
{
    struct epoll_event stop = { .events = EPOLLIN, .data.u64 = STOP };

    *processes = (struct processes){ .boxes = boxes, .kind = kind, .parent = parent };
    pthread_mutex_init(&processes->lock, NULL);
    TAILQ_INIT(&processes->idle);
    processes->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    processes->stop_fd = eventfd(0, EFD_CLOEXEC);
    return epoll_ctl(processes->epoll_fd, EPOLL_CTL_ADD, processes->stop_fd, &stop) < 0 ? -errno
                                                                                        : 0;
}

int processes_start(struct processes *processes)
{
    int r = pthread_create(&processes->thread, NULL, processes_run, processes);

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
