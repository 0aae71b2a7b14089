/* Whether a mount has passthrough is known only once it was tried: the kernel may offer it and refuse the ioctl,
 * to who lacks CAP_SYS_ADMIN. It is tried when it is first needed, with a file of no use. */
#include "backing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* <linux/fuse.h> of Linux 6.9. */
struct backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};

#define IOC_MAGIC 229
#define IOC_BACKING_OPEN _IOW(IOC_MAGIC, 1, struct backing_map)
#define IOC_BACKING_CLOSE _IOW(IOC_MAGIC, 2, uint32_t)

int backing_open(struct backing *backing, int fd)
{
    struct backing_map map = { .fd = fd };
    int id;

    if (!backing->session)
        return -EOPNOTSUPP;
    id = ioctl(fuse_session_fd(backing->session), IOC_BACKING_OPEN, &map);
    return id < 0 ? -errno : id;
}

int backing_obtain(struct backing *backing, pthread_mutex_t *lock, int *id, int fd)
{
    int r;

    pthread_mutex_lock(lock);
    r = *id;
    if (r == 0)
        r = backing_open(backing, fd);
    if (r > 0)
        *id = r;
    pthread_mutex_unlock(lock);
    return r;
}

void backing_close(struct backing *backing, int id)
{
    uint32_t closed = (uint32_t)id;

    if (id > 0)
        ioctl(fuse_session_fd(backing->session), IOC_BACKING_CLOSE, &closed);
}

static bool try_it(struct backing *backing)
{
    int fd = memfd_create("ipcfs-try", MFD_CLOEXEC);
    int id = -1;

    if (fd >= 0)
        id = backing_open(backing, fd);
    backing_close(backing, id);
    if (fd >= 0)
        close(fd);
    return id > 0;
}

bool backing_works(struct backing *backing)
{
    /* Several may try at once: all find the same. */
    if (backing->state == BACKING_OFFERED)
        backing->state = try_it(backing) ? BACKING_WORKS : BACKING_NONE;
    return backing->state == BACKING_WORKS;
}
