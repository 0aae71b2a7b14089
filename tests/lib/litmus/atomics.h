/* The atomics, and what waits, of the ring's own sources when they are explored. The compiler is given this
 * before each of core's files (-include): every access to a ring's map becomes a call of memory.c's, with the
 * line it stands at; sleeping, membarrier and the clock become threads.c's. The sources stay as they are.
 *
 * What copies a payload is core's own, as ThreadSanitizer is shown it: word by word. */
#ifndef IPCFS_TESTS_RING_REAL_ATOMICS_H
#define IPCFS_TESTS_RING_REAL_ATOMICS_H

#ifndef __SANITIZE_THREAD__
#define __SANITIZE_THREAD__ 1
#endif

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Where an operation stands in the source. */
struct site {
    const char *file;
    int line;
    unsigned int letters; /* bit 0: A; see letters.h */
    bool is_known;
};

#define SITE                                                                                       \
    ({                                                                                             \
        static struct site site_ = { .file = __FILE__, .line = __LINE__ };                         \
        &site_;                                                                                    \
    })

/* @p is a 32-bit or a 64-bit word of the map. */
uint64_t real_load(const volatile void *p, memory_order order, struct site *site);
void real_store(volatile void *p, uint64_t value, memory_order order, struct site *site);
uint64_t real_exchange(volatile void *p, uint64_t value, memory_order order, struct site *site);
uint64_t real_fetch_or(volatile void *p, uint64_t bits, memory_order order, struct site *site);
bool real_compare_exchange(volatile void *p, uint64_t *expected, uint64_t value, memory_order order,
                           memory_order order_else, struct site *site);
void real_thread_fence(memory_order order, struct site *site);
void real_signal_fence(struct site *site);

long real_syscall(long number, ...);
int real_clock_gettime(clockid_t clock, struct timespec *ret_now);
pid_t real_getpid(void);
/* All is given back after the run. */
void *real_alloc(size_t n_bytes);
void real_free(void *p);

#define WORD_TYPE(p)                                                                               \
    __typeof__(_Generic((p),                                                                       \
        _Atomic uint32_t *: (uint32_t)0,                                                           \
        const _Atomic uint32_t *: (uint32_t)0,                                                     \
        default: (uint64_t)0))

#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange
#undef atomic_fetch_or
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_strong_explicit
#undef atomic_thread_fence
#undef atomic_signal_fence
#define atomic_load_explicit(p, order) ((WORD_TYPE(p))real_load((p), (order), SITE))
#define atomic_load(p) atomic_load_explicit((p), memory_order_seq_cst)
#define atomic_store_explicit(p, value, order) real_store((p), (value), (order), SITE)
#define atomic_store(p, value) atomic_store_explicit((p), (value), memory_order_seq_cst)
#define atomic_exchange(p, value)                                                                  \
    ({ (WORD_TYPE(p)) real_exchange((p), (value), memory_order_seq_cst, SITE); })
#define atomic_fetch_or(p, bits)                                                                   \
    ({ (WORD_TYPE(p)) real_fetch_or((p), (bits), memory_order_seq_cst, SITE); })
#define atomic_compare_exchange_strong_explicit(p, expected, value, order, order_else)             \
    ({                                                                                             \
        uint64_t was_ = *(expected);                                                               \
        bool swapped_ = real_compare_exchange((p), &was_, (value), (order), (order_else), SITE);   \
        if (!swapped_)                                                                             \
            *(expected) = (WORD_TYPE(p))was_;                                                      \
        swapped_;                                                                                  \
    })
#define atomic_compare_exchange_strong(p, expected, value)                                         \
    atomic_compare_exchange_strong_explicit((p), (expected), (value), memory_order_seq_cst,        \
                                            memory_order_seq_cst)
#define atomic_thread_fence(order) real_thread_fence((order), SITE)
#define atomic_signal_fence(order) real_signal_fence(SITE)

#define syscall real_syscall
#define clock_gettime real_clock_gettime
#define getpid real_getpid
#define aligned_alloc(alignment, n_bytes) real_alloc(n_bytes)
#define free(p) real_free(p)

#endif
