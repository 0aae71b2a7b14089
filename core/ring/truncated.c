/* Puts private memory in the place of a mapping whose file was truncated, in the handler of SIGBUS.
 *
 * Guards are in a list that only grows, so that the handler can walk it without a lock; one that is no longer
 * needed is used again. The lock is for those who add a guard. */
#include "truncated.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

static pthread_mutex_t truncated_mutex = PTHREAD_MUTEX_INITIALIZER;
static bool is_installed;                     /* under lock */
static _Atomic(struct truncated_guard *) all; /* written under lock; the handler reads it */

static struct truncated_guard *truncated_find(uintptr_t address)
{
    struct truncated_guard *guard;

    for (guard = atomic_load(&all); guard; guard = guard->next) {
        uintptr_t start = atomic_load(&guard->start);

        if (start != 0 && address - start < guard->n_bytes)
            return guard;
    }
    return NULL;
}

/* Returns to the access, which succeeds then; or, where it is no guard's, dies of it. mmap(2) is a bare
 * system call here. */
static void on_sigbus(int signal, siginfo_t *info, void *context)
{
    struct truncated_guard *guard = truncated_find((uintptr_t)info->si_addr);
    struct sigaction die = { .sa_handler = SIG_DFL };

    (void)context;
    if (guard)
        atomic_store(&guard->happened, true);
    if (!guard || mmap((void *)atomic_load(&guard->start), guard->n_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        sigaction(signal, &die, NULL);
}

static void install(void)
{
    struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

    if (!is_installed)
        sigaction(SIGBUS, &action, NULL);
    is_installed = true;
}

static struct truncated_guard *find_unused(void)
{
    struct truncated_guard *guard = atomic_load(&all);

    while (guard && atomic_load(&guard->start) != 0)
        guard = guard->next;
    return guard;
}

struct truncated_guard *truncated_guard(void *map, size_t n_bytes)
{
    struct truncated_guard *guard;
    bool is_new = false;

    pthread_mutex_lock(&truncated_mutex);
    install();
    guard = find_unused();
    if (!guard) {
        guard = calloc(1, sizeof(*guard));
        is_new = guard;
    }
    if (guard) {
        guard->n_bytes = n_bytes;
        atomic_store(&guard->happened, false);
        atomic_store(&guard->start, (uintptr_t)map);
    }
    if (is_new) {
        guard->next = atomic_load(&all);
        atomic_store(&all, guard);
    }
    pthread_mutex_unlock(&truncated_mutex);
    return guard;
}

void truncated_unguard(struct truncated_guard *guard)
{
    if (guard)
        atomic_store(&guard->start, 0);
}
