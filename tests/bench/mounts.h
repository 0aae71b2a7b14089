/* The two filesystems, each mounted by a daemon that belongs to us and ends with us. */
#ifndef IPCFS_TESTS_BENCH_MOUNTS_H
#define IPCFS_TESTS_BENCH_MOUNTS_H

#include <limits.h>
#include <sched.h>
#include <sys/types.h>

struct mount {
    char dir[PATH_MAX]; /* empty: not made */
    pid_t pid;          /* the daemon; 0: none */
};

/* Makes the directory @dir and runs @argv, a program that stays in the foreground and mounts there,
 * on the CPUs @cpus. Return: 0, once it is mounted; -1, said on stderr: mount_end() cleans up. */
int mount_start(struct mount *mount, const char *dir, const char *const argv[],
                const cpu_set_t *cpus);

/* Ends the daemon, its mount and the directory, however broken they are. May be called again. */
void mount_end(struct mount *mount);

#endif
