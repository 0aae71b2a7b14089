/* What an exhaustive explorer remembers: the states it has seen, by 128 bits of hash, and those it has
 * still to look at. */
#ifndef IPCFS_TESTS_RING_VISITED_H
#define IPCFS_TESTS_RING_VISITED_H

#include <stdbool.h>
#include <stddef.h>

struct visited;

struct visited *visited_new(size_t state_bytes);
void visited_free(struct visited *v);

/* Notes @state for later, unless it was seen before. Its padding is zero. */
void visited_add(struct visited *v, const void *state);

/* Return: whether there was one left, now in *@ret_state. */
bool visited_next(struct visited *v, void *ret_state);

size_t visited_count(const struct visited *v);

#endif
