/* Copies messages into slots and out of them.
 *
 * With many consumers, one may copy a payload that a producer is writing again, and finds out at C that it
 * came too late. That is a race in name only; ThreadSanitizer is shown word-wise atomics instead.
 *
 * Context: the thread that has the handle; never blocks. */
#ifndef IPCFS_CORE_LIB_IPCRING_COPY_H
#define IPCFS_CORE_LIB_IPCRING_COPY_H

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "ring_os.h"

/* Messages up to here are copied without a call. */
#define SMALL_BYTES 64

/* Messages from here on are copied to whole lines. A slot's payload begins 8 bytes after a line does, and
 * memcpy's best way with many bytes (rep movsb) takes twice as long then. */
#define LARGE_BYTES 4096
#define LINE_BYTES 64

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

#ifdef __SANITIZE_THREAD__
static inline void copy_in(char *to, const void *from, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = 0;

        memcpy(&word, (const char *)from + i, n - i < 8 ? n - i : 8);
        atomic_store_explicit(ring_u64(to, i), word, memory_order_relaxed);
    }
}

static inline void copy_out(void *to, char *from, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = atomic_load_explicit(ring_u64(from, i), memory_order_relaxed);

        memcpy((char *)to + i, &word, n - i < 8 ? n - i : 8);
    }
}
#else
static inline void copy_large(char *to, const char *from, size_t n)
{
    size_t to_line = -(uintptr_t)to & (LINE_BYTES - 1);

    memcpy(to, from, LINE_BYTES);
    memcpy(to + to_line, from + to_line, n - to_line);
}

/* Small ones without a call; the two halves may overlap. */
static inline void copy(char *to, const char *from, size_t n)
{
    if (n == 8) {
        memcpy(to, from, 8);
    } else if (n >= LARGE_BYTES) {
        copy_large(to, from, n);
    } else if (n > SMALL_BYTES) {
        memcpy(to, from, n);
    } else if (n >= 32) {
        memcpy(to, from, 32);
        memcpy(to + n - 32, from + n - 32, 32);
    } else if (n >= 16) {
        memcpy(to, from, 16);
        memcpy(to + n - 16, from + n - 16, 16);
    } else if (n > 8) {
        memcpy(to, from, 8);
        memcpy(to + n - 8, from + n - 8, 8);
    } else {
        for (size_t i = 0; i < n; i++)
            to[i] = from[i];
    }
}

static inline void copy_in(char *to, const void *from, size_t n)
{
    copy(to, from, n);
}

static inline void copy_out(void *to, char *from, size_t n)
{
    copy(to, from, n);
}
#endif

#endif
