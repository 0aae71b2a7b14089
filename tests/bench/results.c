/* A ratio is always that of two figures of the same round: what the machine did meanwhile, it did
 * to both. The tables show the median of these ratios, which is not the ratio of the medians. */
#include "results.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

const size_t message_sizes_bytes[N_SIZES] = { 64, 4096, 65536 };

static const char *const size_names[N_SIZES] = { "64 B", "4 KiB", "64 KiB" };

static const struct {
    const char *name;
    const char *title;
} measures[N_MEASURES] = {
    [MEASURE_SEND] = { "send", "send: one write, with room in the box" },
    [MEASURE_RECEIVE] = { "receive", "receive: one message that waits" },
    [MEASURE_PINGPONG] = { "pingpong",
                           "ping-pong: to a process that waits, and back (ratio: to two "
                           "writes and two reads)" },
    [MEASURE_STREAM] = { "stream", "stream: one process sends, another receives" },
    [MEASURE_CROWD_4] = { "crowd4", "4 processes at once, a channel each: one send or receive" },
    [MEASURE_CROWD_16] = { "crowd16", "16 processes at once, a channel each: one send or receive" },
};

struct summary {
    double median;
    double min;
    double max;
};

static void *allocate(size_t n, size_t size)
{
    void *memory = calloc(n, size);

    if (!memory) {
        fprintf(stderr, "bench: out of memory\n");
        exit(EXIT_FAILURE);
    }
    return memory;
}

static void set_one(const struct results *results, double **values, size_t round, double value)
{
    if (!*values)
        *values = allocate(results->n_rounds, sizeof(**values));
    (*values)[round] = value;
}

void results_set(struct results *results, enum measure measure, size_t size,
                 enum transport_kind transport, size_t round, struct figures figures)
{
    set_one(results, &results->ns[measure][size][transport], round, figures.ns);
    if (figures.p99_ns > 0)
        set_one(results, &results->p99_ns[measure][size][transport], round, figures.p99_ns);
    if (figures.daemon_ns > 0)
        set_one(results, &results->daemon_ns[measure][size][transport], round, figures.daemon_ns);
}

void results_deinit(struct results *results)
{
    for (size_t m = 0; m < N_MEASURES; m++) {
        for (size_t s = 0; s < N_SIZES; s++) {
            for (size_t t = 0; t < N_TRANSPORTS; t++) {
                free(results->ns[m][s][t]);
                free(results->p99_ns[m][s][t]);
                free(results->daemon_ns[m][s][t]);
            }
        }
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts @values. */
static struct summary summarize(double *values, size_t n)
{
    qsort(values, n, sizeof(*values), compare);
    return (struct summary){
        .median = (values[(n - 1) / 2] + values[n / 2]) / 2,
        .min = values[0],
        .max = values[n - 1],
    };
}

/* Return: what the null file takes in @round for what @measure moves; 1: there is no such thing. */
static double floor_ns(const struct results *results, enum measure measure, size_t size,
                       size_t round)
{
    const double *send_ns = results->ns[MEASURE_SEND][size][TRANSPORT_NULL_LIBFUSE];
    const double *receive_ns = results->ns[MEASURE_RECEIVE][size][TRANSPORT_NULL_LIBFUSE];

    /* Without the null file nothing is measured. */
    assert(send_ns && receive_ns);
    switch (measure) {
    case MEASURE_SEND:
        return send_ns[round];
    case MEASURE_RECEIVE:
        return receive_ns[round];
    case MEASURE_PINGPONG:
        return 2 * (send_ns[round] + receive_ns[round]);
    default:
        return 1;
    }
}

/* The figures of one line of a table, and their ratios to the null file's. */
static void summarize_line(const struct results *results, enum measure measure, size_t size,
                           enum transport_kind transport, struct summary *ret_ns,
                           struct summary *ret_ratio)
{
    const double *ns = results->ns[measure][size][transport];
    double *values = allocate(results->n_rounds, sizeof(*values));

    for (size_t i = 0; i < results->n_rounds; i++)
        values[i] = ns[i] / floor_ns(results, measure, size, i);
    *ret_ratio = summarize(values, results->n_rounds);
    for (size_t i = 0; i < results->n_rounds; i++)
        values[i] = ns[i];
    *ret_ns = summarize(values, results->n_rounds);
    free(values);
}

/* The median of @values, which may be none, in a column. */
static void print_median(const double *values, size_t n, FILE *out)
{
    double *copy = values ? allocate(n, sizeof(*copy)) : NULL;

    for (size_t i = 0; i < n && copy; i++)
        copy[i] = values[i];
    if (copy)
        fprintf(out, "  %9.0f", summarize(copy, n).median);
    else
        fprintf(out, "  %9s", "");
    free(copy);
}

/* Whether there is a ratio to the null file's. */
static bool has_ratio(enum measure measure)
{
    return measure == MEASURE_SEND || measure == MEASURE_RECEIVE || measure == MEASURE_PINGPONG;
}

/* What follows the median in a line. */
static void print_rest(const struct results *results, enum measure measure, size_t size,
                       enum transport_kind transport, const struct summary *ratio, FILE *out)
{
    print_median(results->p99_ns[measure][size][transport], results->n_rounds, out);
    print_median(results->daemon_ns[measure][size][transport], results->n_rounds, out);
    if (has_ratio(measure))
        fprintf(out, "   %6.3f  %6.3f  %6.3f", ratio->median, ratio->min, ratio->max);
    fputc('\n', out);
}

static void print_line(const struct results *results, enum measure measure, size_t size,
                       enum transport_kind transport, FILE *out)
{
    struct summary ns;
    struct summary ratio;

    fprintf(out, "%-7s  %-22s", size_names[size], transports[transport].name);
    if (!results->ns[measure][size][transport]) {
        fprintf(out, " %9s\n", "n/a");
        return;
    }
    summarize_line(results, measure, size, transport, &ns, &ratio);
    fprintf(out, " %9.0f", ns.median);
    if (measure == MEASURE_STREAM)
        fprintf(out, "  %10.0f  %8.1f\n", 1e9 / ns.median,
                (double)message_sizes_bytes[size] * 1e3 / ns.median);
    else
        print_rest(results, measure, size, transport, &ratio, out);
}

/* Measured with the smallest messages alone. */
static bool is_crowd(enum measure measure)
{
    return measure == MEASURE_CROWD_4 || measure == MEASURE_CROWD_16;
}

/* Whether a table of @measure has a line for @transport. How a message will be received is nothing
 * to who sends it. */
static bool is_listed(enum measure measure, enum transport_kind transport)
{
    if (transports[transport].flush)
        return measure == MEASURE_STREAM;
    if (is_crowd(measure))
        return transport != TRANSPORT_IPCFS;
    if (measure == MEASURE_SEND)
        return transport != TRANSPORT_IPCFS;
    return measure == MEASURE_RECEIVE || transports[transport].connects;
}

static void print_measure(const struct results *results, enum measure measure, FILE *out)
{
    fprintf(out, "\n%s\n%-7s  %-22s %9s", measures[measure].title, "size", "transport", "ns/op");
    if (measure == MEASURE_STREAM)
        fprintf(out, "  %10s  %8s\n", "messages/s", "MB/s");
    else
        fprintf(out, "  %9s  %9s   %6s  %6s  %6s\n", "p99", "daemon", "ratio", "min", "max");
    for (size_t s = 0; s < (is_crowd(measure) ? 1 : N_SIZES); s++) {
        for (size_t t = 0; t < N_TRANSPORTS; t++) {
            if (is_listed((enum measure)measure, (enum transport_kind)t))
                print_line(results, measure, s, (enum transport_kind)t, out);
        }
    }
}

void results_print_table(const struct results *results, FILE *out)
{
    fprintf(
        out,
        "%zu rounds of %zu operations, in batches of %zu; CPUs: %s\n"
        "ns/op: the median of the rounds; n/a: more than the system allows\n"
        "p99: of the operations of a round; daemon: its CPU time for one; medians of the rounds\n"
        "ratio: to the null FUSE file in the same round; the median, the least, the greatest\n",
        results->n_rounds, results->n_ops, results->n_batch, results->pinning);
    for (size_t m = 0; m < (results->exchange_only ? MEASURE_PINGPONG : N_MEASURES); m++)
        print_measure(results, (enum measure)m, out);
}

static void print_json_line(const struct results *results, enum measure measure, size_t size,
                            enum transport_kind transport, FILE *out)
{
    const double *ns = results->ns[measure][size][transport];
    struct summary median_ns;
    struct summary ratio;

    fprintf(out, "{\"measure\": \"%s\", \"size_bytes\": %zu, \"transport\": \"%s\"",
            measures[measure].name, message_sizes_bytes[size], transports[transport].name);
    summarize_line(results, measure, size, transport, &median_ns, &ratio);
    fprintf(out, ", \"median_ns\": %.0f", median_ns.median);
    if (has_ratio(measure))
        fprintf(out, ", \"ratio\": {\"median\": %.4f, \"min\": %.4f, \"max\": %.4f}", ratio.median,
                ratio.min, ratio.max);
    for (size_t i = 0; i < results->n_rounds; i++)
        fprintf(out, "%s%.0f", i == 0 ? ", \"rounds_ns\": [" : ", ", ns[i]);
    fprintf(out, "]}");
}

void results_print_json(const struct results *results, FILE *out)
{
    const char *separator = "\n";

    fprintf(out,
            "{\"rounds\": %zu, \"ops\": %zu, \"batch\": %zu, \"pinning\": \"%s\", \"lines\": [",
            results->n_rounds, results->n_ops, results->n_batch, results->pinning);
    for (size_t m = 0; m < N_MEASURES; m++) {
        for (size_t s = 0; s < N_SIZES; s++) {
            for (size_t t = 0; t < N_TRANSPORTS; t++) {
                if (!results->ns[m][s][t])
                    continue;
                fputs(separator, out);
                print_json_line(results, (enum measure)m, s, (enum transport_kind)t, out);
                separator = ",\n";
            }
        }
    }
    fprintf(out, "\n]}\n");
}
