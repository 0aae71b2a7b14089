/* libipcring, in its forms. Where each consumer sees everything nothing holds the sender back: so that nothing is lost it
 * looks from time to time, half a ring at a time, how far the receiver has come. */
#include <stdatomic.h>
#include <string.h>

#include "core/lib/ipcring_daemon.h"
#include "tests/lib/fixture.h"
#include "tests/lib/bench/transport.h"

/* How far the receiver has come tells a store in so many of the ring's parts. */
#define PARTS 8

struct ring_channel {
    struct fixture ring;
    size_t n_bytes;
    uint64_t spin_ns;
    _Atomic uint64_t *n_received; /* shared; NULL: the ring holds the sender back */
    unsigned int slots;
};

struct joined {
    struct ipcring *ring;
    size_t n_bytes;
    _Atomic uint64_t *n_received;
    unsigned int slots;
    uint64_t n_done;
    uint64_t n_seen; /* of n_received */
};

static void *open_ring(size_t n_bytes, unsigned int slots, uint32_t flags)
{
    struct ring_channel *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    fixture_init(&c->ring, slots, (uint32_t)n_bytes + IPCRING_WORD_BYTES, flags, 0);
    memset((char *)c->ring.map + IPCRING_AT_SLOT_0, 0, c->ring.n_bytes - IPCRING_AT_SLOT_0);
    c->n_bytes = n_bytes;
    c->spin_ns = UINT64_MAX;
    c->slots = slots;
    return c;
}

static void *open_for_each(size_t n_bytes, unsigned int slots)
{
    struct ring_channel *c = open_ring(n_bytes, slots,
                                       IPCRING_EACH_CONSUMER | IPCRING_ONE_PRODUCER);

    if (c)
        c->n_received = bench_share(sizeof(*c->n_received));
    return c;
}

static void *open_one(size_t n_bytes, unsigned int slots)
{
    return open_ring(n_bytes, slots, ONE_ONE);
}

static void *open_many(size_t n_bytes, unsigned int slots)
{
    return open_ring(n_bytes, slots, MANY_MANY);
}

static void *open_sleeping(size_t n_bytes, unsigned int slots)
{
    struct ring_channel *c = open_ring(n_bytes, slots, ONE_ONE);

    if (c)
        c->spin_ns = 0;
    return c;
}

static void close_ring(void *channel)
{
    struct ring_channel *c = channel;

    fixture_deinit(&c->ring);
    if (c->n_received)
        bench_unshare((void *)c->n_received, sizeof(*c->n_received));
    free(c);
}

static void *join(void *channel)
{
    const struct ring_channel *c = channel;
    struct joined *j = malloc(sizeof(*j));

    if (!j)
        die("no memory");
    *j = (struct joined){ .ring = fixture_open(&c->ring),
                          .n_bytes = c->n_bytes,
                          .n_received = c->n_received,
                          .slots = c->slots };
    /* Also what was sent before it came. */
    if (j->n_received)
        ipcring_seek(j->ring, 0);
    if (c->spin_ns != UINT64_MAX)
        ipcring_set_spin(j->ring, c->spin_ns);
    return j;
}

static void leave(void *joined)
{
    struct joined *j = joined;

    ipcring_close(j->ring);
    free(j);
}

static void send_each(void *joined, unsigned int n)
{
    struct joined *j = joined;

    for (unsigned int i = 0; i < n; i++)
        bench_need(ipcring_produce(j->ring, bench_out, j->n_bytes, IPCRING_FOREVER), "produce");
}

static void receive_each(void *joined, unsigned int n)
{
    struct joined *j = joined;

    for (unsigned int i = 0; i < n; i++)
        bench_need(ipcring_consume(j->ring, bench_in, BYTES_MAX, IPCRING_FOREVER), "consume");
}

static void send_to_each(void *joined, unsigned int n)
{
    struct joined *j = joined;

    for (unsigned int i = 0; i < n; i++) {
        while (j->n_done - j->n_seen >= j->slots / 2) {
            j->n_seen = atomic_load_explicit(j->n_received, memory_order_acquire);
            bench_relax();
        }
        bench_need(ipcring_produce(j->ring, bench_out, j->n_bytes, IPCRING_FOREVER), "produce");
        j->n_done++;
    }
}

static void receive_as_each(void *joined, unsigned int n)
{
    struct joined *j = joined;

    for (unsigned int i = 0; i < n; i++) {
        bench_need(ipcring_consume(j->ring, bench_in, BYTES_MAX, IPCRING_FOREVER), "consume");
        if (++j->n_done % (j->slots / PARTS) == 0)
            atomic_store_explicit(j->n_received, j->n_done, memory_order_release);
    }
}

static void send_in_place(void *joined, unsigned int n)
{
    struct joined *j = joined;
    void *place;

    for (unsigned int i = 0; i < n; i++) {
        bench_need(ipcring_reserve(j->ring, &place, IPCRING_FOREVER), "reserve");
        memcpy(place, bench_out, j->n_bytes);
        bench_need(ipcring_commit(j->ring, j->n_bytes), "commit");
    }
}

static void receive_in_place(void *joined, unsigned int n)
{
    struct joined *j = joined;
    const void *shown;

    for (unsigned int i = 0; i < n; i++) {
        bench_need(ipcring_peek(j->ring, &shown, IPCRING_FOREVER), "peek");
        memcpy(bench_in, shown, j->n_bytes);
        bench_need(ipcring_release(j->ring), "release");
    }
}

/* Return: up to BATCH messages, at @buffer. */
static unsigned int make_batch(struct ipcring_msg *msgs, char *buffer, size_t n_bytes,
                               size_t n_room, unsigned int n)
{
    size_t step = n_bytes <= BYTES_MAX / BATCH ? n_bytes : 0;

    if (n > BATCH)
        n = BATCH;
    for (unsigned int i = 0; i < n; i++)
        msgs[i] = (struct ipcring_msg){ buffer + i * step, n_room };
    return n;
}

static void send_batches(void *joined, unsigned int n)
{
    struct joined *j = joined;
    struct ipcring_msg msgs[BATCH];

    while (n > 0) {
        unsigned int count = make_batch(msgs, bench_out, j->n_bytes, j->n_bytes, n);
        int r = ipcring_produce_batch(j->ring, msgs, count, IPCRING_FOREVER);

        bench_need(r, "produce_batch");
        n -= (unsigned int)r;
    }
}

static void receive_batches(void *joined, unsigned int n)
{
    struct joined *j = joined;
    struct ipcring_msg msgs[BATCH];

    while (n > 0) {
        unsigned int count = make_batch(msgs, bench_in, j->n_bytes, j->n_bytes, n);
        int r = ipcring_consume_batch(j->ring, msgs, count, IPCRING_FOREVER);

        bench_need(r, "consume_batch");
        n -= (unsigned int)r;
    }
}

const struct transport ring_transports[] = {
    { "ring", SINGLE, open_one, close_ring, join, leave, send_each, receive_each },
    { "ring, in place", SINGLE, open_one, close_ring, join, leave, send_in_place,
      receive_in_place },
    { "ring, sleeping", SINGLE, open_sleeping, close_ring, join, leave, send_each, receive_each },
    { "ring, each", SINGLE, open_for_each, close_ring, join, leave, send_to_each, receive_as_each },
    { "ring, batches", BATCHED, open_one, close_ring, join, leave, send_batches, receive_batches },
    { "ring, many/many", MANY, open_many, close_ring, join, leave, send_each, receive_each },
    { "ring, many/many batches", MANY, open_many, close_ring, join, leave, send_batches,
      receive_batches },
    { NULL },
};
