/* The word that somebody has meant who mistyped it. */
#ifndef IPCFS_TOOLS_CTL_NEAREST_H
#define IPCFS_TOOLS_CTL_NEAREST_H

#include <stddef.h>

/* A search among words that come one by one. */
struct nearest {
    const char *word; /* what was typed; not the search's */
    char *best;       /* NULL: none is near enough */
    size_t distance;  /* of the best */
};

/* Begins a search for @word. */
void nearest_init(struct nearest *nearest, const char *word);

/* Looks at @candidate: fewest letters to put in, take out, replace or swap wins, the first of equals. */
void nearest_add(struct nearest *nearest, const char *candidate);

void nearest_deinit(struct nearest *nearest);

/* Return: " (did you mean BEST?)", quoted, or "" where there is none; the caller's to free. */
char *nearest_ask(const struct nearest *nearest);

#endif
