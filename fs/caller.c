#include "caller.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The null signal reaches nobody, but the kernel first checks that @tid is a thread of @pid: a
 * hundred times cheaper than to read /proc, and never out of date. EPERM says yes too. */
static bool is_thread_of(pid_t tid, pid_t pid)
{
    return syscall(SYS_tgkill, pid, tid, 0) == 0 || errno == EPERM;
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
