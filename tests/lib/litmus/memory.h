/* A ring's map on processors, and under a compiler, that reorder what they may.
 *
 * Each word keeps all values that were ever stored in it, in their order. Each thread has a view: of each
 * word, the oldest value that it may still see. A load may see any from there on; an acquire load also takes
 * over the view that came with the value, which a release store put there. So stores become visible in any
 * order but the one that is asked for, and loads are as early as they may be. seq_cst and membarrier go
 * by one more view that is common to all: what is sequentially consistent sees at least that.
 *
 * A payload is plain memory: who reads what another writes, or the reverse, with nothing that orders the two,
 * ends the program. With many consumers a read is a guess, until its thread has moved tail. Where each consumer sees
 * everything, what it reads may be old or new, and the test looks at what it takes.
 *
 * A release fence puts the view of that moment into what the thread stores later; an acquire fence takes over the views
 * that came with all it has read.
 *
 * Not here: loads that see stores of the future (which payloads need not, for that order is checked as
 * said), and stores that take a place before an earlier one of another thread.
 *
 * Context: one thread of the system. */
#ifndef IPCFS_TESTS_RING_REAL_MEMORY_H
#define IPCFS_TESTS_RING_REAL_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring_geometry;

/* Forgets all. Return: an address for the map of a ring with @geometry; nothing lies there. */
void *memory_start(const struct ring_geometry *geometry);

/* What thread @who begins with: all that @from has done. */
void memory_thread_starts(unsigned int who, unsigned int from);

/* @who has learned that @dead is no more, and sees all that it did. */
void memory_sees_death(unsigned int who, unsigned int dead);

/* Time has passed: @who sees the newest values of all words. */
void memory_time_passes(unsigned int who);

/* A full fence of @who; @whole: with what its compiler has not yet given to the processor. */
void memory_fence(unsigned int who, bool whole);

/* The compiler has given all that @who stored to the processor. */
void memory_issue(unsigned int who);

/* Return: the newest value of the 32-bit word at @p, as the kernel sees it. */
uint32_t memory_newest(const void *p);

/* The whole words of a payload, as a test writes and reads them in place. */
void memory_write(void *to, const uint64_t *words, unsigned int n_words);
void memory_read(uint64_t *words, const void *from, unsigned int n_words);

/* Prints what happened last. */
void memory_print_log(void);

#endif
