/* Concurrency Kit's ring, with its typed form, which holds the messages themselves. */
#include <ck_ring.h>
#include <stdlib.h>

#include "tests/ring/bench/transport.h"

#define FOR_SIZES(make) make(8) make(64) make(1024) make(65536)

struct ck_channel {
    struct ck_ring *ring;
    void *slots;
    size_t n_bytes;
    size_t all_bytes;
};

#define DEFINE(n)                                                                                  \
    struct bytes_##n {                                                                             \
        char bytes[n];                                                                             \
    };                                                                                             \
    CK_RING_PROTOTYPE(n, bytes_##n)                                                                \
    static void send_##n(struct ck_channel *c, unsigned int count)                                 \
    {                                                                                              \
        for (unsigned int i = 0; i < count; i++) {                                                 \
            while (!ck_ring_enqueue_spsc_##n(c->ring, c->slots, (struct bytes_##n *)bench_out))    \
                bench_relax();                                                                     \
            bench_use();                                                                           \
        }                                                                                          \
    }                                                                                              \
    static void receive_##n(struct ck_channel *c, unsigned int count)                              \
    {                                                                                              \
        for (unsigned int i = 0; i < count; i++) {                                                 \
            while (!ck_ring_dequeue_spsc_##n(c->ring, c->slots, (struct bytes_##n *)bench_in))     \
                bench_relax();                                                                     \
            bench_use();                                                                           \
        }                                                                                          \
    }
FOR_SIZES(DEFINE)

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

#define CASE_SEND(n)                                                                               \
    case n:                                                                                        \
        return send_##n(c, count);
#define CASE_RECEIVE(n)                                                                            \
    case n:                                                                                        \
        return receive_##n(c, count);

static void send_ck(void *joined, unsigned int count)
{
    struct ck_channel *c = joined;

    switch (c->n_bytes) {
        FOR_SIZES(CASE_SEND)
    }
}

static void receive_ck(void *joined, unsigned int count)
{
    struct ck_channel *c = joined;

    switch (c->n_bytes) {
        FOR_SIZES(CASE_RECEIVE)
    }
}

const struct transport ck_transports[] = {
    { "Concurrency Kit", SINGLE, open_ck, close_ck, NULL, NULL, send_ck, receive_ck },
    { NULL },
};
