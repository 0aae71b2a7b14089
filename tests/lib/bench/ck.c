/* Concurrency Kit's ring, with its typed form, which holds the messages themselves. */
#include <ck_ring.h>
#include <stdlib.h>

#include "tests/lib/bench/transport.h"

#define FOR_SIZES(make) make(8) make(64) make(1024) make(65536)

struct ck_channel {
    struct ck_ring *ring;
    void *slots;
    size_t n_bytes;
    size_t all_bytes;
};

#define DEFINE_TYPE(n)                                                                             \
    struct bytes_##n {                                                                             \
        char bytes[n];                                                                             \
    };                                                                                             \
    CK_RING_PROTOTYPE(n, bytes_##n)
FOR_SIZES(DEFINE_TYPE)

/* @peers: spsc or mpmc. */
#define DEFINE(n, peers)                                                                           \
    static void send_##peers##_##n(struct ck_channel *c, unsigned int count)                       \
    {                                                                                              \
        for (unsigned int i = 0; i < count; i++) {                                                 \
            while (                                                                                \
                !ck_ring_enqueue_##peers##_##n(c->ring, c->slots, (struct bytes_##n *)bench_out))  \
                bench_relax();                                                                     \
            bench_use();                                                                           \
        }                                                                                          \
    }                                                                                              \
    static void receive_##peers##_##n(struct ck_channel *c, unsigned int count)                    \
    {                                                                                              \
        for (unsigned int i = 0; i < count; i++) {                                                 \
            while (                                                                                \
                !ck_ring_dequeue_##peers##_##n(c->ring, c->slots, (struct bytes_##n *)bench_in))   \
                bench_relax();                                                                     \
            bench_use();                                                                           \
        }                                                                                          \
    }
#define DEFINE_SPSC(n) DEFINE(n, spsc)
#define DEFINE_MPMC(n) DEFINE(n, mpmc)
FOR_SIZES(DEFINE_SPSC)
FOR_SIZES(DEFINE_MPMC)

static void *open_ck(size_t n_bytes, unsigned int slots)
{
    struct ck_channel *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->n_bytes = n_bytes;
    c->all_bytes = sizeof(*c->ring) + slots * n_bytes;
    c->ring = bench_share(c->all_bytes);
    c->slots = c->ring + 1;
    ck_ring_init(c->ring, slots);
    return c;
}

static void close_ck(void *channel)
{
    struct ck_channel *c = channel;

    bench_unshare(c->ring, c->all_bytes);
    free(c);
}

#define CASE(verb, n, peers)                                                                       \
    case n:                                                                                        \
        return verb##_##peers##_##n(c, count);
#define SEND_SPSC(n) CASE(send, n, spsc)
#define SEND_MPMC(n) CASE(send, n, mpmc)
#define RECEIVE_SPSC(n) CASE(receive, n, spsc)
#define RECEIVE_MPMC(n) CASE(receive, n, mpmc)

static void send_ck(void *joined, unsigned int count)
{
    struct ck_channel *c = joined;

    switch (c->n_bytes) {
        FOR_SIZES(SEND_SPSC)
    }
}

static void receive_ck(void *joined, unsigned int count)
{
    struct ck_channel *c = joined;

    switch (c->n_bytes) {
        FOR_SIZES(RECEIVE_SPSC)
    }
}

static void send_ck_many(void *joined, unsigned int count)
{
    struct ck_channel *c = joined;

    switch (c->n_bytes) {
        FOR_SIZES(SEND_MPMC)
    }
}

static void receive_ck_many(void *joined, unsigned int count)
{
    struct ck_channel *c = joined;

    switch (c->n_bytes) {
        FOR_SIZES(RECEIVE_MPMC)
    }
}

const struct transport ck_transports[] = {
    { "Concurrency Kit", SINGLE, open_ck, close_ck, NULL, NULL, send_ck, receive_ck },
    { "Concurrency Kit, many/many", MANY, open_ck, close_ck, NULL, NULL, send_ck_many,
      receive_ck_many },
    { NULL },
};
