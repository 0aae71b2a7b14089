/* Threads that run one at a time, until another has its turn, and what they wait for: futexes, the clock, the
 * death of another. Each stands for a process. */
#ifndef IPCFS_TESTS_RING_REAL_THREADS_H
#define IPCFS_TESTS_RING_REAL_THREADS_H

#include <stdbool.h>
#include <stdint.h>

#define N_THREADS_MAX 5U /* with 0, who makes the ring */

typedef void thread_fn(unsigned int who);

struct thread_spec {
    thread_fn *fn;
    bool may_die;
    bool is_registered;   /* with membarrier */
    unsigned int heir_of; /* begins when that one is dead; 0: at once */
};

/* Runs @n_threads threads, of which @specs[1] is the first, until all have ended, died, or wait for what
 * doesn't come. At most one dies. */
void threads_run(const struct thread_spec *specs, unsigned int n_threads);

/* Return: who runs; 0: none. */
unsigned int threads_self(void);

/* Return: whether things may go otherwise than by themselves: not before threads_run, and not when all have
 * come to rest and nobody has died. */
bool threads_may_deviate(void);

/* Until threads_run system calls are @who's. */
void threads_act_as(unsigned int who, bool is_registered);

/* Something happens: another thread may have its turn before, or this one dies. */
void threads_step(void);

/* Lets another go on. */
void threads_yield(void);

bool threads_is_dead(unsigned int who);
bool threads_has_ended(unsigned int who);
bool threads_anybody_died(void);

/* Something was achieved. When nothing is any more, and all wait, the run is over. */
void threads_progress(void);

/* Whether membarrier works at all. */
void threads_set_membarrier(bool works);

/* Ends the program: @what was found. Its status is 0 where that was to be found, because something is taken
 * out, and else 1. */
_Noreturn void violation(const char *what, ...) __attribute__((format(printf, 1, 2)));

/* Ends the program with status 2: the machine itself can't go on. */
_Noreturn void machine_fault(const char *what);

/* Called by violation: says which run it was. */
extern void (*threads_say_run)(void);

#endif
