/* The letters of ring_abi.h's table, as the comments at the ring's atomics name them; and which ordering is
 * taken out for the test. */
#ifndef IPCFS_TESTS_RING_REAL_LETTERS_H
#define IPCFS_TESTS_RING_REAL_LETTERS_H

#include <stdbool.h>

#include "atomics.h"

/* What words of a map are for. */
enum kind {
    KIND_MAGIC,
    KIND_GEOMETRY,
    KIND_HEAD,
    KIND_TAIL,
    KIND_ROLE,
    KIND_WAIT,
    KIND_SLOT,
    KIND_PAYLOAD,
    KIND_NONE, /* a fence */
};

/* What an operation orders. */
enum {
    ACQUIRE = 1,
    RELEASE = 2,
    SEQ_CST = 4,
};

/* From now on nothing of @letter orders. */
void letters_without(char letter);

/* Of that letter only those that stand in the line @line of @file, a name without its directory. */
void letters_without_only_at(const char *file, int line);

bool letters_lack(char letter);
bool letters_anything_lacks(void);

/* Return: what @order orders at @site, on a word of @kind: all, or all but what is taken out. Ends the program
 * where an ordering bears no letter, or one that is for other words. */
unsigned int letters_order(struct site *site, enum kind kind, memory_order order);

/* Return: whether the compiler's fence at @site is taken out. */
bool letters_lack_fence(struct site *site);

/* Looks through the sources for orderings without a letter, and for letters that are nowhere.
 * Return: how many, having said which. */
unsigned int letters_check_sources(void);

#endif
