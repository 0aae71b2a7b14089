#include "bench_report.h"

#include <errno.h>
#include <jansson.h>
#include <langinfo.h>
#include <math.h>
#include <string.h>

#include "human.h"
#include "util.h"

/* The bars are logarithmic: what is compared spans three powers of ten. */
#define BAR_COLUMNS 34

/* One of the two charts. */
struct chart {
    const char *title;
    const char *key; /* in JSON */
    const char *ratio_key;
    size_t offset; /* of its figure in struct result */
};

static const struct chart charts[] = {
    { "Messages a second, longer is better", "messages_per_s", "ratio",
      offsetof(struct result, rate) },
    { "Round trip, shorter is better", "round_trip_ns", "round_trip_ratio",
      offsetof(struct result, round_trip) },
};

#define N_CHARTS (sizeof(charts) / sizeof(charts[0]))

static const struct figure *figure_of(const struct report *report, const struct chart *chart,
                                      int kind)
{
    return (const struct figure *)((const char *)&report->results[kind] + chart->offset);
}

/* From the power of ten below the smallest figure to the largest. */
struct axis {
    double first; /* logarithms */
    double last;
};

static struct axis make_axis(const struct report *report, const struct chart *chart)
{
    struct axis axis = { HUGE_VAL, -HUGE_VAL };

    for (int kind = 0; kind < N_TRANSPORTS; kind++) {
        double value = figure_of(report, chart, kind)->value;

        if (value > 0) {
            axis.first = fmin(axis.first, floor(log10(value)));
            axis.last = fmax(axis.last, log10(value));
        }
    }
    return axis;
}

/* Return: how far along the axis @value is, from 0 to 1. */
static double place(const struct axis *axis, double value)
{
    return axis->last > axis->first ? (log10(value) - axis->first) / (axis->last - axis->first) : 1;
}

static void show_value(const struct chart *chart, double value, char text[16])
{
    char number[HUMAN_MAX];

    if (chart == &charts[0]) {
        human_number(value, 1000, number);
        snprintf(text, 16, "%s/s", number);
    } else if (value < 1000) {
        snprintf(text, 16, "%.0f ns", value);
    } else if (value < 1e7) {
        snprintf(text, 16, "%.*f us", value < 10000 ? 1 : 0, value / 1000);
    } else {
        snprintf(text, 16, "%.0f ms", value / 1e6);
    }
}

/* What is far less than the baseline is more than nothing. */
static int ratio_decimals(double ratio)
{
    return ratio < 0.01 ? 4 : 2;
}

/* --- the terminal --- */

static void print_bar(double share)
{
    static const char *const eighths[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
    bool is_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    int n = (int)lround(share * BAR_COLUMNS * 8);
    int n_columns = is_utf8 ? n / 8 + (n % 8 != 0) : (n + 4) / 8;

    for (int i = 0; i < (is_utf8 ? n / 8 : n_columns); i++)
        fputs(is_utf8 ? "█" : "#", stdout);
    if (is_utf8)
        fputs(eighths[n % 8], stdout);
    printf("%*s", BAR_COLUMNS - n_columns, "");
}

static void print_chart(const struct report *report, const struct chart *chart)
{
    struct axis axis = make_axis(report, chart);

    printf("\n%-50s%12s%12s\n", chart->title, "", "ratio");
    for (int kind = 0; kind < N_TRANSPORTS; kind++) {
        const struct figure *figure = figure_of(report, chart, kind);
        char value[16];

        if (figure->value <= 0)
            continue;
        show_value(chart, figure->value, value);
        printf("%-14s  ", bench_title(kind));
        print_bar(place(&axis, figure->value));
        printf("%12s%12.*f\n", value, ratio_decimals(figure->ratio), figure->ratio);
    }
}

static void print_missing(enum transport_kind kind, int error)
{
    if (error == EOPNOTSUPP && transports[kind]->needs)
        printf("\n%s: wants %s\n", bench_title(kind), transports[kind]->needs);
    else
        printf("\n%s: not to be had here: %s\n", bench_title(kind), strerror(error));
}

void report_print(const struct report *report)
{
    printf("Messages of %zu bytes between two processes, %ld CPUs; medians of %zu rounds; bars are "
           "logarithmic;\nratios are to a %s in the same round; requests come over %s.\n",
           report->size_bytes, report->n_cpus, report->n_rounds, bench_title(TRANSPORT_BASELINE),
           report->requests);
    if (report->other_requests)
        printf("The other mount's come over %s.\n", report->other_requests);
    for (size_t i = 0; i < N_CHARTS; i++)
        print_chart(report, &charts[i]);
    for (int kind = 0; kind < N_TRANSPORTS; kind++) {
        if (report->results[kind].error)
            print_missing(kind, report->results[kind].error);
    }
}

/* --- JSON --- */

static json_t *number_or_null(double value)
{
    return value > 0 ? json_real(value) : json_null();
}

void report_print_json(const struct report *report)
{
    json_t *list = json_array();
    json_t *json = json_pack("{s:I, s:I, s:I, s:s, s:s, s:s*}", "size",
                             (json_int_t)report->size_bytes, "rounds", (json_int_t)report->n_rounds,
                             "cpus", (json_int_t)report->n_cpus, "baseline",
                             bench_title(TRANSPORT_BASELINE), "requests", report->requests,
                             "other_requests", report->other_requests);

    for (int kind = 0; kind < N_TRANSPORTS; kind++) {
        int error = report->results[kind].error;
        json_t *entry;

        if (!report_has(report, kind))
            continue;
        entry = json_pack("{s:s, s:s?}", "transport", bench_title(kind), "error",
                          error ? strerror(error) : NULL);
        for (size_t i = 0; i < N_CHARTS; i++) {
            const struct figure *figure = figure_of(report, &charts[i], kind);

            json_object_set_new(entry, charts[i].key, number_or_null(figure->value));
            json_object_set_new(entry, charts[i].ratio_key, number_or_null(figure->ratio));
        }
        json_array_append_new(list, entry);
    }
    json_object_set_new(json, "results", list);
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(json);
}

/* --- SVG --- */

#define SVG_WIDTH 760
#define SVG_BAR_X 130
#define SVG_BAR_WIDTH 440
#define SVG_LINE 26
#define SVG_HEAD 60

/* Only what was measured has a row. */
static int count_rows(const struct report *report, const struct chart *chart)
{
    int n = 0;

    for (int kind = 0; kind < N_TRANSPORTS; kind++)
        n += figure_of(report, chart, kind)->value > 0;
    return n;
}

static void print_svg_grid(FILE *out, const struct axis *axis, int y, int n_rows)
{
    for (int power = (int)axis->first; power <= axis->last; power++) {
        double x = SVG_BAR_X + SVG_BAR_WIDTH * place(axis, pow(10, power));

        fprintf(out,
                "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#ddd\"/>\n"
                "<text x=\"%.1f\" y=\"%d\" fill=\"#888\" font-size=\"11\" "
                "text-anchor=\"middle\">10<tspan dy=\"-4\" font-size=\"8\">%d</tspan></text>\n",
                x, y, x, y + SVG_LINE * n_rows, x, y - 6, power);
    }
}

static void print_svg_chart(FILE *out, const struct report *report, const struct chart *chart,
                            int y)
{
    struct axis axis = make_axis(report, chart);

    fprintf(out, "<text x=\"10\" y=\"%d\" font-weight=\"bold\">%s</text>\n", y + 20, chart->title);
    y += SVG_HEAD - 10;
    print_svg_grid(out, &axis, y, count_rows(report, chart));
    for (int kind = 0; kind < N_TRANSPORTS; kind++) {
        const struct figure *figure = figure_of(report, chart, kind);
        double width;
        char value[16];

        if (figure->value <= 0)
            continue;
        width = SVG_BAR_WIDTH * place(&axis, figure->value);
        show_value(chart, figure->value, value);
        fprintf(out,
                "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n"
                "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n"
                "<text x=\"%.1f\" y=\"%d\" font-size=\"12\">%s, %.*f</text>\n",
                SVG_BAR_X - 8, y + 17, bench_title(kind), SVG_BAR_X, y + 4, width, SVG_LINE - 8,
                bench_is_ipcfs(kind) ? "#2a6f97" : "#a9b4bd", SVG_BAR_X + width + 6, y + 17, value,
                ratio_decimals(figure->ratio), figure->ratio);
        y += SVG_LINE;
    }
}

void report_print_svg(const struct report *report, FILE *out)
{
    int height = SVG_HEAD;
    int y = SVG_HEAD;

    for (size_t i = 0; i < N_CHARTS; i++)
        height += SVG_HEAD + SVG_LINE * count_rows(report, &charts[i]);

    fprintf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
        "font-family=\"sans-serif\" font-size=\"14\">\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
        "<text x=\"10\" y=\"24\">Messages of %zu bytes between two processes, %ld CPUs; medians "
        "of %zu rounds.</text>\n"
        "<text x=\"10\" y=\"44\" fill=\"#555\" font-size=\"12\">Logarithmic; after each figure "
        "its ratio to a %s in the same round. Requests come over %s%s%s.</text>\n",
        SVG_WIDTH, height, report->size_bytes, report->n_cpus, report->n_rounds,
        bench_title(TRANSPORT_BASELINE), report->requests,
        report->other_requests ? "; the other mount's, " : "",
        report->other_requests ? report->other_requests : "");
    for (size_t i = 0; i < N_CHARTS; i++) {
        print_svg_chart(out, report, &charts[i], y);
        y += SVG_HEAD + SVG_LINE * count_rows(report, &charts[i]);
    }
    fputs("</svg>\n", out);
}
