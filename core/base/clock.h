/* The clock that deadlines and durations are told by.
 *
 * Context: any thread; nothing is touched. */
#ifndef IPCFS_CORE_CLOCK_H
#define IPCFS_CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Return: CLOCK_MONOTONIC, in ns. */
static inline uint64_t clock_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

#endif
