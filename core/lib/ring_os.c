/* The system calls of libipcring: futexes, membarrier, and what /proc tells of a claimer.
 *
 * Nothing is owned and there is no lock. A claimer is taken for dead only where that is sure: a pid that can't
 * be seen, or that /proc describes in another namespace's terms, lives on. */
#include "ring_os.h"

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
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)

/* PID_FS_MAGIC of <linux/magic.h>, Linux 6.9: each process has an inode of its own there, which none has again. */
#define PIDFS_MAGIC 0x50494446

bool ipcring_os_wake(_Atomic uint32_t *word)
{
    uint32_t value = atomic_load_explicit(word, memory_order_seq_cst); /* H */
    uint32_t next = ((value + 1) & ~IPCRING_CLOSED) | (value & IPCRING_CLOSED);

    if (!(value & IPCRING_SLEEPERS))
        return false;
    /* Who gets in between wakes the same sleepers. Who dies here leaves them to IPCRING_SLEEP_NS. */
    if (!atomic_compare_exchange_strong(word, &value, next)) /* H */
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
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0)
        return true;
    /* Those who have a fence of their own in H pair with this one. An acquire load may else come before
     * the store of the announcement (LDAPR on ARM). */
    atomic_thread_fence(memory_order_seq_cst); /* G */
    return false;
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
    int64_t start_ticks;
};

/* Allocates nothing and takes no lock, as all below: it is called in the child of a fork. Return: whether
 * there is something in the file. */
static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return false;
    n = read(fd, text, size - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return true;
}

static bool read_process(const char *path, struct process *ret_process)
{
    char text[1024];
    char *field;

    if (!read_text(path, text, sizeof(text)))
        return false;
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
    ret_process->start_ticks = (int64_t)strtoull(field, NULL, 10);
    return true;
}

/* --- Time namespaces --- */

/* /proc shows start times in the reader's time namespace, in ticks of a hundredth of a second. */
#define NS_PER_TICK 10000000

static bool is_same_file(const char *a, const char *b)
{
    struct stat of_a;
    struct stat of_b;

    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_ino == of_b.st_ino;
}

/* Reads the line `boottime SECONDS NANOSECONDS` of /proc/PID/timens_offsets (time_namespaces(7)). Return: whether it
 * can be told. */
static bool read_offset(const char *path, int64_t *ret_ns)
{
    char text[256];
    const char *line;
    char *end;

    *ret_ns = 0;
    if (access(path, F_OK) < 0 && errno == ENOENT && access("/proc/self/stat", F_OK) == 0)
        return true;
    if (!read_text(path, text, sizeof(text)))
        return false;
    line = strstr(text, "boottime");
    if (!line)
        return false;
    *ret_ns = strtoll(line + strlen("boottime"), &end, 10) * (int64_t)NS_PER_S;
    *ret_ns += strtoll(end, NULL, 10);
    return true;
}

/* The file tells of the namespace that children are put into, which may be another. */
static bool read_own_offset(int64_t *ret_ns)
{
    if (!read_offset("/proc/self/timens_offsets", ret_ns))
        return false;
    return access("/proc/self/ns/time", F_OK) < 0 ||
           is_same_file("/proc/self/ns/time", "/proc/self/ns/time_for_children");
}

static uint32_t start_tag(int64_t start_ticks)
{
    return 1 + (uint32_t)((uint64_t)start_ticks % IPCRING_ID_START_MODULUS);
}

/* The file of the first thread tells what that of the process does. An emulator of another processor
 * (qemu-user) shows its program a /proc/PID/stat of its own, with another start; not this one. */
static bool read_process_of(pid_t pid, struct process *ret_process)
{
    char path[48];

    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)pid);
    return read_process(path, ret_process);
}

/* Whether /proc shows this process's pid namespace, and not the one around it. */
static bool has_own_proc(void)
{
    char self[16] = "";

    return readlink("/proc/self", self, sizeof(self) - 1) > 0 &&
           strtol(self, NULL, 10) == (long)getpid();
}

/* What others read of this process. */
static bool read_self(struct process *ret_process)
{
    /* Not by its pid: where /proc is another namespace's, that is another process. */
    return has_own_proc() ? read_process_of(getpid(), ret_process)
                          : read_process("/proc/self/stat", ret_process);
}

uint32_t ipcring_os_own_id(void)
{
    struct process process;
    int64_t offset_ns;
    uint32_t tag = 0;

    /* What is not a whole number of ticks can't be taken off again. */
    if (read_own_offset(&offset_ns) && offset_ns % NS_PER_TICK == 0 && read_self(&process))
        tag = start_tag(process.start_ticks - offset_ns / NS_PER_TICK);
    return ((uint32_t)getpid() & IPCRING_ID_PID) | tag << IPCRING_ID_START_SHIFT;
}

/* Return: whether a process that started at @ticks may have written @tag: as it should, or as programs
 * did that knew nothing of time namespaces, by the clock of its own. */
static bool may_have_tag(pid_t pid, int64_t ticks, uint32_t tag)
{
    int64_t ours_ns;
    int64_t theirs_ns;
    char path[40];

    if (tag == start_tag(ticks) && read_own_offset(&ours_ns) && ours_ns == 0)
        return true;
    snprintf(path, sizeof(path), "/proc/%d/timens_offsets", (int)pid);
    if (!read_own_offset(&ours_ns) || !read_offset(path, &theirs_ns))
        return true;
    ticks -= ours_ns / NS_PER_TICK;
    /* What was rounded may be one off. */
    for (int64_t i = -1; i <= 1; i++) {
        if ((i == 0 || ours_ns % NS_PER_TICK != 0) && tag == start_tag(ticks + i))
            return true;
        if ((i == 0 || (ours_ns | theirs_ns) % NS_PER_TICK != 0) &&
            tag == start_tag(ticks + theirs_ns / NS_PER_TICK + i))
            return true;
    }
    return false;
}

/* --- Claimers --- */

enum ipcring_os_life ipcring_os_look(pid_t pid, uint64_t *ret_ino)
{
    struct pollfd exited = { .events = POLLIN };
    enum ipcring_os_life life = IPCRING_OS_UNKNOWN;
    struct statfs fs;
    struct stat st;

    *ret_ino = 0;
    exited.fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (exited.fd < 0)
        return errno == ESRCH ? IPCRING_OS_DEAD : IPCRING_OS_UNKNOWN;
    switch (poll(&exited, 1, 0)) {
    case 0:
        life = IPCRING_OS_LIVES;
        break;
    case 1:
        life = IPCRING_OS_DEAD;
        break;
    default:
        break;
    }
    if (fstatfs(exited.fd, &fs) == 0 && fs.f_type == PIDFS_MAGIC && fstat(exited.fd, &st) == 0)
        *ret_ino = st.st_ino;
    close(exited.fd);
    return life;
}

/* Who waits for a process that is being executed anew may wait for long: what /proc/PID/stat does. Then it
 * has no code yet. */
static bool is_in_execve(pid_t pid)
{
    static const char name[] = "\nVmExe:";
    char text[4096];
    char path[32];
    const char *line;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (!read_text(path, text, sizeof(text)))
        return false;
    line = strstr(text, name);
    return line && strtol(line + strlen(name), NULL, 10) == 0;
}

bool ipcring_os_claimer_is_dead(uint32_t id)
{
    pid_t pid = (pid_t)(id & IPCRING_ID_PID);
    uint32_t tag = id >> IPCRING_ID_START_SHIFT & IPCRING_ID_START;
    enum ipcring_os_life life;
    struct process process;
    uint64_t ino;

    if (pid == 0)
        return true;
    life = ipcring_os_look(pid, &ino);
    if (life == IPCRING_OS_DEAD || (kill(pid, 0) < 0 && errno == ESRCH))
        return true;
    if (life == IPCRING_OS_LIVES && tag == 0)
        return false;
    if (!has_own_proc() || is_in_execve(pid) || !read_process_of(pid, &process))
        return false;
    /* A leader that has ended while its threads go on looks like a zombie too. */
    if ((process.state == 'Z' || process.state == 'X') && process.n_threads <= 1)
        return true;
    return tag != 0 && !may_have_tag(pid, process.start_ticks, tag);
}
