/* The plainest good ring: one producer, one consumer, fixed slots, each side's index and what it has
 * last seen of the other's on a line of its own. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/bench/transport.h"

struct plain {
    _Alignas(128) _Atomic uint64_t head;
    uint64_t seen_tail;
    _Alignas(128) _Atomic uint64_t tail;
    uint64_t seen_head;
    _Alignas(128) uint64_t mask;
    size_t n_bytes;
    size_t all_bytes;
    _Alignas(128) char slots[];
};

static void *open_plain(size_t n_bytes, unsigned int slots)
{
    size_t all_bytes = sizeof(struct plain) + slots * n_bytes;
    struct plain *r = bench_share(all_bytes);

    r->mask = slots - 1;
    r->n_bytes = n_bytes;
    r->all_bytes = all_bytes;
    return r;
}

static void close_plain(void *channel)
{
    struct plain *r = channel;

    bench_unshare(r, r->all_bytes);
}

/* Of a length that the compiler knows, as in the rings of other libraries. */
static inline void copy(void *to, const void *from, size_t n)
{
    switch (n) {
    case 8:
        memcpy(to, from, 8);
        break;
    case 64:
        memcpy(to, from, 64);
        break;
    default:
        memcpy(to, from, n);
    }
}

static void send_plain(void *joined, unsigned int n)
{
    struct plain *r = joined;
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);

    for (unsigned int i = 0; i < n; i++) {
        while (head - r->seen_tail > r->mask) {
            r->seen_tail = atomic_load_explicit(&r->tail, memory_order_acquire);
            if (head - r->seen_tail > r->mask)
                bench_relax();
        }
        copy(r->slots + (head & r->mask) * r->n_bytes, bench_out, r->n_bytes);
        bench_use();
        atomic_store_explicit(&r->head, ++head, memory_order_release);
    }
}

static void receive_plain(void *joined, unsigned int n)
{
    struct plain *r = joined;
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

    for (unsigned int i = 0; i < n; i++) {
        while (r->seen_head == tail) {
            r->seen_head = atomic_load_explicit(&r->head, memory_order_acquire);
            if (r->seen_head == tail)
                bench_relax();
        }
        copy(bench_in, r->slots + (tail & r->mask) * r->n_bytes, r->n_bytes);
        bench_use();
        atomic_store_explicit(&r->tail, ++tail, memory_order_release);
    }
}

/* No ring: one process copies from one mapping to another, as large as a ring's slots. */
struct copier {
    char *from;
    char *to;
    size_t n_bytes;
    size_t all_bytes;
    size_t at;
};

static void *open_copier(size_t n_bytes, unsigned int slots)
{
    struct copier *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->n_bytes = n_bytes;
    c->all_bytes = n_bytes * slots;
    c->from = bench_share(c->all_bytes);
    c->to = bench_share(c->all_bytes);
    return c;
}

static void close_copier(void *channel)
{
    struct copier *c = channel;

    bench_unshare(c->from, c->all_bytes);
    bench_unshare(c->to, c->all_bytes);
    free(c);
}

static void receive_copier(void *joined, unsigned int n)
{
    struct copier *c = joined;

    for (unsigned int i = 0; i < n; i++) {
        copy(c->to + c->at, c->from + c->at, c->n_bytes);
        bench_use();
        c->at += c->n_bytes;
        if (c->at == c->all_bytes)
            c->at = 0;
    }
}

const struct transport plain_transports[] = {
    { "plain ring", SINGLE, open_plain, close_plain, NULL, NULL, send_plain, receive_plain },
    { "memcpy", LIMIT, open_copier, close_copier, NULL, NULL, NULL, receive_copier },
    { NULL },
};
