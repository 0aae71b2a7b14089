/* A store is refused before anything of it is touched: the lock's file is the only thing made in a directory that
 * turns out to be unfit, and only where that is empty or a store.
 *
 * What says whether live.mdb is good is the machine's boot id: as long as it is the one that stands in `state`, the
 * kernel that took the daemon's writes is the one that gives them back. */
#include "store_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "store_format.h"

/* Not all of linux/magic.h's users have them. */
#define DIR_FUSE_MAGIC 0x65735546
#define DIR_CIFS_MAGIC 0xff534d42
#define DIR_SMB2_MAGIC 0xfe534d42
#define DIR_CEPH_MAGIC 0x00c36400
#define DIR_LUSTRE_MAGIC 0x0bd00bd0

/* In `lock`, behind the pid of who is about to give it back. */
#define HOLDER_ENDING " ending\n"
/* How long who has it may take to say so, for on a busy machine it is not told at once that it was unmounted; and then to
 * end: it may have much to put on a slow disk. */
#define GRACE_MS 5000
#define ENDING_MS 30000

#define STATE_BYTES_MAX 256
#define BOOT_ID_BYTES 36
#define BOOT_CLEAN "clean"

struct state {
    unsigned long format;
    char boot[BOOT_ID_BYTES + 1];
};

__attribute__((format(printf, 3, 4))) static int refuse(char why[STORE_WHY_MAX], int error,
                                                        const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why, STORE_WHY_MAX, format, args);
    va_end(args);
    return error;
}

static int check_filesystem(int fd, char why[STORE_WHY_MAX])
{
    struct statfs fs;
    const char *name = NULL;

    if (fstatfs(fd, &fs) < 0)
        return refuse(why, -errno, "can't tell its filesystem: %s", strerror(errno));
    switch ((unsigned long)fs.f_type & 0xffffffff) {
    case NFS_SUPER_MAGIC:
        name = "NFS";
        break;
    case DIR_FUSE_MAGIC:
        name = "FUSE";
        break;
    case DIR_CIFS_MAGIC:
    case DIR_SMB2_MAGIC:
    case SMB_SUPER_MAGIC:
        name = "SMB";
        break;
    case V9FS_MAGIC:
        name = "9P";
        break;
    case DIR_CEPH_MAGIC:
        name = "Ceph";
        break;
    case DIR_LUSTRE_MAGIC:
        name = "Lustre";
        break;
    case AFS_SUPER_MAGIC:
    case AFS_FS_MAGIC:
        name = "AFS";
        break;
    default:
        return 0;
    }
    return refuse(why, -EOPNOTSUPP, "it is on %s; a store needs a filesystem of this machine",
                  name);
}

static int open_directory(const char *path, bool makes, int *ret_fd, char why[STORE_WHY_MAX])
{
    struct stat attr;
    int fd;

    if (makes && mkdir(path, 0700) < 0 && errno != EEXIST)
        return refuse(why, -errno, "can't be made: %s", strerror(errno));
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
        return refuse(why, -errno, "it is no directory, or a symbolic link");
    if (fd < 0 || fstat(fd, &attr) < 0)
        return refuse(why, -errno, "%s", strerror(errno));
    if (attr.st_uid != geteuid()) {
        close(fd);
        return refuse(why, -EPERM, "it belongs to user %u, not to user %u who mounts",
                      (unsigned int)attr.st_uid, (unsigned int)geteuid());
    }
    *ret_fd = fd;
    return 0;
}

static bool is_ours(const char *name)
{
    static const char *const names[] = { "lock",          "state",    "state.new",    "live.mdb",
                                         "live.mdb-lock", "disk.mdb", "disk.mdb-lock" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

/* A file of the store is a plain one, the user's, under this name alone. */
static int check_file(int dir_fd, const char *name, char why[STORE_WHY_MAX])
{
    struct stat attr;

    if (fstatat(dir_fd, name, &attr, AT_SYMLINK_NOFOLLOW) < 0)
        return refuse(why, -errno, "%s: %s", name, strerror(errno));
    if (!S_ISREG(attr.st_mode) || attr.st_uid != geteuid() || attr.st_nlink != 1)
        return refuse(why, -EPERM, "%s is no plain file of user %u's own", name,
                      (unsigned int)geteuid());
    return 0;
}

/* Return: 0 with how many files of a store there are; a negative errno. */
static int check_contents(int dir_fd, unsigned int *ret_n, char why[STORE_WHY_MAX])
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd < 0 ? NULL : fdopendir(fd);
    const char *other = NULL;
    char other_name[NAME_MAX + 1];
    struct dirent *entry;
    unsigned int n = 0;
    int r = 0;

    if (!listing)
        return refuse(why, -errno, "can't be listed: %s", strerror(errno));
    while (r == 0 && (entry = readdir(listing))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (is_ours(entry->d_name)) {
            n++;
            r = check_file(dir_fd, entry->d_name, why);
        } else {
            snprintf(other_name, sizeof(other_name), "%s", entry->d_name);
            other = other_name;
        }
    }
    closedir(listing);
    if (r == 0 && n == 0 && other)
        r = refuse(why, -ENOTEMPTY, "it holds other files, and no store");
    *ret_n = n;
    return r;
}

/* What stands in `lock`. */
struct holder {
    long pid; /* 0: unknown */
    bool is_ending;
};

static struct holder read_holder(int fd)
{
    struct holder holder = { 0 };
    char text[64];
    char *end;
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    holder.pid = strtol(text, &end, 10);
    holder.is_ending = strcmp(end, HOLDER_ENDING) == 0;
    return holder;
}

static int write_holder(struct store_dir *dir, const char *what)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "%ld%s", (long)getpid(), what);

    errno = EIO;
    /* At no moment is there no pid in it. */
    if (pwrite(dir->lock_fd, text, (size_t)n, 0) != n || ftruncate(dir->lock_fd, n) < 0)
        return -errno;
    return 0;
}

/* Return: has the process ended, or whoever it was? */
static bool ends_within(long pid, int ms)
{
    struct pollfd exited = { .fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0), .events = POLLIN };
    int n;

    if (exited.fd < 0)
        return true;
    do
        n = poll(&exited, 1, ms);
    while (n < 0 && errno == EINTR);
    close(exited.fd);
    return n > 0;
}

/* umount(8) and kill(1) come back before the daemon is gone: who starts the next one at once means that one's store. */
static void dir_wait_for_end(const struct store_dir *dir)
{
    struct holder holder = read_holder(dir->lock_fd);

    if (holder.pid <= 0 || holder.pid == getpid() || ends_within(holder.pid, GRACE_MS))
        return;
    if (read_holder(dir->lock_fd).is_ending)
        ends_within(holder.pid, ENDING_MS);
}

static bool dir_try_lock(const struct store_dir *dir)
{
    return flock(dir->lock_fd, LOCK_EX | LOCK_NB) == 0;
}

/* A copy of a store may have none. */
static int dir_lock(struct store_dir *dir, char why[STORE_WHY_MAX])
{
    long pid;

    dir->lock_fd = openat(dir->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (dir->lock_fd < 0)
        return refuse(why, -errno, "lock: %s", strerror(errno));
    if (dir_try_lock(dir))
        return 0;
    if (errno == EWOULDBLOCK)
        dir_wait_for_end(dir);
    if (dir_try_lock(dir))
        return 0;
    if (errno != EWOULDBLOCK)
        return refuse(why, -errno, "can't be locked: %s", strerror(errno));
    pid = read_holder(dir->lock_fd).pid;
    if (pid <= 0)
        return refuse(why, -EBUSY, "another process has it");
    return refuse(why, -EBUSY, "process %ld has it", pid);
}

int store_dir_enter(struct store_dir *dir)
{
    return write_holder(dir, "\n");
}

void store_dir_leave(struct store_dir *dir)
{
    /* Where that can't be written, who comes next is less patient. */
    write_holder(dir, HOLDER_ENDING);
}

/* Of a newer version only that is known. Return: 0; -EUCLEAN: it says nothing that we know, or not all. */
static int parse_state(const char *text, struct state *ret_state)
{
    int n = 0;
    int n_known;

    *ret_state = (struct state){ 0 };
    n_known = sscanf(text, "format=%lu\nboot=%36s%n", &ret_state->format, ret_state->boot, &n);
    if (n_known >= 1 && ret_state->format > STORE_FORMAT_VERSION)
        return 0;
    if (n_known < 2 || text[n] != '\n')
        return -EUCLEAN;
    if (strcmp(ret_state->boot, BOOT_CLEAN) != 0 && strlen(ret_state->boot) != BOOT_ID_BYTES)
        return -EUCLEAN;
    return 0;
}

/* Return: 0; -ENOENT; -EUCLEAN: it says nothing that we know; another negative errno. */
static int read_state(int dir_fd, struct state *ret_state)
{
    int fd = openat(dir_fd, "state", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char text[STATE_BYTES_MAX];
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    *ret_state = (struct state){ 0 };
    return parse_state(text, ret_state);
}

static int read_boot_id(char ret_id[BOOT_ID_BYTES + 1])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = read(fd, ret_id, BOOT_ID_BYTES);
    close(fd);
    ret_id[BOOT_ID_BYTES] = '\0';
    return n == BOOT_ID_BYTES ? 0 : -EIO;
}

static int check_state(struct store_dir *dir, char why[STORE_WHY_MAX])
{
    char boot_id[BOOT_ID_BYTES + 1];
    struct state state = { 0 };
    int r = read_state(dir->fd, &state);

    if (r == -ENOENT && dir->is_new)
        return 0;
    if (r == -EUCLEAN || r == -ENOENT)
        return refuse(why, -EUCLEAN, "it is damaged: state is not readable");
    if (r < 0)
        return refuse(why, r, "state: %s", strerror(-r));
    if (state.format > STORE_FORMAT_VERSION)
        return refuse(why, -EPROTONOSUPPORT,
                      "it is of version %lu, and this ipcfs knows version %d: use a newer ipcfs",
                      state.format, STORE_FORMAT_VERSION);
    r = read_boot_id(boot_id);
    if (r < 0)
        return refuse(why, r, "/proc/sys/kernel/random/boot_id: %s", strerror(-r));
    dir->is_live_trusted = strcmp(state.boot, BOOT_CLEAN) == 0 || strcmp(state.boot, boot_id) == 0;
    return 0;
}

/* A store whose making was cut short has no state yet, and nothing in it. */
static void check_new(struct store_dir *dir, unsigned int n_files)
{
    struct stat attr;

    dir->is_new = n_files == 0 || (fstatat(dir->fd, "state", &attr, AT_SYMLINK_NOFOLLOW) < 0 &&
                                   fstatat(dir->fd, "live.mdb", &attr, AT_SYMLINK_NOFOLLOW) < 0 &&
                                   fstatat(dir->fd, "disk.mdb", &attr, AT_SYMLINK_NOFOLLOW) < 0);
}

static int dir_open_locked(struct store_dir *dir, const char *path, bool makes,
                           char why[STORE_WHY_MAX])
{
    unsigned int n_files = 0;
    int r;

    *dir = STORE_DIR_NONE;
    r = open_directory(path, makes, &dir->fd, why);
    if (r == 0)
        r = check_filesystem(dir->fd, why);
    if (r == 0)
        r = check_contents(dir->fd, &n_files, why);
    if (r == 0 && n_files == 0 && !makes)
        r = refuse(why, -ENOENT, "there is no store in it");
    if (r == 0)
        r = dir_lock(dir, why);
    if (r == 0) {
        check_new(dir, n_files);
        r = check_state(dir, why);
    }
    if (r == 0 && makes && fchmod(dir->fd, 0700) < 0)
        r = refuse(why, -errno, "its mode can't be made 0700: %s", strerror(errno));
    if (r < 0) {
        store_dir_close(dir);
        return r;
    }
    snprintf(dir->live_path, sizeof(dir->live_path), "/proc/self/fd/%d/live.mdb", dir->fd);
    snprintf(dir->disk_path, sizeof(dir->disk_path), "/proc/self/fd/%d/disk.mdb", dir->fd);
    return 0;
}

int store_dir_open(struct store_dir *dir, const char *path, char why[STORE_WHY_MAX])
{
    return dir_open_locked(dir, path, true, why);
}

int store_dir_look(struct store_dir *dir, const char *path, char why[STORE_WHY_MAX])
{
    return dir_open_locked(dir, path, false, why);
}

/* Replaces `state` at one moment, on the disk when this returns. */
static int write_state(struct store_dir *dir, const char *boot)
{
    char text[STATE_BYTES_MAX];
    int n = snprintf(text, sizeof(text), "format=%d\nboot=%s\n", STORE_FORMAT_VERSION, boot);
    int fd = openat(dir->fd, "state.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                    0600);
    int r = 0;

    if (fd < 0)
        return -errno;
    errno = EIO;
    if (write(fd, text, (size_t)n) != n || fsync(fd) < 0)
        r = -errno;
    close(fd);
    if (r == 0 && renameat(dir->fd, "state.new", dir->fd, "state") < 0)
        r = -errno;
    if (r == 0 && fsync(dir->fd) < 0)
        r = -errno;
    return r;
}

int store_dir_begin(struct store_dir *dir)
{
    char boot_id[BOOT_ID_BYTES + 1];
    int r = read_boot_id(boot_id);

    return r < 0 ? r : write_state(dir, boot_id);
}

int store_dir_end(struct store_dir *dir)
{
    return write_state(dir, BOOT_CLEAN);
}

void store_dir_close(struct store_dir *dir)
{
    if (dir->lock_fd >= 0)
        close(dir->lock_fd);
    if (dir->fd >= 0)
        close(dir->fd);
    *dir = STORE_DIR_NONE;
}
