/* For LD_PRELOAD: what can become of a daemon at each of its calls into the store, and what a disk can do to it.
 *
 * Environment: STORE_FAULT, a file that is mapped and shared with whoever makes the faults: struct control.
 *
 * - The nth call into LMDB or to the disk, or return from one that commits, is the last thing that the daemon does.
 * - Commits of live.mdb, or writes and syncs of whatever is not written through a map, fail.
 * - A sync waits while somebody else has the control file locked (flock(2)).
 * - STORE_RECORD, a file: each write to disk.mdb and each sync is recorded there, in their order: struct record, then
 *   the bytes. */
/* Both names of each are meant. */
#undef _FILE_OFFSET_BITS
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

struct control {
    _Atomic uint32_t n_calls;
    _Atomic uint32_t kill_at;     /* 0: not at all */
    _Atomic int32_t commit_error; /* of live.mdb: LMDB's or an errno; 0: none */
    _Atomic int32_t disk_error;   /* of writes and syncs: an errno; 0: none */
    _Atomic uint32_t gate;        /* syncs ask for the lock */
    _Atomic uint32_t n_at_gate;
    _Atomic uint32_t no_fallocate; /* as on a filesystem that has none */
    _Atomic int32_t
        head_error; /* of writes that are synced at once, which LMDB's heads are: an errno; 0: none */
};

enum record_kind { RECORD_WRITE, RECORD_SYNC, RECORD_DURABLE_WRITE };

struct record {
    uint64_t kind;
    uint64_t offset;
    uint64_t n_bytes;
};

static struct control idle;
static struct control *control = &idle;
static pthread_mutex_t recording = PTHREAD_MUTEX_INITIALIZER;
static int record_fd = -1;
static pid_t daemon_pid; /* which is killed, not a child that looks for damage */

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("STORE_FAULT");
    const char *record = getenv("STORE_RECORD");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map;

    daemon_pid = getpid();
    if (record)
        record_fd = open(record, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    map = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        control = map;
}

static void count(void)
{
    uint32_t at = atomic_load(&control->kill_at);

    if (at && getpid() == daemon_pid && atomic_fetch_add(&control->n_calls, 1) + 1 == at)
        raise(SIGKILL);
}

#define REAL(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

/* Return: whether @fd is that file of the store. */
static bool is_file(int fd, const char *name)
{
    char link[64];
    char path[4096];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return false;
    path[n] = '\0';
    return strlen(path) >= strlen(name) && strcmp(path + n - strlen(name), name) == 0;
}

static void put_record(const void *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = write(record_fd, bytes, n);

        if (done <= 0)
            abort();
        bytes = (const char *)bytes + done;
        n -= (size_t)done;
    }
}

/* One piece of file at a time: another thread's record would stand in between. */
static void record_write(int fd, const struct iovec *pieces, int n_pieces, off_t offset)
{
    struct record record = { .kind = fcntl(fd, F_GETFL) & O_DSYNC ? RECORD_DURABLE_WRITE
                                                                  : RECORD_WRITE,
                             .offset = (uint64_t)offset };

    if (record_fd < 0 || !is_file(fd, "/disk.mdb"))
        return;
    for (int i = 0; i < n_pieces; i++)
        record.n_bytes += pieces[i].iov_len;
    pthread_mutex_lock(&recording);
    put_record(&record, sizeof(record));
    for (int i = 0; i < n_pieces; i++)
        put_record(pieces[i].iov_base, pieces[i].iov_len);
    pthread_mutex_unlock(&recording);
}

static void record_sync(int fd)
{
    struct record record = { .kind = RECORD_SYNC };

    if (record_fd < 0 || !is_file(fd, "/disk.mdb"))
        return;
    pthread_mutex_lock(&recording);
    put_record(&record, sizeof(record));
    pthread_mutex_unlock(&recording);
}

static bool head_fails(int fd)
{
    errno = atomic_load(&control->head_error);
    return errno != 0 && fcntl(fd, F_GETFL) & O_DSYNC;
}

static bool disk_fails(void)
{
    errno = atomic_load(&control->disk_error);
    return errno != 0;
}

/* --- the disk --- */

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset)
{
    const struct iovec piece = { (void *)(uintptr_t)data, n };

    count();
    if (disk_fails() || head_fails(fd))
        return -1;
    record_write(fd, &piece, 1, offset);
    return REAL(pwrite)(fd, data, n, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off_t offset)
{
    return pwrite(fd, data, n, offset);
}

/* LMDB's way with several pages in a row, after lseek(2); and libfuse's with answers. */
ssize_t writev(int fd, const struct iovec *pieces, int n_pieces)
{
    if (is_file(fd, ".mdb")) {
        count();
        if (disk_fails())
            return -1;
        record_write(fd, pieces, n_pieces, lseek(fd, 0, SEEK_CUR));
    }
    return REAL(writev)(fd, pieces, n_pieces);
}

static void wait_at_gate(void)
{
    const char *path = getenv("STORE_FAULT");
    int fd;

    if (!atomic_load(&control->gate))
        return;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    atomic_fetch_add(&control->n_at_gate, 1);
    flock(fd, LOCK_SH);
    atomic_fetch_sub(&control->n_at_gate, 1);
    close(fd);
}

int fdatasync(int fd)
{
    int r;

    count();
    wait_at_gate();
    if (disk_fails())
        return -1;
    r = REAL(fdatasync)(fd);
    if (r == 0)
        record_sync(fd);
    count();
    return r;
}

int fsync(int fd)
{
    count();
    return disk_fails() ? -1 : REAL(fsync)(fd);
}

int fallocate(int fd, int mode, off_t offset, off_t n_bytes)
{
    count();
    if (atomic_load(&control->no_fallocate)) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return disk_fails() ? -1 : REAL(fallocate)(fd, mode, offset, n_bytes);
}

int fallocate64(int fd, int mode, off_t offset, off_t n_bytes)
{
    return fallocate(fd, mode, offset, n_bytes);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    count();
    return REAL(renameat)(from_fd, from, to_fd, to);
}

/* --- LMDB --- */

int mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned int flags, MDB_txn **ret_txn)
{
    count();
    return REAL(mdb_txn_begin)(env, parent, flags, ret_txn);
}

static bool is_live(MDB_txn *txn)
{
    const char *path = NULL;

    mdb_env_get_path(mdb_txn_env(txn), &path);
    return path && strstr(path, "/live.mdb");
}

int mdb_txn_commit(MDB_txn *txn)
{
    int error = atomic_load(&control->commit_error);
    int r;

    count();
    if (error && is_live(txn)) {
        mdb_txn_abort(txn);
        return error;
    }
    r = REAL(mdb_txn_commit)(txn);
    count();
    return r;
}

int mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned int flags)
{
    int r;

    count();
    r = REAL(mdb_put)(txn, dbi, key, data, flags);
    /* A value that is reserved is about to be filled. */
    if (flags & MDB_RESERVE)
        count();
    return r;
}

int mdb_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data)
{
    count();
    return REAL(mdb_del)(txn, dbi, key, data);
}

int mdb_cursor_del(MDB_cursor *cursor, unsigned int flags)
{
    count();
    return REAL(mdb_cursor_del)(cursor, flags);
}

int mdb_env_set_mapsize(MDB_env *env, size_t n_bytes)
{
    count();
    return REAL(mdb_env_set_mapsize)(env, n_bytes);
}

int mdb_env_open(MDB_env *env, const char *path, unsigned int flags, mdb_mode_t mode)
{
    count();
    return REAL(mdb_env_open)(env, path, flags, mode);
}
