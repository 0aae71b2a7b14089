/* One way to get messages from one process to another, for ring_bench.
 *
 * A channel is opened, and its memory touched, before the two processes part; then each joins it as
 * its sender or its receiver. All calls end the program when they can't. */
#ifndef IPCFS_TESTS_RING_BENCH_TRANSPORT_H
#define IPCFS_TESTS_RING_BENCH_TRANSPORT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BATCH 32
#define BYTES_MAX 65536

/* What the rows that are compared have in common. */
enum transport_kind {
    SINGLE,  /* one to one, a message at a time */
    BATCHED, /* one to one, BATCH messages at a time where there are so many */
    MANY,    /* for many producers and many consumers */
    LIMIT,   /* nobody sends: what copying alone costs */
};

struct transport {
    const char *name;
    enum transport_kind kind;

    /* For messages of @n_bytes: 8, 64, 1,024 or BYTES_MAX. @slots: how many it shall hold, if that can be
     * chosen. Return: the channel; NULL: not on this machine. */
    void *(*open)(size_t n_bytes, unsigned int slots);
    void (*close)(void *channel);

    /* In the process that uses it; NULL: nothing to do. Return: the channel to send or receive with. */
    void *(*join)(void *channel);
    void (*leave)(void *joined);

    /* @n messages; waits for room, or until they are there. */
    void (*send)(void *joined, unsigned int n);
    void (*receive)(void *joined, unsigned int n);
};

/* Each ends with one that has no name. */
extern const struct transport ring_transports[];
extern const struct transport plain_transports[];
extern const struct transport kernel_transports[];
extern const struct transport ck_transports[];
extern const struct transport boost_transports[];
extern const struct transport rigtorp_transports[];

/* Where messages come from and go to; each process has its own. BATCH of up to 1,024 bytes lie one
 * behind the other; larger ones are all the first. */
extern char bench_out[BYTES_MAX];
extern char bench_in[BYTES_MAX];

/* Return: shared memory, touched. */
void *bench_share(size_t n_bytes);
void bench_unshare(void *memory, size_t n_bytes);

/* Ends the program when @result is negative. */
void bench_need(long result, const char *what);

/* Between two looks at a word that another processor changes. */
static inline void bench_relax(void)
{
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
}

/* The buffers are used, as far as the compiler can tell. */
static inline void bench_use(void)
{
    __asm__ __volatile__("" ::: "memory");
}

#ifdef __cplusplus
}
#endif

#endif
