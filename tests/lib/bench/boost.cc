// Boost's ring for one producer and one consumer, and its message queue for many.
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <new>
#include <string>

#include <unistd.h>

#include "tests/lib/bench/transport.h"

namespace
{

template <size_t N> struct Bytes {
    char bytes[N];
};

// The capacity is a part of the type, so that nothing in it is a pointer.
template <size_t N, size_t SLOTS> struct Spsc {
    typedef boost::lockfree::spsc_queue<Bytes<N>, boost::lockfree::capacity<SLOTS>> Queue;

    static void send(void *queue, unsigned int n)
    {
        for (unsigned int i = 0; i < n; i++) {
            while (!static_cast<Queue *>(queue)->push(*reinterpret_cast<Bytes<N> *>(bench_out)))
                bench_relax();
            bench_use();
        }
    }

    static void receive(void *queue, unsigned int n)
    {
        for (unsigned int i = 0; i < n; i++) {
            while (!static_cast<Queue *>(queue)->pop(*reinterpret_cast<Bytes<N> *>(bench_in)))
                bench_relax();
            bench_use();
        }
    }

    // As many of a batch as lie in the buffer.
    static unsigned int batch(unsigned int n)
    {
        unsigned int most = N * BATCH <= BYTES_MAX ? BATCH : 1;

        return n < most ? n : most;
    }

    static void send_batches(void *queue, unsigned int n)
    {
        while (n > 0) {
            size_t done = static_cast<Queue *>(queue)->push(
                reinterpret_cast<Bytes<N> *>(bench_out), batch(n));

            if (done == 0)
                bench_relax();
            bench_use();
            n -= done;
        }
    }

    static void receive_batches(void *queue, unsigned int n)
    {
        while (n > 0) {
            size_t done = static_cast<Queue *>(queue)->pop(
                reinterpret_cast<Bytes<N> *>(bench_in), batch(n));

            if (done == 0)
                bench_relax();
            bench_use();
            n -= done;
        }
    }

    static void *make(size_t *ret_all_bytes)
    {
        *ret_all_bytes = sizeof(Queue);
        return new (bench_share(sizeof(Queue))) Queue;
    }
};

struct Channel {
    void *queue;
    size_t all_bytes;
    void (*send)(void *queue, unsigned int n);
    void (*receive)(void *queue, unsigned int n);
};

template <typename S> Channel *new_spsc(bool batched)
{
    Channel *c = new Channel;

    c->queue = S::make(&c->all_bytes);
    c->send = batched ? S::send_batches : S::send;
    c->receive = batched ? S::receive_batches : S::receive;
    return c;
}

// With as many slots as ring_bench gives the others.
Channel *open_either(size_t n_bytes, unsigned int slots, bool batched)
{
    switch (n_bytes) {
    case 8:
        return slots == 64 ? new_spsc<Spsc<8, 64>>(batched) : new_spsc<Spsc<8, 32768>>(batched);
    case 64:
        return new_spsc<Spsc<64, 32768>>(batched);
    case 1024:
        return new_spsc<Spsc<1024, 8192>>(batched);
    default:
        return new_spsc<Spsc<65536, 64>>(batched);
    }
}

void *open_spsc(size_t n_bytes, unsigned int slots)
{
    return open_either(n_bytes, slots, false);
}

void *open_spsc_batches(size_t n_bytes, unsigned int slots)
{
    return open_either(n_bytes, slots, true);
}

void close_spsc(void *channel)
{
    Channel *c = static_cast<Channel *>(channel);

    bench_unshare(c->queue, c->all_bytes);
    delete c;
}

void send_spsc(void *joined, unsigned int n)
{
    Channel *c = static_cast<Channel *>(joined);

    c->send(c->queue, n);
}

void receive_spsc(void *joined, unsigned int n)
{
    Channel *c = static_cast<Channel *>(joined);

    c->receive(c->queue, n);
}

namespace ipc = boost::interprocess;

struct Mq {
    std::unique_ptr<ipc::message_queue> queue;
    size_t n_bytes;
};

void *open_mq(size_t n_bytes, unsigned int slots)
{
    std::string name = "ring_bench_" + std::to_string(getpid());

    ipc::message_queue::remove(name.c_str());
    try {
        std::unique_ptr<Mq> mq(new Mq);

        mq->queue.reset(new ipc::message_queue(ipc::create_only, name.c_str(), slots, n_bytes));
        mq->n_bytes = n_bytes;
        ipc::message_queue::remove(name.c_str());
        return mq.release();
    } catch (const ipc::interprocess_exception &e) {
        std::fprintf(stderr, "message_queue: %s\n", e.what());
        return nullptr;
    }
}

void close_mq(void *channel)
{
    delete static_cast<Mq *>(channel);
}

void send_mq(void *joined, unsigned int n)
{
    Mq *mq = static_cast<Mq *>(joined);

    for (unsigned int i = 0; i < n; i++)
        mq->queue->send(bench_out, mq->n_bytes, 0);
}

void receive_mq(void *joined, unsigned int n)
{
    Mq *mq = static_cast<Mq *>(joined);
    ipc::message_queue::size_type got;
    unsigned int priority;

    for (unsigned int i = 0; i < n; i++)
        mq->queue->receive(bench_in, BYTES_MAX, got, priority);
}

} // namespace

const struct transport boost_transports[] = {
    { "boost spsc_queue", SINGLE, open_spsc, close_spsc, nullptr, nullptr, send_spsc, receive_spsc },
    { "boost spsc_queue, batches", BATCHED, open_spsc_batches, close_spsc, nullptr, nullptr,
      send_spsc, receive_spsc },
    { "boost message_queue", MANY, open_mq, close_mq, nullptr, nullptr, send_mq, receive_mq },
    {},
};
