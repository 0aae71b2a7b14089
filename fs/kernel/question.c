/* A descriptor of one of our files is known by the mount's device and the node's id, both of which the kernel
 * tells of /proc/PID/fd/N without asking the file's own filesystem (AT_STATX_DONT_SYNC; a file handle holds
 * the node's id): that may be us, who would wait for ourselves, or somebody else's FUSE, which may never
 * answer. Inode numbers alone don't do: other filesystems have the same, and all opens of one name.
 *
 * Not fdinfo: an epoll descriptor keeps whoever reads it waiting while its owner likes. Not during execve:
 * there fd/N waits. */
#include "question.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "caller.h"
#include "core/base/fd.h"
#include "pidfd.h"

/* Some forty descriptors' names. */
#define NAMES_BYTES 1024

/* A FUSE file's handle, FILEID_INO64_GEN: the node's id, upper half first, and its generation. */
#define HANDLE_TYPE 0x81
#define HANDLE_BYTES 12

struct question question_closes_last(pid_t tid, pid_t pid, const struct question_file *file)
{
    bool is_possible = caller_process(tid, pid) == pid && !caller_is_in_execve(tid);

    return (struct question){
        .kind = QUESTION_LAST_CLOSE,
        .pid = is_possible ? pid : 0,
        .file = *file,
        .pidfd = -1,
    };
}

struct question question_descends(pid_t tid, pid_t ancestor)
{
    return (struct question){
        .kind = QUESTION_DESCENT,
        .pid = caller_process(tid, ancestor),
        .ancestor = ancestor,
        .pidfd = -1,
    };
}

/* Return: whether the kernel tells the node's id of descriptor @name in @dir. */
static bool read_node_id(int dir, const char *name, uint64_t *ret_id)
{
    union {
        struct file_handle handle;
        unsigned char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } u;
    uint32_t words[2];
    int mount_id;

    u.handle.handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(dir, name, &u.handle, &mount_id, AT_SYMLINK_FOLLOW) < 0)
        return false;
    if (u.handle.handle_type != HANDLE_TYPE || u.handle.handle_bytes != HANDLE_BYTES)
        return false;
    __builtin_memcpy(words, u.handle.f_handle, sizeof(words));
    *ret_id = (uint64_t)words[0] << 32 | words[1];
    return true;
}

/* Return: whether descriptor @name in @dir stands for @file. */
static bool is_file(int dir, const char *name, const struct question_file *file)
{
    struct statx found;
    uint64_t node_id;

    if (statx(dir, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &found) < 0)
        return false;
    if (found.stx_ino != file->ino)
        return false;
    if (file->dev && makedev(found.stx_dev_major, found.stx_dev_minor) != file->dev)
        return false;
    return !read_node_id(dir, name, &node_id) || node_id == file->node_id;
}

/* Looks at the next descriptors that @dir lists. Return: 0: @file is not among them; 1: it is; QUESTION_OPEN. */
static int look_at_some(struct question *question, int dir, unsigned int *n_looked)
{
    char names[NAMES_BYTES] __attribute__((aligned(__alignof__(struct dirent64))));
    ssize_t n = getdents64(dir, names, sizeof(names));

    for (ssize_t i = 0; i < n;) {
        const struct dirent64 *entry = (const struct dirent64 *)(names + i);

        if (entry->d_name[0] != '.' && is_file(dir, entry->d_name, &question->file))
            return 1;
        question->position = entry->d_off;
        ++*n_looked;
        i += entry->d_reclen;
    }
    return n > 0 ? QUESTION_OPEN : 0;
}

static int last_close_step(struct question *question, unsigned int n_max)
{
    char path[32];
    unsigned int n_looked = 0;
    int found = QUESTION_OPEN;
    int dir;

    if (question->pid <= 0)
        return 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)question->pid);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Where it can't be seen the close is taken for the last; where we are short of something, for none: the
     * RELEASE will tell. */
    if (dir < 0)
        return errno == ENFILE || errno == EMFILE || errno == ENOMEM ? 0 : 1;
    /* Not kept open between steps: it would be a descriptor for each who waits. */
    if (lseek(dir, question->position, SEEK_SET) < 0)
        found = 0;
    while (found == QUESTION_OPEN && n_looked < n_max)
        found = look_at_some(question, dir, &n_looked);
    close(dir);
    return found == QUESTION_OPEN ? QUESTION_OPEN : !found;
}

/* Return: the pid of the parent of @pid, whose process is that of @pidfd if it is there; 0: there is none in sight. */
static pid_t parent_of(pid_t pid, int pidfd)
{
    struct pidfd_ids ids = { .mask = PIDFD_IDS_PID };

    if (pidfd >= 0 && ioctl(pidfd, PIDFD_GET_IDS, &ids) == 0)
        return (pid_t)ids.ppid;
    return caller_parent(pid);
}

static int question_open_pidfd(pid_t pid)
{
    return fd_keep((int)syscall(SYS_pidfd_open, pid, 0));
}

/* A pidfd can be read from once its process has ended. */
static bool question_is_alive(int pidfd)
{
    struct pollfd fd = { .fd = pidfd, .events = POLLIN };

    return poll(&fd, 1, 0) == 0;
}

/* Goes from pid to its parent, if pid is still the process that it was when the last step ended. */
static void go_up(struct question *question)
{
    int pidfd = question->pidfd >= 0 ? question->pidfd : question_open_pidfd(question->pid);
    pid_t parent = parent_of(question->pid, pidfd);

    if (question->pidfd >= 0 && !question_is_alive(pidfd))
        parent = 0;
    if (pidfd >= 0)
        close(pidfd);
    question->pidfd = -1;
    question->pid = parent;
}

static int descent_step(struct question *question, unsigned int n_max)
{
    for (unsigned int n = 0; question->pid > 0 && question->pid != question->ancestor; n++) {
        if (n == n_max) {
            question->pidfd = question_open_pidfd(question->pid);
            return question->pidfd < 0 ? 0 : QUESTION_OPEN;
        }
        go_up(question);
    }
    return question->pid > 0;
}

int question_step(struct question *question, unsigned int n_max)
{
    return question->kind == QUESTION_LAST_CLOSE ? last_close_step(question, n_max)
                                                 : descent_step(question, n_max);
}

void question_end(struct question *question)
{
    if (question->pidfd >= 0)
        close(question->pidfd);
    question->pidfd = -1;
}
