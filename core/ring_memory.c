#include "ring_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd.h"

/* Who may open it says whoever hands it on. */
#define MEMORY_MODE 0600

static int open_sealed(uint64_t n_bytes)
{
    int fd = fd_keep(memfd_create("ipcfs-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    int error;

    if (fd < 0)
        return fd;
    if (ftruncate(fd, (off_t)n_bytes) == 0 && fchmod(fd, MEMORY_MODE) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        return fd;
    error = errno;
    close(fd);
    return -error;
}

/* Return: a descriptor of a new file in @home; a negative errno. */
static int open_named(const struct ring_home *home, uint64_t n_bytes,
                      char name[RING_MEMORY_NAME_MAX])
{
    static _Atomic uint64_t last;
    int error;
    int fd;

    snprintf(name, RING_MEMORY_NAME_MAX, "%" PRIu64, atomic_fetch_add(&last, 1) + 1);
    fd = fd_keep(openat(home->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, MEMORY_MODE));
    if (fd == -ENFILE)
        unlinkat(home->dir_fd, name, 0);
    if (fd < 0)
        return fd;
    if (ftruncate(fd, (off_t)n_bytes) == 0 && fchown(fd, home->uid, home->gid) == 0 &&
        fchmod(fd, MEMORY_MODE) == 0)
        return fd;
    error = errno;
    unlinkat(home->dir_fd, name, 0);
    close(fd);
    return -error;
}

static int map(struct ring_memory *memory)
{
    memory->map = mmap(NULL, memory->n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
    if (memory->map == MAP_FAILED)
        return -errno;
    if (memory->dir_fd >= 0) {
        memory->guard = truncated_guard(memory->map, memory->n_bytes);
        if (!memory->guard)
            return -ENOMEM;
    }
    return ring_format(memory->map, &memory->geometry, 0);
}

int ring_memory_new(const struct ring_geometry *geometry, const struct ring_home *home,
                    struct ring_memory **ret_memory)
{
    struct ring_memory *memory = malloc(sizeof(*memory));
    int r;

    if (!memory)
        return -ENOMEM;
    *memory = (struct ring_memory){
        .n_refs = 1,
        .n_bytes = ring_map_bytes(geometry),
        .geometry = *geometry,
        .map = MAP_FAILED,
        .dir_fd = home->dir_fd,
    };
    r = memory->fd = home->dir_fd < 0 ? open_sealed(memory->n_bytes)
                                      : open_named(home, memory->n_bytes, memory->name);
    if (r >= 0)
        r = map(memory);
    if (r < 0)
        ring_memory_unref(memory);
    else
        *ret_memory = memory;
    return r;
}

int ring_memory_inherit(struct ring_memory *memory, const struct ring_memory *old)
{
    struct stat st;

    if (fstat(old->fd, &st) < 0)
        return -errno;
    if (old->dir_fd >= 0 && fchown(memory->fd, st.st_uid, st.st_gid) < 0)
        return -errno;
    return fchmod(memory->fd, st.st_mode & 07777) < 0 ? -errno : 0;
}

void ring_memory_unlink(struct ring_memory *memory)
{
    if (memory->name[0] && !atomic_exchange(&memory->is_unlinked, true))
        unlinkat(memory->dir_fd, memory->name, 0);
}

struct ring_memory *ring_memory_ref(struct ring_memory *memory)
{
    /* Relaxed: as msg_ref. */
    atomic_fetch_add_explicit(&memory->n_refs, 1, memory_order_relaxed);
    return memory;
}

void ring_memory_unref(struct ring_memory *memory)
{
    if (!memory || atomic_fetch_sub_explicit(&memory->n_refs, 1, memory_order_acq_rel) > 1)
        return;
    if (memory->fd >= 0)
        ring_memory_unlink(memory);
    truncated_unguard(memory->guard);
    if (memory->map != MAP_FAILED)
        munmap(memory->map, memory->n_bytes);
    if (memory->fd >= 0)
        close(memory->fd);
    free(memory);
}
