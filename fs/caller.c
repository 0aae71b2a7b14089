#include "caller.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The null signal reaches nobody, but the kernel first checks that @tid is a thread of @pid: a
 * hundred times cheaper than to read /proc, and never out of date. EPERM says yes too. */
static bool is_thread_of(pid_t tid, pid_t pid)
{
    return syscall(SYS_tgkill, pid, tid, 0) == 0 || errno == EPERM;
}

/* What /proc/PID/stat says of a process or thread. */
struct process {
    pid_t ppid;
    int exit_code; /* as wait() gives it, once the process is ending; its low 7 bits: the signal */
};

/* The second field is a name in parentheses that may hold anything; the rest are numbers. */
static bool read_process(pid_t pid, struct process *ret)
{
    char path[64];
    char text[1024];
    const char *field;
    size_t n;
    FILE *stat;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    stat = fopen(path, "re");
    if (!stat)
        return false;
    n = fread(text, 1, sizeof(text) - 1, stat);
    fclose(stat);
    text[n] = '\0';
    field = strrchr(text, ')');
    if (!field || sscanf(field, ") %*c %d", &ret->ppid) != 1)
        return false;
    /* The 52nd field, of which we are after the second. */
    for (int i = 2; i < 52 && field; i++)
        field = strchr(field + 1, ' ');
    if (!field)
        return false;
    ret->exit_code = (int)strtol(field + 1, NULL, 10);
    return true;
}

static pid_t read_tgid(pid_t tid)
{
    char path[64];
    char line[256];
    pid_t pid = 0;
    FILE *status;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
    status = fopen(path, "re");
    if (!status)
        return 0;
    while (fgets(line, sizeof(line), status)) {
        if (sscanf(line, "Tgid: %d", &pid) == 1)
            break;
    }
    fclose(status);
    return pid;
}

pid_t caller_process(pid_t tid, pid_t hint)
{
    if (tid <= 0)
        return 0;
    if (is_thread_of(tid, tid))
        return tid;
    if (hint > 0 && is_thread_of(tid, hint))
        return hint;
    return read_tgid(tid);
}

/* Return: the pid of @pid's parent; 0 when there is none in sight. */
static pid_t parent_of(pid_t pid)
{
    struct process process;

    return read_process(pid, &process) ? process.ppid : 0;
}

bool caller_descends_from(pid_t tid, pid_t ancestor)
{
    pid_t pid = caller_process(tid, ancestor);

    while (pid > 0 && pid != ancestor)
        pid = parent_of(pid);
    return pid == ancestor && pid > 0;
}

bool caller_is_being_killed(pid_t tid)
{
    struct process process;

    return tid > 0 && read_process(tid, &process) && (process.exit_code & 0x7f) != 0;
}

struct msg_sender caller_as_sender(fuse_req_t req, _Atomic pid_t *last_pid)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    /* Relaxed: any value will do, caller_process() checks it. */
    pid_t hint = atomic_load_explicit(last_pid, memory_order_relaxed);
    pid_t pid = caller_process(ctx->pid, hint);

    if (pid != hint)
        atomic_store_explicit(last_pid, pid, memory_order_relaxed);
    return (struct msg_sender){ .pid = pid, .uid = ctx->uid, .gid = ctx->gid };
}
