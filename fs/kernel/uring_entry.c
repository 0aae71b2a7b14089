/* An entry's memory: its header, then room for what the kernel has put into the header and libfuse wants before
 * the payload, then the payload. */
#include "uring_entry.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Mapped at once: so many address spaces beside each other are one to the kernel. */
#define CHUNK_N_ENTRIES 16

/* From an entry's start to its payload. The longest arguments and the header of a request fit before it. */
#define PAYLOAD_OFFSET 512

_Static_assert(sizeof(struct uring_header) + sizeof(struct fuse_in_header) +
                       sizeof(((struct uring_header *)NULL)->op_in) <=
                   PAYLOAD_OFFSET,
               "a request's header and arguments have room before its payload");

/* An id: the highest bit; so many bits that change with each request; the entry's address, without the bits
 * that all have in common; and bit 0, which is an interrupt's. */
#define ID_MARK (UINT64_C(1) << 63)
#define ID_GENERATION_SHIFT 52
#define ID_GENERATION_MASK UINT64_C(0x7ff)
#define ID_ADDRESS_MASK ((UINT64_C(1) << ID_GENERATION_SHIFT) - 2)

struct entry_chunk {
    struct entry entries[CHUNK_N_ENTRIES];
    struct entry_chunk *next;
    void *map;
    size_t map_bytes;
};

void entries_init(struct entries *entries, size_t payload_bytes)
{
    *entries = (struct entries){ .payload_bytes = payload_bytes };
    STAILQ_INIT(&entries->unused);
}

void entries_deinit(struct entries *entries)
{
    struct entry_chunk *chunk;

    while ((chunk = entries->chunks)) {
        entries->chunks = chunk->next;
        munmap(chunk->map, chunk->map_bytes);
        free(chunk);
    }
}

static size_t slot_bytes(const struct entries *entries)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (PAYLOAD_OFFSET + entries->payload_bytes + page - 1) / page * page;
}

static void entry_init(struct entry *entry, char *memory, size_t payload_bytes)
{
    entry->header = (struct uring_header *)(void *)memory;
    entry->payload = memory + PAYLOAD_OFFSET;
    entry->iov[0] = (struct iovec){ entry->header, sizeof(*entry->header) };
    entry->iov[1] = (struct iovec){ entry->payload, payload_bytes };
}

/* Return: whether there are unused entries now. */
static bool add_chunk(struct entries *entries)
{
    size_t n_bytes = slot_bytes(entries);
    struct entry_chunk *chunk = aligned_alloc(ENTRY_ALIGN_BYTES, sizeof(*chunk));

    if (!chunk)
        return false;
    memset(chunk, 0, sizeof(*chunk));
    chunk->map_bytes = CHUNK_N_ENTRIES * n_bytes;
    chunk->map = mmap(NULL, chunk->map_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (chunk->map == MAP_FAILED) {
        free(chunk);
        return false;
    }
    /* Two megabytes for a request of 64 bytes are no gain. */
    madvise(chunk->map, chunk->map_bytes, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < CHUNK_N_ENTRIES; i++) {
        entry_init(&chunk->entries[i], (char *)chunk->map + i * n_bytes, entries->payload_bytes);
        STAILQ_INSERT_TAIL(&entries->unused, &chunk->entries[i], link);
    }
    chunk->next = entries->chunks;
    entries->chunks = chunk;
    return true;
}

struct entry *entries_get(struct entries *entries)
{
    struct entry *entry;

    if (STAILQ_EMPTY(&entries->unused) && !add_chunk(entries))
        return NULL;
    entry = STAILQ_FIRST(&entries->unused);
    STAILQ_REMOVE_HEAD(&entries->unused, link);
    return entry;
}

void entries_put_back(struct entries *entries, struct entry *entry)
{
    STAILQ_INSERT_HEAD(&entries->unused, entry, link);
}

uint64_t entry_id(const struct entry *entry)
{
    uint64_t address = (uintptr_t)entry / ENTRY_ALIGN_BYTES;

    return ID_MARK | (entry->generation & ID_GENERATION_MASK) << ID_GENERATION_SHIFT | address << 1;
}

struct entry *entry_of_id(uint64_t id)
{
    return (struct entry *)(uintptr_t)(((id & ID_ADDRESS_MASK) >> 1) * ENTRY_ALIGN_BYTES);
}

/* Notes that the payload has memory for @n_bytes. */
static void note_use(struct entry *entry, size_t n_bytes)
{
    if (entry->n_dirty_bytes < PAYLOAD_OFFSET + n_bytes)
        entry->n_dirty_bytes = PAYLOAD_OFFSET + n_bytes;
}

void entry_drop(struct entry *entry)
{
    madvise(entry->header, entry->n_dirty_bytes, MADV_DONTNEED);
    entry->n_dirty_bytes = 0;
}

/* Return: whether the kernel asks this of open regular files alone. */
static bool is_of_file(uint32_t opcode)
{
    return opcode == FUSE_READ || opcode == FUSE_WRITE || opcode == FUSE_FLUSH ||
           opcode == FUSE_SETLKW;
}

struct fuse_in_header *entry_request(struct entry *entry)
{
    const struct uring_header *header = entry->header;
    struct fuse_in_header in;
    size_t n_args;
    char *to;

    memcpy(&in, header->in_out, sizeof(in));
    n_args = in.len - sizeof(in) - header->payload_bytes;
    to = entry->payload - n_args - sizeof(in);
    note_use(entry, header->payload_bytes);
    entry->unique = in.unique;
    entry->tid = (pid_t)in.pid;
    entry->file_node = is_of_file(in.opcode) ? in.nodeid : 0;
    entry->commit_id = header->commit_id;
    entry->generation++;
    in.unique = entry_id(entry);
    memcpy(to, &in, sizeof(in));
    memcpy(to + sizeof(in), header->op_in, n_args);
    return (struct fuse_in_header *)(void *)to;
}

void entry_write_answer(struct entry *entry, const struct iovec *iov, int count)
{
    struct uring_header *header = entry->header;
    struct fuse_out_header out;
    uint32_t n = 0;

    memcpy(&out, iov[0].iov_base, sizeof(out));
    out.unique = entry->unique;
    memcpy(header->in_out, &out, sizeof(out));
    for (int i = 1; i < count; i++) {
        memcpy(entry->payload + n, iov[i].iov_base, iov[i].iov_len);
        n += (uint32_t)iov[i].iov_len;
    }
    header->payload_bytes = n;
    note_use(entry, n);
}
