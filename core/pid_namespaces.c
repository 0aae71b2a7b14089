#include "pid_namespaces.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ring_map.h"

/* The inode of the first pid namespace, fixed in the kernel (proc_ns.h). */
#define FIRST_PID_NAMESPACE 0xeffffffcU

static bool sees_all(void)
{
    struct stat st;

    return stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == FIRST_PID_NAMESPACE;
}

struct process {
    pid_t pid;      /* as it calls itself */
    bool is_nested; /* its namespace is not the first */
};

/* Reads the line NSpid of proc_pid_status(5): its pids, from that of the first namespace to its own.
 * Return: whether process @entry of /proc is there. */
static bool read_process(const char *entry, struct process *ret_process)
{
    char path[300];
    char line[512];
    bool found = false;
    FILE *status;

    snprintf(path, sizeof(path), "/proc/%s/status", entry);
    status = fopen(path, "re");
    if (!status)
        return false;
    while (!found && fgets(line, sizeof(line), status)) {
        const char *first = strchr(line, '\t');
        const char *last = strrchr(line, '\t');

        if (strncmp(line, "NSpid:", 6) != 0 || !first)
            continue;
        found = true;
        ret_process->pid = (pid_t)strtol(last + 1, NULL, 10);
        ret_process->is_nested = last != first;
    }
    fclose(status);
    return found;
}

/* Start times differ from one time namespace to another. */
static bool shares_clock(const char *entry)
{
    struct stat ours;
    struct stat theirs;
    char path[300];

    if (stat("/proc/self/ns/time", &ours) < 0)
        return errno == ENOENT;
    snprintf(path, sizeof(path), "/proc/%s/ns/time", entry);
    return stat(path, &theirs) == 0 && theirs.st_ino == ours.st_ino;
}

/* Return: whether process @entry of /proc may be the one that claims by @id, and lives. */
static bool may_be(const char *entry, uint32_t id)
{
    uint32_t tag = id & IPCRING_ID_START << IPCRING_ID_START_SHIFT;
    struct process process;

    if (!read_process(entry, &process) || process.pid != (pid_t)(id & IPCRING_ID_PID))
        return false;
    /* Who knows when it started knows its namespace too, and is not of the first. */
    if (tag != 0 && !process.is_nested)
        return false;
    if (!shares_clock(entry))
        tag = 0;
    return !ipcring_os_claimer_is_dead((uint32_t)strtoul(entry, NULL, 10) | tag);
}

bool pid_namespaces_lack(uint32_t id)
{
    struct dirent *entry;
    bool found = false;
    DIR *proc;

    if (!sees_all())
        return false;
    proc = opendir("/proc");
    if (!proc)
        return false;
    while (!found && (entry = readdir(proc))) {
        if (isdigit((unsigned char)entry->d_name[0]))
            found = may_be(entry->d_name, id);
    }
    closedir(proc);
    return !found;
}
