#include "ringmap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/lib/ring_abi.h"
#include "process.h"
#include "util.h"

/* So often a slot that changes while it is copied is read again. */
#define N_TRIES 100

const char *const slot_states[] = {
    [SLOT_FREE] = "free",       [SLOT_FULL] = "full",       [SLOT_CLAIMED] = "claimed",
    [SLOT_SKIPPED] = "skipped", [SLOT_DAMAGED] = "damaged",
};

uint32_t ringmap_u32(const struct ringmap *ringmap, size_t at)
{
    return __atomic_load_n((const uint32_t *)(ringmap->map + at), __ATOMIC_ACQUIRE);
}

uint64_t ringmap_u64(const struct ringmap *ringmap, size_t at)
{
    return __atomic_load_n((const uint64_t *)(ringmap->map + at), __ATOMIC_ACQUIRE);
}

static bool are_flags_possible(const struct ringmap *ringmap)
{
    if (ringmap->version == IPCRING_VERSION_EACH)
        return (ringmap->flags & ~IPCRING_ONE_PRODUCER) == IPCRING_EACH_CONSUMER;
    return (ringmap->flags & ~IPCRING_FLAGS) == 0;
}

uint64_t ringmap_first(const struct ringmap *ringmap)
{
    uint64_t head = ringmap_u64(ringmap, IPCRING_AT_HEAD);

    if (ringmap->version != IPCRING_VERSION_EACH)
        return ringmap_u64(ringmap, IPCRING_AT_TAIL);
    return head > ringmap->slots ? head - ringmap->slots : 0;
}

/* Copies the geometry. Return: NULL; what is wrong with it. */
static const char *read_geometry(struct ringmap *ringmap)
{
    if (ringmap->map_bytes < IPCRING_AT_SLOT_0)
        return "it is too short";
    if (ringmap_u64(ringmap, IPCRING_AT_MAGIC) != IPCRING_MAGIC)
        return "it does not begin with IPCFRING";
    ringmap->version = ringmap_u32(ringmap, IPCRING_AT_VERSION);
    if (ringmap->version != IPCRING_VERSION && ringmap->version != IPCRING_VERSION_EACH)
        return "it is of a version that this ipcctl does not know";
    ringmap->flags = ringmap_u32(ringmap, IPCRING_AT_FLAGS);
    ringmap->slots = ringmap_u32(ringmap, IPCRING_AT_SLOTS);
    ringmap->slot_bytes = ringmap_u32(ringmap, IPCRING_AT_SLOT_BYTES);
    ringmap->pid_namespace = ringmap_u64(ringmap, IPCRING_AT_PID_NAMESPACE);
    if (ringmap->slots < IPCRING_SLOTS_MIN || ringmap->slots > IPCRING_SLOTS_MAX ||
        (ringmap->slots & (ringmap->slots - 1)) != 0 ||
        ringmap->slot_bytes < IPCRING_SLOT_BYTES_MIN ||
        ringmap->slot_bytes > IPCRING_SLOT_BYTES_MAX || ringmap->slot_bytes % 8 != 0 ||
        !are_flags_possible(ringmap) ||
        ringmap_u64(ringmap, IPCRING_AT_SLOTS_OFFSET) != IPCRING_AT_SLOT_0)
        return "its geometry is impossible";
    if (ringmap->map_bytes < IPCRING_AT_SLOT_0 + (size_t)ringmap->slots * ringmap->slot_bytes)
        return "it is shorter than its geometry says";
    ringmap->order = (unsigned int)__builtin_ctz(ringmap->slots);
    return NULL;
}

int ringmap_open(const char *path, struct ringmap *ret, const char **ret_wrong)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct ringmap ringmap = { 0 };
    struct stat st;
    void *map;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size < IPCRING_AT_SLOT_0) {
        *ret_wrong = "it is too short";
        return -EPROTO;
    }
    ringmap.map_bytes = (size_t)st.st_size;
    map = mmap(NULL, ringmap.map_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    ringmap.map = map;
    *ret_wrong = read_geometry(&ringmap);
    if (*ret_wrong) {
        ringmap_close(&ringmap);
        return -EPROTO;
    }
    *ret = ringmap;
    return 0;
}

void ringmap_close(struct ringmap *ringmap)
{
    munmap((void *)ringmap->map, ringmap->map_bytes);
}

static enum slot_state classify(uint64_t word, uint32_t lap)
{
    uint32_t state = ipcring_word_state(word);

    if (ipcring_word_lap(word) == ((lap - 1) & IPCRING_LAP_MASK) &&
        (state == IPCRING_FULL || state == IPCRING_SKIP))
        return SLOT_FREE;
    if (ipcring_word_lap(word) != lap)
        return SLOT_DAMAGED;
    switch (state) {
    case IPCRING_FULL:
        return SLOT_FULL;
    case IPCRING_CLAIMED:
        return SLOT_CLAIMED;
    case IPCRING_SKIP:
        return SLOT_SKIPPED;
    default:
        return SLOT_DAMAGED;
    }
}

/* Return: whether the slot was the same before and after it was copied. */
static bool try_slot(const struct ringmap *ringmap, size_t at, uint32_t lap, struct slot *slot)
{
    size_t max_bytes = ringmap->slot_bytes - IPCRING_WORD_BYTES;
    uint64_t word = ringmap_u64(ringmap, at);

    slot->state = classify(word, lap);
    if (slot->state == SLOT_CLAIMED)
        slot->claimer = ipcring_word_low(word);
    if (slot->state != SLOT_FULL)
        return true;
    slot->n_bytes = ipcring_word_low(word);
    if (slot->n_bytes > max_bytes) {
        slot->state = SLOT_DAMAGED;
        slot->n_bytes = 0;
        return true;
    }
    slot->message = xrealloc(slot->message, slot->n_bytes, 1);
    memcpy(slot->message, ringmap->map + at + IPCRING_WORD_BYTES, slot->n_bytes);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return ringmap_u64(ringmap, at) == word;
}

void ringmap_slot(const struct ringmap *ringmap, uint64_t pos, struct slot *ret)
{
    uint32_t index = (uint32_t)pos & (ringmap->slots - 1);
    size_t at = IPCRING_AT_SLOT_0 + (size_t)index * ringmap->slot_bytes;

    *ret = (struct slot){ .pos = pos, .index = index };
    for (int i = 0; i < N_TRIES; i++) {
        if (try_slot(ringmap, at, ipcring_lap(pos, ringmap->order), ret))
            break;
    }
    if (ret->state != SLOT_FULL) {
        free(ret->message);
        ret->message = NULL;
        ret->n_bytes = 0;
    }
}

pid_t ringmap_pid(uint32_t id)
{
    return (pid_t)(id & IPCRING_ID_PID);
}

enum life ringmap_judge(const struct ringmap *ringmap, uint32_t id)
{
    uint32_t start = id >> IPCRING_ID_START_SHIFT & IPCRING_ID_START;
    struct process process;
    struct stat st;

    if (id & IPCRING_ID_FOREIGN || stat("/proc/self/ns/pid", &st) < 0 ||
        st.st_ino != ringmap->pid_namespace)
        return LIFE_UNKNOWN;
    process_look(ringmap_pid(id), &process);
    if (!process.lives ||
        (start && process.start_time && start != 1 + process.start_time % IPCRING_ID_START_MODULUS))
        return LIFE_DEAD;
    return LIFE_LIVES;
}

char *ringmap_show_id(const struct ringmap *ringmap, uint32_t id)
{
    switch (ringmap_judge(ringmap, id)) {
    case LIFE_LIVES:
        return process_show(ringmap_pid(id));
    case LIFE_DEAD:
        return xasprintf("process %d, dead", (int)ringmap_pid(id));
    default:
        return xasprintf("process %d of another pid namespace", (int)ringmap_pid(id));
    }
}
