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
 * Here is one process and what is known of it; processes.h has the table of all, and the thread.
 *
 * Locks: the table's is taken before a mailbox's. No last reference is given back under it.
 *
 * Context: any thread, where it says nothing else; nothing waits. */
#ifndef IPCFS_FS_PROCESS_H
#define IPCFS_FS_PROCESS_H

#include "fs/mailbox/box.h"

#define PROCESS_PID_TEXT_MAX 16

/* What a process takes while it is here: with what is kept of its files, what malloc adds, and a
 * node. */
#define PROCESS_KEPT_BYTES (sizeof(struct process) + BOX_N_FILES_MAX * sizeof(struct attr) + 256)

struct process {
    struct box box;
    struct processes *processes;
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

/* The table (processes.h). */
struct processes {
    struct boxes *boxes;
    const struct box_kind *kind; /* what each process is as a box; its first own file is link/ */
    struct node *const *parent;  /* the slot of the directory's node */
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

static inline struct process *process_ref(struct process *process)
{
    mbox_ref(&process->box.mbox);
    return process;
}

static inline void process_unref(struct process *process)
{
    mbox_unref(&process->box.mbox);
}

/* Return: what its link/ is. */
static inline const struct box_file *process_link_file(const struct process *process)
{
    return &process->box.kind->own.list[0];
}

/* Makes a process that is in no table yet, charged to @uid. One reference, the caller's. Return: 0; -ENOENT: it
 * is not alive, or no process but a thread, or not in sight; -EDQUOT; -ENOSPC; -ENFILE; -ENOMEM.
 * Context: any thread; never waits. */
int process_new(struct processes *processes, pid_t pid, uid_t uid, struct process **ret_process);

/* It counts for @uid, who is going to use it. Return: 0; -EDQUOT; -ENOMEM. Context: under the table's lock. */
int process_charge_user(struct process *process, uid_t uid);

/* It has ended: gives its descriptor back, for nodes and open files may hold it for long. Context: any thread. */
void process_close_pidfd(struct process *process);

/* Return: whether @process lives, told by the process itself: its end may not have begun here yet. Context: any
 * thread; under the table's lock, or not. */
bool process_is_alive(struct process *process);

/* Return: whether the end of @process has begun: then it is in no table, and the kernel will be told.
 * Context: any thread, not under the table's lock. */
bool process_has_ended(struct process *process);

/* Return: the effective uid of @process; once it has ended, what that was. Context: as process_is_alive. */
uid_t process_uid(struct process *process);

/* For struct box_kind, which says what each returns. */
int process_admit(struct box *box, const struct caller *caller);
void process_refresh(struct box *box);
void process_tell_name(struct box *box, char ret_name[MBOX_NAME_BYTES_MAX + 1]);

/* Return: the pid that @name is; 0: it is none. */
pid_t process_parse_pid(const char *name);

void process_format_pid(pid_t pid, char name[PROCESS_PID_TEXT_MAX]);

#endif
