/* The memfd's times are the region's, for a mapping that writes moves them and nobody tells us; the object's ctime
 * follows them, and is ahead where a chmod was last. Whether somebody may still write through a mapping a lease
 * tells: the kernel refuses it while there is one. */
#include "region_bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/kernel/backing.h"
#include "fs/kernel/kernel.h"
#include "core/base/fd.h"

/* No process can map more. */
#define REGION_BYTES_MAX (UINT64_C(1) << 47)

static bool is_later(struct timespec a, struct timespec b)
{
    return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static bool is_same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* --- Times --- */

void region_bytes_set_times(struct region *region, bool atime, bool mtime)
{
    struct attr *attr = &region->object.attr;
    struct timespec omitted = { .tv_nsec = UTIME_OMIT };
    struct timespec times[2] = { atime ? attr->atime : omitted, mtime ? attr->mtime : omitted };
    struct stat st;

    if (region->fd < 0)
        return;
    futimens(region->fd, times);
    /* That this moved the ctime is no news. */
    if (fstat(region->fd, &st) == 0)
        region->noted_changed = st.st_ctim;
}

blkcnt_t region_bytes_look(struct region *region)
{
    struct attr *attr = &region->object.attr;
    struct stat st;

    if (region->fd < 0 || fstat(region->fd, &st) < 0)
        return 0;
    attr->atime = st.st_atim;
    attr->mtime = st.st_mtim;
    if (!is_same_time(st.st_ctim, region->noted_changed)) {
        region->noted_changed = st.st_ctim;
        if (is_later(st.st_ctim, attr->ctime))
            attr->ctime = st.st_ctim;
    }
    return st.st_blocks;
}

/* Now something in it has changed. */
static void touch(struct region *region)
{
    attr_touch(&region->object.attr);
    region_bytes_set_times(region, false, true);
}

/* The bytes are new. What nobody has seen yet is as old as they are. */
static void note_first_times(struct region *region)
{
    struct stat st;

    if (region->object.n_names > 0 || fstat(region->fd, &st) < 0) {
        region_bytes_set_times(region, true, true);
        return;
    }
    region->noted_changed = st.st_ctim;
}

/* --- The descriptor --- */

int region_bytes_make(struct region *region)
{
    int fd;
    int r;

    if (region->fd >= 0)
        return 0;
    r = shm_object_charge_fd(&region->object);
    if (r < 0)
        return r;
    fd = fd_keep(memfd_create("ipcfs-region", MFD_CLOEXEC));
    if (fd < 0) {
        shm_object_release_fd(&region->object);
        return fd;
    }
    region->fd = fd;
    note_first_times(region);
    return 0;
}

void region_bytes_drop(struct region *region)
{
    if (region->fd < 0)
        return;
    region_bytes_look(region);
    backing_close(&region->object.kernel->backing, region->backing_id);
    region->backing_id = 0;
    close(region->fd);
    region->fd = -1;
    shm_object_release_fd(&region->object);
}

/* A lease for reading is given while nobody has them open to write; the memfd itself does not count as that.
 * Nobody breaks it: opens wait for the lock that the caller has. Where there is no telling they are. */
bool region_bytes_are_written(struct region *region)
{
    char path[32];
    bool is_leased;
    int fd;

    if (region->fd < 0)
        return false;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", region->fd);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return true;
    is_leased = fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
    if (is_leased)
        fcntl(fd, F_SETLEASE, F_UNLCK);
    close(fd);
    return !is_leased;
}

/* --- Size --- */

/* Makes room for a size of @n_bytes, if it is more than there is. Return: 0; as region_bytes_resize. */
static int prepare_growth(struct region *region, uint64_t n_bytes)
{
    int r;

    if (n_bytes > REGION_BYTES_MAX)
        return -EFBIG;
    r = n_bytes > region->object.n_bytes ? shm_object_recharge(&region->object, n_bytes) : 0;
    return r < 0 ? r : region_bytes_make(region);
}

/* As many bytes are charged as there are now. */
static void settle_size(struct region *region)
{
    struct stat st;

    if (region->fd >= 0 && fstat(region->fd, &st) == 0)
        region->object.n_bytes = (uint64_t)st.st_size;
    /* Never more than before. */
    shm_object_recharge(&region->object, region->object.n_bytes);
}

int region_bytes_resize(struct region *region, off_t size)
{
    int r = 0;

    if (size > 0 || region->fd >= 0) {
        r = prepare_growth(region, (uint64_t)size);
        if (r == 0 && ftruncate(region->fd, size) < 0)
            r = -errno;
        settle_size(region);
    }
    if (r == 0)
        touch(region);
    return r;
}

static ssize_t region_bytes_write_bytes(struct region *region, const char *data, size_t size,
                                        off_t offset)
{
    ssize_t n = pwrite(region->fd, data, size, offset);

    return n < 0 ? -errno : n;
}

static ssize_t write_growing(struct region *region, const char *data, size_t size, off_t offset)
{
    ssize_t n = prepare_growth(region, (uint64_t)offset + size);

    if (n == 0)
        n = region_bytes_write_bytes(region, data, size, offset);
    settle_size(region);
    return n;
}

/* What does not grow it needs no lock: the kernel does not truncate and write at once. */
ssize_t region_bytes_write(struct region *region, const char *data, size_t size, off_t offset)
{
    struct shm_object *object = &region->object;
    const struct node_change nothing = { 0 };
    ssize_t n = 0;
    bool grows;

    pthread_mutex_lock(&object->lock);
    grows = (uint64_t)offset + size > object->n_bytes;
    if (grows)
        n = write_growing(region, data, size, offset);
    /* The mtime is the bytes'. */
    attr_change(&object->attr, &nothing);
    pthread_mutex_unlock(&object->lock);
    return grows ? n : region_bytes_write_bytes(region, data, size, offset);
}

static int grow_allocated(struct region *region, off_t offset, off_t length)
{
    int r = prepare_growth(region, (uint64_t)offset + (uint64_t)length);

    if (r == 0 && fallocate(region->fd, 0, offset, length) < 0)
        r = -errno;
    settle_size(region);
    return r;
}

/* What keeps the size must not allocate beyond it, where it would not be charged. */
static int allocate_inside(struct region *region, int mode, off_t offset, off_t length)
{
    uint64_t end = (uint64_t)offset + (uint64_t)length;

    if (!(mode & FALLOC_FL_PUNCH_HOLE) && end > region->object.n_bytes)
        return -EOPNOTSUPP;
    if (region->fd < 0)
        return 0;
    return fallocate(region->fd, mode, offset, length) < 0 ? -errno : 0;
}

int region_bytes_allocate(struct region *region, int mode, off_t offset, off_t length)
{
    int r;

    if (mode != 0 && mode != FALLOC_FL_KEEP_SIZE &&
        mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
        return -EOPNOTSUPP;
    r = mode == 0 ? grow_allocated(region, offset, length)
                  : allocate_inside(region, mode, offset, length);
    if (r == 0)
        touch(region);
    return r;
}

off_t region_bytes_seek(struct region *region, off_t offset, int whence)
{
    off_t at;

    if (region->fd < 0)
        return -ENXIO;
    at = lseek(region->fd, offset, whence);
    return at < 0 ? -errno : at;
}
