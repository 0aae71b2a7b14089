/* What /proc tells about a process. */
#ifndef IPCFS_TOOLS_CTL_PROCESS_H
#define IPCFS_TOOLS_CTL_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
    bool lives;          /* false: it is gone, or waits for its parent to notice */
    uint64_t start_time; /* field 22 of /proc/PID/stat; 0: not known */
    char name[64];       /* its program; empty: not known */
};

/* When in doubt it lives. */
void process_look(pid_t pid, struct process *ret);

/* Return: "process 4242 (bash)", the caller's to free. */
char *process_show(pid_t pid);

/* Return: the name of user @uid, or its number; the caller's to free. */
char *process_user(uid_t uid);
char *process_group(gid_t gid);

#endif
