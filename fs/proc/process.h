/* A process as a directory: a mailbox that is named by a pid.
 *
 * Once a file in it has been opened or changed it is in use: the table holds a reference then, until
 * the process ends. Before that it is only there because somebody looks: the kernel holds nodes of
 * it. The kernel would do so for long, so it is asked to forget all but the few that were looked at
 * last. One thread waits for the ends of all.
 *
 * It takes memory and a descriptor: while it is only there for those who look, these count for who looked
 * first, and then for who used it first; not for the process, which has no say in it.
 *
 * A process is known by its pidfd: a pid that is used again is another process's, which inherits
 * nothing. It ends when it exits, also while it is a zombie that nobody has waited for.
 *
 * The directory and its files belong to the effective uid and gid of the process at the time of
 * asking, as in procfs. A change of them is a chown: it takes the files along, and leaves the modes
 * and what was changed by hand otherwise. Who has a file open keeps it.
 *
 * Locks: the table's is taken before a mailbox's. No last reference is given back under it. */
#ifndef IPCFS_FS_PROCESS_H
#define IPCFS_FS_PROCESS_H

#include "fs/mailbox/box.h"

struct process {
    struct box box;
    struct kernel *kernel;
    pid_t pid;
    /* Under box.lock: */
    int pidfd;    /* -1: it has ended */
    uid_t fd_uid; /* whose descriptor it is */
    /* Whose it was when last asked. */
    uid_t uid;
    gid_t gid;
    /* Under the table's lock: */
    bool in_use;
    bool is_idle; /* in the list of those */
    bool ended;
    struct side *sides;          /* of its links (link.c), by the other's pid */
    LIST_HEAD(, end_name) names; /* of others' ends of links to it, that the kernel knows */
    /* Of those that its end is to end; of who ends it. */
    SLIST_HEAD(, side) detached;
    UT_hash_handle hh;
    TAILQ_ENTRY(process) idle_link;
};

struct processes {
    pthread_mutex_t lock;
    /* Under lock: */
    struct process *table; /* by pid; references only to those in use */
    size_t n_in_use;
    size_t n_links;
    TAILQ_HEAD(, process) idle; /* not in use, the one that was looked up last at the end */
    size_t n_idle;
    pthread_t thread;
    bool started;
    int epoll_fd; /* all their pidfds, as pids */
    int stop_fd;  /* an eventfd, as pid 0 */
};

static inline struct process *process_of(struct box *box)
{
    return (struct process *)((char *)box - offsetof(struct process, box));
}

/* Return: 0; a negative errno. @processes is to be deinited in any case. */
int processes_init(struct processes *processes);

/* Starts the thread. Return: 0; a negative errno. */
int processes_start(struct kernel *kernel);
void processes_stop(struct processes *processes);

/* The last reference to a process is gone. */
void processes_deinit(struct processes *processes);

/* @uid looks for a process; if it is new here, it counts for him, until somebody uses it. Return: 0 with a
 * reference to the process (its mailbox's); -ENOENT: it is not alive, or no process but a thread, or not in
 * sight; -EDQUOT; -ENOSPC; -ENFILE; -ENOMEM. */
int process_find(struct kernel *kernel, pid_t pid, uid_t uid, struct process **ret_process);

/* Return: whether the end of @process has begun: then it is in no table, and the kernel will be told. */
bool process_has_ended(struct process *process);

/* Return: whether @process lives, told by the process itself: its end may not have begun here yet. */
bool process_is_alive(struct process *process);

/* Return: the effective uid of @process; once it has ended, what that was. */
uid_t process_uid(struct process *process);

/* As if all in use had ended. */
void processes_end_all(struct kernel *kernel, struct mbox_ready *ready);

/* Calls @visit for each in use, under the table's lock, until it returns other than 0.
 * Return: what the last visit returned; 0. */
int processes_each(struct processes *processes, int (*visit)(struct process *process, void *arg),
                   void *arg);

/* Return: how many are in use. */
size_t processes_count(struct processes *processes);

/* Return: how many links there are. */
size_t processes_count_links(struct processes *processes);

#endif
