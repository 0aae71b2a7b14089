/* The measuring itself, in a process that may hang or die: whoever started it watches over it. */
#ifndef IPCFS_TESTS_BENCH_RUN_H
#define IPCFS_TESTS_BENCH_RUN_H

#include "results.h"
#include "transport.h"

/* Opens all channels and measures results->n_rounds times, in turn. Ends the program when a
 * transport fails. */
void run_rounds(const struct bench_env *env, struct results *results);

#endif
