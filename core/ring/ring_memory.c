/* The file behind a ring: made, mapped, charged to its owner, and given back.
 *
 * References keep the mapping; holders among them keep the charge. Whether and to whom it is charged is under
 * the memory's lock, all else is set before others see it or is atomic. The quota's lock is taken below the
 * memory's. */
#include "ring_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/fd.h"

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
static int open_named(const struct ring_home *home, uint64_t n_bytes, uint64_t id,
                      char name[RING_MEMORY_NAME_MAX])
{
    int error;
    int fd;

    snprintf(name, RING_MEMORY_NAME_MAX, "%" PRIu64, id);
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

static size_t ring_memory_page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

size_t ring_memory_owner_offset(void)
{
    return ring_memory_page_bytes() + IPCRING_AT_OWNER;
}

static int map(struct ring_memory *memory)
{
    char *page = mmap(NULL, ring_memory_page_bytes() + memory->n_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (page == MAP_FAILED)
        return -errno;
    memory->map = mmap(page + ring_memory_page_bytes(), memory->n_bytes, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_FIXED, memory->fd, 0);
    if (memory->map == MAP_FAILED) {
        int error = errno;

        munmap(page, ring_memory_page_bytes() + memory->n_bytes);
        return -error;
    }
    memory->owner_entry = (struct robust_list *)(void *)page;
    if (memory->dir_fd >= 0) {
        memory->guard = truncated_guard(memory->map, memory->n_bytes);
        if (!memory->guard)
            return -ENOMEM;
    }
    return ring_format(memory->map, &memory->geometry, 0);
}

/* --- What it counts for --- */

static uint64_t cost_of(const struct ring_memory *memory)
{
    return memory->n_bytes + RING_MEMORY_COST_BYTES;
}

static int charge(struct ring_memory *memory, uid_t uid)
{
    int r = quota_charge(memory->quota, uid, cost_of(memory));

    if (r < 0)
        return r;
    r = quota_charge_fds(memory->quota, uid, 1);
    if (r < 0)
        quota_release(memory->quota, uid, cost_of(memory));
    return r;
}

/* Under lock. */
static void discharge(struct ring_memory *memory)
{
    if (!memory->is_charged)
        return;
    quota_release(memory->quota, memory->uid, cost_of(memory));
    memory->is_charged = false;
}

/* Under lock: whatever the bounds say. */
static void recharge(struct ring_memory *memory)
{
    if (!memory->is_charged)
        memory->is_charged = quota_restore(memory->quota, memory->uid, cost_of(memory)) == 0;
}

struct ring_memory *ring_memory_hold(struct ring_memory *memory)
{
    pthread_mutex_lock(&memory->lock);
    memory->n_holders++;
    pthread_mutex_unlock(&memory->lock);
    return ring_memory_ref(memory);
}

void ring_memory_let_go(struct ring_memory *memory)
{
    if (!memory)
        return;
    pthread_mutex_lock(&memory->lock);
    if (--memory->n_holders == 0) {
        discharge(memory);
        quota_release_fds(memory->quota, memory->uid, 1);
    } else {
        /* Somebody has opened it since it was lent. */
        recharge(memory);
    }
    pthread_mutex_unlock(&memory->lock);
    ring_memory_unref(memory);
}

int ring_memory_charge_to(struct ring_memory *memory, uid_t uid)
{
    int r;

    pthread_mutex_lock(&memory->lock);
    r = quota_charge_fds(memory->quota, uid, 1);
    if (r == 0) {
        r = quota_move(memory->quota, memory->uid, uid, memory->is_charged ? cost_of(memory) : 0);
        quota_release_fds(memory->quota, r < 0 ? uid : memory->uid, 1);
    }
    if (r == 0)
        memory->uid = uid;
    pthread_mutex_unlock(&memory->lock);
    return r;
}

void ring_memory_lend(struct ring_memory *memory)
{
    pthread_mutex_lock(&memory->lock);
    if (memory->n_holders == 1)
        discharge(memory);
    pthread_mutex_unlock(&memory->lock);
}

void ring_memory_take_back(struct ring_memory *memory)
{
    pthread_mutex_lock(&memory->lock);
    recharge(memory);
    pthread_mutex_unlock(&memory->lock);
}

/* --- Making --- */

static int ring_memory_make(struct ring_memory *memory, const struct ring_home *home)
{
    memory->fd = home->dir_fd < 0 ? open_sealed(memory->n_bytes)
                                  : open_named(home, memory->n_bytes, memory->id, memory->name);
    return memory->fd < 0 ? memory->fd : map(memory);
}

int ring_memory_new(const struct ring_geometry *geometry, const struct ring_home *home,
                    struct quota *quota, struct ring_memory **ret_memory)
{
    static _Atomic uint64_t last_id;
    struct ring_memory *memory = malloc(sizeof(*memory));
    int r;

    if (!memory)
        return -ENOMEM;
    *memory = (struct ring_memory){
        .n_refs = 1,
        .id = atomic_fetch_add(&last_id, 1) + 1,
        .fd = -1,
        .n_bytes = ring_map_bytes(geometry),
        .geometry = *geometry,
        .map = MAP_FAILED,
        .dir_fd = home->dir_fd,
        .quota = quota,
        .uid = home->uid,
        .n_holders = 1,
        .is_charged = true,
    };
    pthread_mutex_init(&memory->lock, NULL);
    r = charge(memory, home->uid);
    if (r < 0) {
        ring_memory_unref(memory);
        return r;
    }
    r = ring_memory_make(memory, home);
    if (r < 0)
        ring_memory_let_go(memory);
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
        munmap(memory->owner_entry, ring_memory_page_bytes() + memory->n_bytes);
    if (memory->fd >= 0)
        close(memory->fd);
    pthread_mutex_destroy(&memory->lock);
    free(memory);
}
