/* Opening and closing a ring, and what it tells of itself.
 *
 * A handle owns the map where ipcring_open or ipcring_open_fd made it; ipcring_attach leaves it the caller's.
 * The geometry is read once, after magic (J), checked, and kept in the handle: what the map says later doesn't
 * matter. There is no lock: nobody else knows the handle. */
#include "ipcring_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipcring_daemon.h"

/* Return: whether a ring of @version can have @flags. */
static bool are_flags_of(uint32_t version, uint32_t flags)
{
    if (version == IPCRING_VERSION_EACH)
        return (flags & ~IPCRING_ONE_PRODUCER) == IPCRING_EACH_CONSUMER;
    return version == IPCRING_VERSION && !(flags & ~IPCRING_FLAGS);
}

static int read_geometry(struct ipcring *ring, void *map, size_t n_bytes)
{
    uint32_t version;
    uint32_t slots;
    uint32_t slot_bytes;
    uint32_t flags;
    uint64_t at;

    if (n_bytes < IPCRING_AT_SLOT_0)
        return -EPROTO;
    if (atomic_load_explicit(ring_u64(map, IPCRING_AT_MAGIC), memory_order_acquire) !=
        IPCRING_MAGIC) /* J */
        return -EPROTO;
    /* Relaxed from here: J ordered them. Each is loaded once. */
    version = atomic_load_explicit(ring_u32(map, IPCRING_AT_VERSION), memory_order_relaxed);
    flags = atomic_load_explicit(ring_u32(map, IPCRING_AT_FLAGS), memory_order_relaxed);
    slots = atomic_load_explicit(ring_u32(map, IPCRING_AT_SLOTS), memory_order_relaxed);
    slot_bytes = atomic_load_explicit(ring_u32(map, IPCRING_AT_SLOT_BYTES), memory_order_relaxed);
    at = atomic_load_explicit(ring_u64(map, IPCRING_AT_SLOTS_OFFSET), memory_order_relaxed);
    if (!are_flags_of(version, flags) || slots < IPCRING_SLOTS_MIN || slots > IPCRING_SLOTS_MAX ||
        (slots & (slots - 1)) != 0 || slot_bytes < IPCRING_SLOT_BYTES_MIN ||
        slot_bytes > IPCRING_SLOT_BYTES_MAX || slot_bytes % 8 != 0)
        return -EPROTO;
    if (at != IPCRING_AT_SLOT_0 || (uint64_t)slots * slot_bytes > n_bytes - IPCRING_AT_SLOT_0)
        return -EPROTO;
    ring->slots = (char *)map + IPCRING_AT_SLOT_0;
    ring->n_slots = slots;
    ring->mask = slots - 1;
    ring->order = (unsigned int)__builtin_ctz(slots);
    ring->slot_bytes = slot_bytes;
    ring->message_bytes = slot_bytes - IPCRING_WORD_BYTES;
    ring->one_producer = flags & IPCRING_ONE_PRODUCER;
    ring->one_consumer = flags & IPCRING_ONE_CONSUMER;
    ring->each = flags & IPCRING_EACH_CONSUMER;
    ring->stat = (struct ipcring_stat){ .slots = slots, .slot_bytes = slot_bytes, .flags = flags };
    return 0;
}

static void identify(struct ipcring *ring, void *map)
{
    uint64_t namespace = ipcring_os_pid_namespace();

    ring->can_judge = namespace != 0 &&
                      namespace == atomic_load_explicit(ring_u64(map, IPCRING_AT_PID_NAMESPACE),
                                                        memory_order_relaxed);
    ring->id = ipcring_os_own_id();
    if (!ring->can_judge)
        ring->id |= IPCRING_ID_FOREIGN;
}

int ipcring_attach(void *map, size_t n_bytes, struct ipcring **ret_ring)
{
    struct ipcring *ring;
    int r;

    if ((uintptr_t)map % 8 != 0)
        return -EINVAL;
    ring = aligned_alloc(HANDLE_ALIGN,
                         (sizeof(*ring) + HANDLE_ALIGN - 1) & ~(size_t)(HANDLE_ALIGN - 1));
    if (!ring)
        return -ENOMEM;
    memset(ring, 0, sizeof(*ring));
    r = read_geometry(ring, map, n_bytes);
    if (r < 0) {
        free(ring);
        return r;
    }
    ring->head = ring_u64(map, IPCRING_AT_HEAD);
    ring->tail = ring_u64(map, IPCRING_AT_TAIL);
    ring->producer = ring_u32(map, IPCRING_AT_PRODUCER);
    ring->consumer = ring_u32(map, IPCRING_AT_CONSUMER);
    ring->owner = ring_u32(map, IPCRING_AT_OWNER);
    ring->wait_data = ring_u32(map, IPCRING_AT_WAIT_DATA);
    ring->wait_space = ring_u32(map, IPCRING_AT_WAIT_SPACE);
    ring->seen_tail = atomic_load_explicit(ring->tail, memory_order_acquire); /* D */
    ipcring_wait_init(ring);
    ring->no_fence = ipcring_os_register_membarrier();
    identify(ring, map);
    if (ring->each)
        ring->next_tail = ipcring_begin(ring);
    *ret_ring = ring;
    return 0;
}

int ipcring_open_fd(int fd, struct ipcring **ret_ring)
{
    struct stat st;
    void *map;
    int r;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size < IPCRING_AT_SLOT_0)
        return -EPROTO;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    r = ipcring_attach(map, (size_t)st.st_size, ret_ring);
    if (r < 0) {
        munmap(map, (size_t)st.st_size);
        return r;
    }
    (*ret_ring)->mapped = map;
    (*ret_ring)->mapped_bytes = (size_t)st.st_size;
    return 0;
}

int ipcring_open(const char *path, struct ipcring **ret_ring)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    r = ipcring_open_fd(fd, ret_ring);
    close(fd);
    return r;
}

void ipcring_close(struct ipcring *ring)
{
    if (!ring)
        return;
    /* The child of a fork has no part in what its parent holds. */
    if ((ring->id & IPCRING_ID_PID) == ((uint32_t)getpid() & IPCRING_ID_PID)) {
        ipcring_cancel(ring);
        ipcring_leave_roles(ring);
    }
    if (ring->mapped)
        munmap(ring->mapped, ring->mapped_bytes);
    free(ring);
}

size_t ipcring_message_bytes(const struct ipcring *ring)
{
    return ring->message_bytes;
}

void ipcring_get_stat(const struct ipcring *ring, struct ipcring_stat *ret_stat)
{
    *ret_stat = ring->stat;
    ret_stat->tail = ring->each ? ring->next_tail
                                : atomic_load_explicit(ring->tail, memory_order_relaxed);
    ret_stat->head = atomic_load_explicit(ring->head, memory_order_relaxed);
    /* Head may stay behind for a moment, or for good where its producer died. */
    if (ring->each ? ret_stat->head - ret_stat->tail > UINT64_MAX / 2
                   : ret_stat->head - ret_stat->tail > ring->n_slots)
        ret_stat->head = ret_stat->tail;
}

uint64_t ipcring_missed(const struct ipcring *ring)
{
    return ring->n_missed;
}
