/* What was measured: for each measure, size and transport one figure a round. */
#ifndef IPCFS_TESTS_BENCH_RESULTS_H
#define IPCFS_TESTS_BENCH_RESULTS_H

#include <stdio.h>

#include "transport.h"

enum measure {
    MEASURE_SEND,     /* one message sent, with room */
    MEASURE_RECEIVE,  /* one message received, which was waiting */
    MEASURE_PINGPONG, /* one message to a process that waits for it, and one back */
    MEASURE_STREAM,   /* one message from a process that sends to one that receives */
    MEASURE_CROWD_4,  /* one message sent or received, of so many processes at once */
    MEASURE_CROWD_16,
    N_MEASURES,
};

#define N_SIZES 3

extern const size_t message_sizes_bytes[N_SIZES];

struct results {
    size_t n_rounds;
    size_t n_ops; /* in each round */
    size_t n_batch;
    bool exchange_only; /* no measure of two processes */
    const char *pinning;
    /* n_rounds figures in ns an operation; NULL: not measured. */
    double *ns[N_MEASURES][N_SIZES][N_TRANSPORTS];
    /* The same of the slowest in a hundred of a round, and of the daemon's time for each. */
    double *p99_ns[N_MEASURES][N_SIZES][N_TRANSPORTS];
    double *daemon_ns[N_MEASURES][N_SIZES][N_TRANSPORTS];
};

/* What one round of a measure gives; 0: not measured. */
struct figures {
    double ns;
    double p99_ns;
    double daemon_ns;
};

/* Notes the figures of @round. Ends the program when memory is short. */
void results_set(struct results *results, enum measure measure, size_t size,
                 enum transport_kind transport, size_t round, struct figures figures);

void results_print_table(const struct results *results, FILE *out);
void results_print_json(const struct results *results, FILE *out);

/* Frees the figures. */
void results_deinit(struct results *results);

#endif
