#include "process.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "quote.h"
#include "util.h"

/* The kernel's PF_EXITING (its include/linux/sched.h; proc(5) has the field): files are closed, and it is no zombie yet. */
#define PROCESS_EXITING 0x4u

/* Field 2 is in parentheses and may hold any character; field 3 follows the last one. */
static void parse_stat(char *line, struct process *ret)
{
    char *open = strchr(line, '(');
    char *close = strrchr(line, ')');
    char state;
    unsigned int flags;
    int n_threads;

    if (!open || !close || close < open ||
        sscanf(close + 1,
               " %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d %*d "
               "%" SCNu64,
               &state, &flags, &n_threads, &ret->start_time) != 4)
        return;
    *close = '\0';
    snprintf(ret->name, sizeof(ret->name), "%s", open + 1);
    /* A process whose first thread has ended lives on in its others. */
    ret->lives = !((state == 'Z' || state == 'X' || (flags & PROCESS_EXITING)) && n_threads <= 1);
}

void process_look(pid_t pid, struct process *ret)
{
    char path[64];
    AUTO_FREE char *line = NULL;
    size_t n_allocated = 0;
    FILE *file;

    *ret = (struct process){ .lives = kill(pid, 0) == 0 || errno != ESRCH };
    if (!ret->lives)
        return;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return;
    /* To the end: the name may hold newlines. */
    if (getdelim(&line, &n_allocated, '\0', file) > 0)
        parse_stat(line, ret);
    fclose(file);
}

char *process_show(pid_t pid)
{
    AUTO_FREE char *name = NULL;
    struct process process;

    process_look(pid, &process);
    if (!process.name[0])
        return xasprintf("process %d", (int)pid);
    name = quote(process.name, false);
    return xasprintf("process %d (%s)", (int)pid, name);
}

char *process_user(uid_t uid)
{
    const struct passwd *passwd = getpwuid(uid);

    return passwd ? xstrdup(passwd->pw_name) : xasprintf("%u", (unsigned int)uid);
}

char *process_group(gid_t gid)
{
    const struct group *group = getgrgid(gid);

    return group ? xstrdup(group->gr_name) : xasprintf("%u", (unsigned int)gid);
}
