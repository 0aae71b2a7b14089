/* Nothing here touches a mount: a daemon that hangs would take us along. Whether one is there says
 * /proc/self/mountinfo. */
#include "mounts.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_TIMEOUT_MS 10000
#define END_TIMEOUT_MS 5000
#define STEP_MS 5

static void sleep_step(void)
{
    struct timespec step = { .tv_nsec = STEP_MS * 1000000L };

    nanosleep(&step, NULL);
}

static bool is_mounted(const char *dir)
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    char line[2 * PATH_MAX];
    char point[PATH_MAX];
    bool found = false;

    while (mounts && !found && fgets(line, sizeof(line), mounts))
        found = sscanf(line, "%*s %*s %*s %*s %4095s", point) == 1 && strcmp(point, dir) == 0;
    if (mounts)
        fclose(mounts);
    return found;
}

__attribute__((noreturn)) static void become_daemon(const char *const argv[], const cpu_set_t *cpus,
                                                    pid_t parent)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* A terminal's Ctrl-C is for us, who then end the daemon. */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(EXIT_FAILURE);
    sched_setaffinity(0, sizeof(*cpus), cpus);
    execv(argv[0], (char *const *)argv);
    fprintf(stderr, "bench: can't run '%s': %s\n", argv[0], strerror(errno));
    _exit(EXIT_FAILURE);
}

/* Return: whether the daemon has ended by itself. */
static bool has_ended(struct mount *mount)
{
    if (mount->pid > 0 && waitpid(mount->pid, NULL, WNOHANG) == mount->pid)
        mount->pid = 0;
    return mount->pid == 0;
}

int mount_start(struct mount *mount, const char *dir, const char *const argv[],
                const cpu_set_t *cpus)
{
    pid_t parent = getpid();

    *mount = (struct mount){ 0 };
    if (mkdir(dir, 0700) < 0) {
        fprintf(stderr, "bench: can't make '%s': %s\n", dir, strerror(errno));
        return -1;
    }
    snprintf(mount->dir, sizeof(mount->dir), "%s", dir);
    mount->pid = fork();
    if (mount->pid < 0) {
        mount->pid = 0;
        perror("bench: fork");
        return -1;
    }
    if (mount->pid == 0)
        become_daemon(argv, cpus, parent);
    for (int ms = 0; ms < START_TIMEOUT_MS; ms += STEP_MS) {
        if (is_mounted(dir))
            return 0;
        if (has_ended(mount))
            break;
        sleep_step();
    }
    fprintf(stderr, "bench: '%s' did not mount\n", argv[0]);
    return -1;
}

static void unmount(const char *dir)
{
    const char *const argv[] = { "fusermount3", "-u", "-z", "--", dir, NULL };
    pid_t pid;

    if (umount2(dir, MNT_DETACH) == 0)
        return;
    pid = fork();
    if (pid == 0) {
        execvp(argv[0], (char *const *)argv);
        _exit(EXIT_FAILURE);
    }
    if (pid > 0)
        waitpid(pid, NULL, 0);
}

static void end_daemon(struct mount *mount)
{
    kill(mount->pid, SIGTERM);
    for (int ms = 0; ms < END_TIMEOUT_MS && !has_ended(mount); ms += STEP_MS)
        sleep_step();
    if (mount->pid == 0)
        return;
    fprintf(stderr, "bench: the daemon of '%s' does not end: killed\n", mount->dir);
    kill(mount->pid, SIGKILL);
    waitpid(mount->pid, NULL, 0);
    mount->pid = 0;
}

void mount_end(struct mount *mount)
{
    if (mount->pid > 0)
        end_daemon(mount);
    if (mount->dir[0] && is_mounted(mount->dir))
        unmount(mount->dir);
    if (mount->dir[0] && rmdir(mount->dir) < 0)
        fprintf(stderr, "bench: '%s' is left behind: %s\n", mount->dir, strerror(errno));
    mount->dir[0] = '\0';
}
