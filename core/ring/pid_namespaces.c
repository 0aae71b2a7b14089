/* Asks all of /proc whether a claimer of another pid namespace may still live.
 *
 * Processes name themselves in a ring by the pid in their own namespace, which /proc/PID/status shows in its
 * line NSpid. Nothing is owned beyond a call, and there is no lock. */
#include "pid_namespaces.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/lib/ring_os.h"

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
static bool pid_namespaces_read_process(const char *entry, struct process *ret_process)
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

/* Return: whether @process may be the one that claims by @id, by what it calls itself. */
static bool may_be(const struct process *process, uint32_t id)
{
    uint32_t tag = id & IPCRING_ID_START << IPCRING_ID_START_SHIFT;

    /* Who knows when it started knows its namespace too, and is not of the first. */
    return process->pid == (pid_t)(id & IPCRING_ID_PID) && (tag == 0 || process->is_nested);
}

/* Process @entry of /proc is somebody's namesake, maybe of several. */
static void pid_namespaces_look_at(const char *entry, const uint32_t *ids, unsigned int n,
                                   bool *lacks, bool (*is_dead)(void *arg, uint32_t id), void *arg)
{
    uint32_t own_pid = (uint32_t)strtoul(entry, NULL, 10);
    struct process process;

    if (!pid_namespaces_read_process(entry, &process))
        return;
    for (unsigned int i = 0; i < n; i++) {
        uint32_t tag = ids[i] & IPCRING_ID_START << IPCRING_ID_START_SHIFT;

        if (lacks[i] && may_be(&process, ids[i]))
            lacks[i] = is_dead(arg, own_pid | tag);
    }
}

void pid_namespaces_lack(const uint32_t *ids, unsigned int n, bool *ret_lacks,
                         bool (*is_dead)(void *arg, uint32_t id), void *arg)
{
    DIR *proc = sees_all() ? opendir("/proc") : NULL;
    struct dirent *entry;

    for (unsigned int i = 0; i < n; i++)
        ret_lacks[i] = proc;
    if (!proc)
        return;
    while ((entry = readdir(proc))) {
        if (isdigit((unsigned char)entry->d_name[0]))
            pid_namespaces_look_at(entry->d_name, ids, n, ret_lacks, is_dead, arg);
    }
    closedir(proc);
}
