/* What bench has found, for a terminal, as JSON and as a picture. */
#ifndef IPCFS_TOOLS_CTL_BENCH_REPORT_H
#define IPCFS_TOOLS_CTL_BENCH_REPORT_H

#include <stddef.h>
#include <stdio.h>

#include "bench_transport.h"

/* Medians over the rounds. 0: not measured. Ratios are to the baseline in the same round. */
struct figure {
    double value;
    double ratio;
};

struct result {
    int error;                /* 0; positive: it can't be had here, why */
    struct figure rate;       /* messages a second */
    struct figure round_trip; /* nanoseconds */
};

struct report {
    size_t size_bytes;
    size_t n_rounds;
    long n_cpus;
    const char *requests; /* how they come to the mount's daemon: "/dev/fuse", "io_uring" */
    const char
        *other_requests; /* the same of the mount beside; NULL: there is none, nor its rows */
    struct result results[N_TRANSPORTS];
};

/* Return: whether @kind is to be measured at all. */
static inline bool report_has(const struct report *report, enum transport_kind kind)
{
    return report->other_requests || !bench_is_other(kind);
}

void report_print(const struct report *report);
void report_print_json(const struct report *report);
void report_print_svg(const struct report *report, FILE *out);

#endif
