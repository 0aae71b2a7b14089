/* An entry: room for a request that comes through io_uring, and for its answer.
 *
 * The kernel never gives an entry up before the connection ends, so they are never freed before; what is given
 * back is their memory (uring_entry_forget). Each has address space for the longest request; memory it has as far
 * as it has been used.
 *
 * Owned by the struct entries that made it. Which thread may touch what: see transport_uring.c.
 *
 * Context: never waits. The list of entries is touched by its owner's thread alone; an entry by the thread that handles or answers
 * its request. */
#ifndef IPCFS_FS_URING_ENTRY_H
#define IPCFS_FS_URING_ENTRY_H

#include <linux/fuse.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "core/base/hash.h"
#include "uring_abi.h"

struct uring_queue;
struct uring_worker;

enum entry_state {
    ENTRY_FREE,     /* the kernel has it, and may fill it */
    ENTRY_BUSY,     /* its request is being handled */
    ENTRY_PARKED,   /* its handler has returned and left it unanswered */
    ENTRY_ANSWERED, /* the answer is written, or on its way to its thread */
};

#define ENTRY_ALIGN_BYTES 64

struct entry {
    alignas(ENTRY_ALIGN_BYTES) struct uring_queue *queue; /* the kernel's that it was put into */
    struct uring_worker *worker;                          /* through whose ring it is answered */
    struct uring_header *header;
    char *payload;
    uint64_t unique;    /* the request's, as the kernel has it */
    uint64_t commit_id; /* of its answer */
    uint32_t generation;
    enum entry_state state;
    struct iovec iov[2];  /* what the kernel is told of it */
    size_t n_dirty_bytes; /* that it has memory for; 0: for none */
    STAILQ_ENTRY(entry) link;
    TAILQ_ENTRY(entry) dirty_link; /* of those that are free and have memory */
    /* Of those parked: */
    pid_t tid;     /* who waits; 0: not in sight */
    bool is_fresh; /* nobody has looked whether an interrupt got lost */
    LIST_ENTRY(entry) fresh_link;
    uint64_t file_node; /* the file's that it waits in; 0: it may be no file */
    LIST_ENTRY(entry) file_link;
    UT_hash_handle hh; /* by unique */
};

STAILQ_HEAD(entry_list, entry);
TAILQ_HEAD(entry_stack, entry);
LIST_HEAD(entry_set, entry);

struct entry_chunk;

struct entries {
    struct entry_chunk *chunks;
    size_t payload_bytes;
    struct entry_list unused; /* never put into a queue */
};

/* @payload_bytes is the longest payload. */
void entries_init(struct entries *entries, size_t payload_bytes);

/* The kernel has no entry of these any more. */
void entries_deinit(struct entries *entries);

/* Return: an entry that was never used; NULL when memory is short. */
struct entry *entries_get(struct entries *entries);

/* @entry did not get into a queue. */
void entries_put_back(struct entries *entries, struct entry *entry);

/* Return: what libfuse calls the request in @entry: no number that the kernel uses, and another one for the next request.
 * Bit 0 is an interrupt's. */
uint64_t entry_id(const struct entry *entry);

/* Return: whether @id is such a number. */
static inline bool entry_is_id(uint64_t id)
{
    return id >> 63;
}

/* Return: the entry with this id. */
struct entry *entry_of_id(uint64_t id);

/* Joins what the kernel has written into @entry to one request in one piece, as /dev/fuse would bring it, but
 * under our id. Return: where it begins, in the entry; its length is in its header. */
struct fuse_in_header *entry_request(struct entry *entry);

/* Gives back the memory of @entry; what it holds is lost. */
void entry_drop(struct entry *entry);

/* Writes the answer that libfuse has in @iov where the kernel looks for it. */
void entry_write_answer(struct entry *entry, const struct iovec *iov, int count);

#endif
