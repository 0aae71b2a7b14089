/* A ring of its own for each test, in a memfd, without a mount. */
#ifndef IPCFS_TESTS_RING_FIXTURE_H
#define IPCFS_TESTS_RING_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/lib/ipcring.h"
#include "core/ring/ring.h"

struct fixture {
    int fd;
    void *map;
    size_t n_bytes;
};

#define ONE_ONE (IPCRING_ONE_PRODUCER | IPCRING_ONE_CONSUMER)
#define MANY_MANY 0U

#define MS INT64_C(1000000)

/* Ends the program when it can't. */
void fixture_init(struct fixture *f, uint32_t slots, uint32_t slot_bytes, uint32_t flags,
                  uint64_t first_pos);
void fixture_deinit(struct fixture *f);

/* Return: a handle with a mapping of its own. */
struct ipcring *fixture_open(const struct fixture *f);

/* Return: a handle on the fixture's mapping, as threads of one process share it. */
struct ipcring *fixture_attach(const struct fixture *f);

/* Prints a line to stderr and ends the process with status 1. */
#define die(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))

/* A small fast generator; @state is never 0. */
uint64_t next_random(uint64_t *state);

uint64_t now_ns(void);

/* Positions from which each counter of the protocol soon wraps, for a ring of 2^@order slots: 0, the
 * 30-bit lap, 32 and 64 bits. */
#define N_FIRST_POS 4
uint64_t first_pos_near_wrap(unsigned int i, unsigned int order);

#endif
