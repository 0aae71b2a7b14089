/* A mapped ring's shared words, as C atomics, and the system calls that wait on them.
 *
 * Internal to libipcring and core/ring; named so that the static library takes no name from its users. The
 * map belongs to the caller; nothing here is trusted.
 *
 * Context: any thread; only ipcring_os_sleep sleeps. */
#ifndef IPCFS_CORE_LIB_RING_OS_H
#define IPCFS_CORE_LIB_RING_OS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ring_abi.h"

/* How long one that can't have the others' fences (G) sleeps. */
#define RING_SLEEP_UNSURE_NS 10000000

static inline _Atomic uint32_t *ring_u32(void *map, size_t at)
{
    return (_Atomic uint32_t *)(void *)((char *)map + at);
}

static inline _Atomic uint64_t *ring_u64(void *map, size_t at)
{
    return (_Atomic uint64_t *)(void *)((char *)map + at);
}

/* Wakes all who sleep on @word, if anybody does. The caller has changed what they wait for, and the
 * fence of H stands between. Return: whether somebody was to be woken. */
bool ipcring_os_wake(_Atomic uint32_t *word);

/* Sleeps until @word is no longer @value, somebody wakes it, or @timeout_ns have passed.
 * Return: 0; -ETIMEDOUT; -EINTR. */
int ipcring_os_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns);

/* Registers this process as one that needs no fence in H. Return: whether it worked. */
bool ipcring_os_register_membarrier(void);

/* G's fence in all processes that have registered. Return: whether it worked; if not, the caller has had one
 * of its own, for those that have theirs in H. */
bool ipcring_os_membarrier(void);

/* Return: the pid namespace of this process, 0 where it can't be told. */
uint64_t ipcring_os_pid_namespace(void);

/* Return: what this process writes into its claims. */
uint32_t ipcring_os_own_id(void);

enum ipcring_os_life { IPCRING_OS_LIVES, IPCRING_OS_DEAD, IPCRING_OS_UNKNOWN };

/* Looks at who has @pid, in this namespace, now; a zombie is dead. *@ret_ino is a number that no other process
 * has or will have; 0: the kernel has none. Never blocks. */
enum ipcring_os_life ipcring_os_look(pid_t pid, uint64_t *ret_ino);

/* Return: whether the claimer @id, of this namespace, is surely dead; a zombie is. Reads /proc; waits there only
 * where a process is executed anew between two looks. */
bool ipcring_os_claimer_is_dead(uint32_t id);

#endif
