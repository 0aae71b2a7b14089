// Rigtorp's queue for one producer and one consumer: a header that is not in this tree (with_rigtorp).
#define NDEBUG // as its own benchmark has it
#include <rigtorp/SPSCQueue.h>

#include "tests/lib/bench/transport.h"

namespace
{

template <size_t N> struct Bytes {
    char bytes[N];
};

// What is mapped before two processes part lies at one address in both, so that a pointer holds.
template <typename T> struct Shared {
    typedef T value_type;

    T *allocate(size_t n)
    {
        return static_cast<T *>(bench_share(n * sizeof(T)));
    }

    void deallocate(T *memory, size_t n)
    {
        bench_unshare(memory, n * sizeof(T));
    }
};

struct Channel {
    void *queue;
    void (*send)(void *queue, unsigned int n);
    void (*receive)(void *queue, unsigned int n);
    void (*end)(void *queue);
};

template <size_t N> struct Spsc {
    typedef rigtorp::SPSCQueue<Bytes<N>, Shared<Bytes<N>>> Queue;

    static void send(void *queue, unsigned int n)
    {
        for (unsigned int i = 0; i < n; i++) {
            while (!static_cast<Queue *>(queue)->try_push(*reinterpret_cast<Bytes<N> *>(bench_out)))
                bench_relax();
            bench_use();
        }
    }

    static void receive(void *queue, unsigned int n)
    {
        for (unsigned int i = 0; i < n; i++) {
            Bytes<N> *front;

            while (!(front = static_cast<Queue *>(queue)->front()))
                bench_relax();
            *reinterpret_cast<Bytes<N> *>(bench_in) = *front;
            static_cast<Queue *>(queue)->pop();
            bench_use();
        }
    }

    static void end(void *queue)
    {
        static_cast<Queue *>(queue)->~Queue();
        bench_unshare(queue, sizeof(Queue));
    }

    static Channel *open(unsigned int slots)
    {
        return new Channel{ new (bench_share(sizeof(Queue))) Queue(slots), send, receive, end };
    }
};

void *open_spsc(size_t n_bytes, unsigned int slots)
{
    switch (n_bytes) {
    case 8:
        return Spsc<8>::open(slots);
    case 64:
        return Spsc<64>::open(slots);
    case 1024:
        return Spsc<1024>::open(slots);
    default:
        return Spsc<BYTES_MAX>::open(slots);
    }
}

void close_spsc(void *channel)
{
    Channel *c = static_cast<Channel *>(channel);

    c->end(c->queue);
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

} // namespace

const struct transport rigtorp_transports[] = {
    { "rigtorp SPSCQueue", SINGLE, open_spsc, close_spsc, nullptr, nullptr, send_spsc,
      receive_spsc },
    {},
};
