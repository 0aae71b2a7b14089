/* Mappings of files that others may truncate. Who then reads or writes beyond the end gets SIGBUS; a mapping
 * that is guarded gives way to private memory full of zeros instead, and says so.
 *
 * Context: any thread. The guarded memory must not be used after truncated_unguard(). */
#ifndef IPCFS_CORE_TRUNCATED_H
#define IPCFS_CORE_TRUNCATED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One mapping that is guarded. Never freed, but used again: the signal's handler takes no lock. */
struct truncated_guard {
    _Atomic uintptr_t start; /* 0: unused */
    size_t n_bytes;
    atomic_bool happened;
    struct truncated_guard *next;
};

/* Return: a guard for the mapping at @map, of whole pages; NULL when memory is short. */
struct truncated_guard *truncated_guard(void *map, size_t n_bytes);

/* @guard may be NULL. */
void truncated_unguard(struct truncated_guard *guard);

static inline bool truncated_happened(const struct truncated_guard *guard)
{
    return guard && atomic_load_explicit(&guard->happened, memory_order_relaxed);
}

#endif
