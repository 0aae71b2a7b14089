/* What /proc and the null signal tell of a thread and its process, while its request keeps it from going away. */
#include "caller.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "file.h"

/* The field of /proc/TID/stat that says how a thread ends, as wait() gives it. */
#define STAT_EXIT_CODE 52

/* The null signal reaches nobody, but the kernel first checks that @tid is a thread of @pid: a
 * hundred times cheaper than to read /proc, and never out of date. EPERM says yes too. */
static bool is_thread_of(pid_t tid, pid_t pid)
{
    return syscall(SYS_tgkill, pid, tid, 0) == 0 || errno == EPERM;
}

/* What /proc/TID/status says of a thread.
 *
 * Not /proc/TID/stat: to read that the kernel waits for an execve that is under way, which in turn
 * waits for us while it closes files, and nobody goes on any more. */
struct status {
    pid_t pid;
    pid_t ppid;
    uid_t euid;
    gid_t egid;
};

/* Reads one line, by its key: there are many, and few of them matter. */
static void caller_read_line(const char *line, struct status *ret)
{
    if (strncmp(line, "Tgid:", 5) == 0)
        sscanf(line + 5, "%d", &ret->pid);
    else if (strncmp(line, "PPid:", 5) == 0)
        sscanf(line + 5, "%d", &ret->ppid);
    else if (strncmp(line, "Uid:", 4) == 0)
        sscanf(line + 4, "%*u %u", &ret->euid);
    else if (strncmp(line, "Gid:", 4) == 0)
        sscanf(line + 4, "%*u %u", &ret->egid);
}

static bool read_status(pid_t tid, struct status *ret)
{
    char path[64];
    char line[256];
    FILE *file;

    *ret = (struct status){ 0 };
    snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
    file = fopen(path, "re");
    if (!file)
        return false;
    while (fgets(line, sizeof(line), file)) {
        caller_read_line(line, ret);
        /* The last of them. */
        if (strncmp(line, "Gid:", 4) == 0)
            break;
    }
    fclose(file);
    return ret->pid > 0;
}

/* What a thread has by /proc/TID/statm, which waits for nobody, as status does, and costs a tenth: it is read at each close. */
struct memory {
    bool is_there; /* a thread gives it up before it closes its files, when it exits */
    /* execve gives it new memory before it closes the files that are to be closed then, and only puts the
     * new program there afterwards. */
    bool has_program;
};

static bool read_memory(pid_t tid, struct memory *ret)
{
    char path[64];
    char text[128];
    unsigned long n_pages;
    unsigned long n_program;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/statm", (int)tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    if (sscanf(text, "%lu %*u %*u %lu", &n_pages, &n_program) != 2)
        return false;
    *ret = (struct memory){ .is_there = n_pages > 0, .has_program = n_program > 0 };
    return true;
}

unsigned long long caller_stat_field(pid_t tid, unsigned int number)
{
    char path[64];
    char text[1024];
    const char *field;
    size_t n;
    FILE *stat;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)tid);
    stat = fopen(path, "re");
    if (!stat)
        return 0;
    n = fread(text, 1, sizeof(text) - 1, stat);
    fclose(stat);
    text[n] = '\0';
    /* The second field is a name in parentheses that may hold anything. */
    field = strrchr(text, ')');
    for (unsigned int i = 2; i < number && field; i++)
        field = strchr(field + 1, ' ');
    return field ? strtoull(field + 1, NULL, 10) : 0;
}

struct caller caller_of(fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);

    return (struct caller){ .tid = ctx->pid, .uid = ctx->uid, .gid = ctx->gid };
}

bool caller_is_in_group(fuse_req_t req, gid_t gid)
{
    int n = fuse_req_ctx(req)->gid == gid ? 0 : fuse_req_getgroups(req, 0, NULL);
    gid_t *groups = n > 0 ? calloc((size_t)n, sizeof(*groups)) : NULL;
    bool is_in = fuse_req_ctx(req)->gid == gid;

    /* It may have left some since. */
    if (groups) {
        int n_now = fuse_req_getgroups(req, n, groups);

        for (int i = 0; i < n && i < n_now; i++)
            is_in = is_in || groups[i] == gid;
    }
    free(groups);
    return is_in;
}

pid_t caller_process(pid_t tid, pid_t hint)
{
    struct status status;

    if (tid <= 0)
        return 0;
    if (is_thread_of(tid, tid))
        return tid;
    if (hint > 0 && is_thread_of(tid, hint))
        return hint;
    return read_status(tid, &status) ? status.pid : 0;
}

bool caller_ids(pid_t pid, uid_t *ret_uid, gid_t *ret_gid)
{
    struct status status;

    if (!read_status(pid, &status))
        return false;
    *ret_uid = status.euid;
    *ret_gid = status.egid;
    return true;
}

pid_t caller_parent(pid_t pid)
{
    struct status status;

    return read_status(pid, &status) ? status.ppid : 0;
}

bool caller_can_wait(pid_t tid)
{
    struct memory memory;

    return tid <= 0 || !read_memory(tid, &memory) || memory.has_program;
}

bool caller_is_in_execve(pid_t tid)
{
    struct memory memory;

    return tid > 0 && read_memory(tid, &memory) && memory.is_there && !memory.has_program;
}

bool caller_is_exiting(pid_t tid)
{
    struct memory memory;

    return tid > 0 && read_memory(tid, &memory) && !memory.is_there;
}

bool caller_is_being_killed(pid_t tid)
{
    /* The low 7 bits are the signal; 0: it called exit(). */
    return caller_is_exiting(tid) && (caller_stat_field(tid, STAT_EXIT_CODE) & 0x7f) != 0;
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

struct msg_sender caller_as_writer(fuse_req_t req, const struct file *file, _Atomic pid_t *last_pid)
{
    struct msg_sender sender = caller_as_sender(req, last_pid);

    sender.uid = file->opener.uid;
    sender.gid = file->opener.gid;
    return sender;
}
