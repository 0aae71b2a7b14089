/* A message of a known size is one piece of malloc's. One that grows (msg_resize) becomes a mapping of its own once it is
 * large: the kernel gives zeroed pages to what is touched and to nothing else, moves them without copying, and takes back
 * those that are cut off. */
#include "msg.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A growing message of this size, in memory, and more is mapped. Less would cost more mappings, of which a process
 * has 65,530. */
#define MAPPED_BYTES_MIN (UINT64_C(1) << 20)

struct msg *msg_alloc(size_t size_bytes, unsigned int prio, struct msg_sender sender)
{
    struct msg *msg;

    assert(prio < MSG_N_PRIOS);
    msg = malloc(sizeof(*msg) + size_bytes);
    if (msg)
        *msg = (struct msg){
            .n_refs = 1,
            .prio = prio,
            .sender = sender,
            .size_bytes = size_bytes,
            .n_allocated = size_bytes,
        };
    return msg;
}

struct msg *msg_new(const void *data, size_t size_bytes, unsigned int prio,
                    struct msg_sender sender)
{
    struct msg *msg = msg_alloc(size_bytes, prio, sender);

    if (msg && size_bytes > 0)
        memcpy(msg->data, data, size_bytes);
    return msg;
}

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* Return: @msg in a piece of malloc's that has room for @n_allocated bytes; NULL. */
static struct msg *grow_in_heap(struct msg *msg, size_t n_allocated)
{
    struct msg *grown = realloc(msg, sizeof(*msg) + n_allocated);

    if (grown)
        memset(grown->data + grown->size_bytes, 0, n_allocated - grown->size_bytes);
    return grown;
}

/* Return: @msg in a mapping of @n_bytes; NULL. */
static struct msg *map_anew(struct msg *msg, size_t n_bytes)
{
    struct msg *mapped = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (mapped == MAP_FAILED)
        return NULL;
    memcpy(mapped, msg, sizeof(*msg) + msg->size_bytes);
    mapped->is_mapped = true;
    free(msg);
    return mapped;
}

/* Return: @msg in a mapping that has room for *@n_allocated bytes, which is set to all there are; NULL. */
static struct msg *grow_mapping(struct msg *msg, size_t *n_allocated)
{
    size_t n_bytes = round_up(sizeof(*msg) + *n_allocated, page_bytes());
    struct msg *grown;

    if (msg->is_mapped) {
        grown = mremap(msg, sizeof(*msg) + msg->n_allocated, n_bytes, MREMAP_MAYMOVE);
        if (grown == MAP_FAILED)
            grown = NULL;
    } else {
        grown = map_anew(msg, n_bytes);
    }
    *n_allocated = n_bytes - sizeof(*msg);
    return grown;
}

/* Return: 0 with room for @n_allocated bytes, all that are new being zero; -ENOMEM. */
static int msg_grow(struct msg **msg, size_t n_allocated)
{
    struct msg *grown;

    if (n_allocated > SIZE_MAX / 2)
        return -ENOMEM;
    if ((*msg)->is_mapped || sizeof(**msg) + n_allocated >= MAPPED_BYTES_MIN)
        grown = grow_mapping(*msg, &n_allocated);
    else
        grown = grow_in_heap(*msg, n_allocated);
    if (!grown)
        return -ENOMEM;
    grown->n_allocated = n_allocated;
    *msg = grown;
    return 0;
}

/* Makes what is behind the first @size_bytes zero; whole pages of a mapping go back to the kernel. */
static void cut(struct msg *msg, size_t size_bytes)
{
    size_t start = sizeof(*msg) + size_bytes;
    size_t end = sizeof(*msg) + msg->size_bytes;
    size_t first_page = round_up(start, page_bytes());
    char *bytes = (char *)msg;

    if (msg->is_mapped && first_page < end &&
        madvise(bytes + first_page, round_up(end, page_bytes()) - first_page, MADV_DONTNEED) == 0)
        end = first_page;
    memset(bytes + start, 0, end - start);
}

int msg_resize(struct msg **msg, size_t size_bytes)
{
    size_t n = (*msg)->n_allocated;
    int r = 0;

    if (size_bytes < (*msg)->size_bytes)
        cut(*msg, size_bytes);
    /* More than it takes, so that what grows byte by byte seldom moves; where there is memory for that. */
    if (size_bytes > n && size_bytes < n + n / 2)
        r = msg_grow(msg, n + n / 2);
    if (size_bytes > (*msg)->n_allocated)
        r = msg_grow(msg, size_bytes);
    if (r == 0)
        (*msg)->size_bytes = size_bytes;
    return r;
}

static void free_memory(struct msg *msg)
{
    if (msg->is_mapped)
        munmap(msg, sizeof(*msg) + msg->n_allocated);
    else
        free(msg);
}

struct msg *msg_ref(struct msg *msg)
{
    /* Relaxed: who copies a reference holds one, so the count can't reach zero meanwhile. */
    atomic_fetch_add_explicit(&msg->n_refs, 1, memory_order_relaxed);
    return msg;
}

void msg_unref(struct msg *msg)
{
    if (!msg)
        return;
    /* Acquire and release: the one who frees sees all that the others did with it. */
    if (atomic_fetch_sub_explicit(&msg->n_refs, 1, memory_order_acq_rel) > 1)
        return;
    quota_charge_end(&msg->charge);
    free(msg->headers);
    free_memory(msg);
}

struct msg *msg_hold(struct msg *msg, struct quota *quota, uid_t uid)
{
    quota_charge_hold(&msg->charge, quota, uid);
    return msg_ref(msg);
}

void msg_let_go(struct msg *msg)
{
    quota_charge_drop(&msg->charge);
    msg_unref(msg);
}
