/* Which way a run goes where it could go several: each in turn, or at random.
 *
 * What happens by itself is way 0: the thread goes on, a load sees the newest value, nobody dies. All else is
 * a deviation. The exhaustive search goes through all runs of up to so many; a random run deviates as its
 * seed says. */
#ifndef IPCFS_TESTS_RING_REAL_SEARCH_H
#define IPCFS_TESTS_RING_REAL_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

enum choice {
    CHOICE_SWITCH, /* which thread goes on */
    CHOICE_READ,   /* how old a value is seen */
    CHOICE_DEATH,  /* whether the thread dies */
};

/* All runs of up to @n_deviations. */
void search_start_exhaustive(unsigned int n_deviations);

/* One run. */
void search_start_random(uint64_t seed);

/* After a run. Return: whether there is another, which begins now. */
bool search_next(void);

/* Return: one of @n ways. */
unsigned int search_choose(enum choice choice, unsigned int n);

#endif
