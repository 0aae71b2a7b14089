#include "ring_map.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)

bool ipcring_os_wake(_Atomic uint32_t *word)
{
    uint32_t value = atomic_load_explicit(word, memory_order_seq_cst);
    uint32_t next = ((value + 1) & ~IPCRING_CLOSED) | (value & IPCRING_CLOSED);

    if (!(value & IPCRING_SLEEPERS))
        return false;
    /* Who gets in between wakes the same sleepers. Who dies here leaves them to IPCRING_SLEEP_NS. */
    if (!atomic_compare_exchange_strong(word, &value, next))
        return true;
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    return true;
}

int ipcring_os_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
    struct timespec timeout = {
        .tv_sec = (time_t)(timeout_ns / NS_PER_S),
        .tv_nsec = (long)(timeout_ns % NS_PER_S),
    };

    if (syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, NULL, 0) == 0)
        return 0;
    return errno == ETIMEDOUT || errno == EINTR ? -errno : 0;
}

bool ipcring_os_register_membarrier(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

bool ipcring_os_membarrier(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
}

uint64_t ipcring_os_pid_namespace(void)
{
    struct stat st;

    return stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
}

/* What /proc/PID/stat says of a process. */
struct process {
    char state;
    long n_threads;
    unsigned long long start_time;
};

/* Allocates nothing and takes no lock: it is called in the child of a fork. */
static bool read_process(const char *path, struct process *ret_process)
{
    char text[1024];
    char *field;
    ssize_t n;
    int fd;

    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    /* Field 2 is the name in parentheses, whatever that holds. */
    field = strrchr(text, ')');
    if (!field || field[1] != ' ' || !field[2])
        return false;
    field += 2;
    ret_process->state = *field;
    for (int i = 3; i < 20; i++) {
        field = strchr(field, ' ');
        if (!field)
            return false;
        field++;
    }
    ret_process->n_threads = strtol(field, &field, 10);
    strtol(field, &field, 10);
    ret_process->start_time = strtoull(field, NULL, 10);
    return true;
}

static uint32_t start_tag(const struct process *process)
{
    return 1 + (uint32_t)(process->start_time % IPCRING_ID_START_MODULUS);
}

uint32_t ipcring_os_own_id(void)
{
    struct process process;
    /* Not by its pid: where /proc is another namespace's, that is another process. */
    uint32_t tag = read_process("/proc/self/stat", &process) ? start_tag(&process) : 0;

    return ((uint32_t)getpid() & IPCRING_ID_PID) | tag << IPCRING_ID_START_SHIFT;
}

/* Whether /proc shows this process's pid namespace, and not the one around it. */
static bool has_own_proc(void)
{
    char self[16] = "";

    return readlink("/proc/self", self, sizeof(self) - 1) > 0 &&
           strtol(self, NULL, 10) == (long)getpid();
}

bool ipcring_os_claimer_is_dead(uint32_t id)
{
    pid_t pid = (pid_t)(id & IPCRING_ID_PID);
    uint32_t tag = id >> IPCRING_ID_START_SHIFT & IPCRING_ID_START;
    struct process process;
    char path[32];

    if (pid == 0)
        return true;
    if (kill(pid, 0) < 0 && errno == ESRCH)
        return true;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!has_own_proc() || !read_process(path, &process))
        return false;
    /* A leader that has ended while its threads go on looks like a zombie too. */
    if ((process.state == 'Z' || process.state == 'X') && process.n_threads <= 1)
        return true;
    return tag != 0 && tag != start_tag(&process);
}
