/* Each figure is a row of one table: its title, its width, and how it is shown of a row.
 *
 * Those up to RCV are there on any terminal, LEASED as soon as something is leased; the others come from left to
 * right as long as there is room. */
#include "top_columns.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "human.h"
#include "process.h"
#include "quote.h"
#include "util.h"

#define NAME_COLUMNS_MIN 10
#define HISTORY_MIN 12
#define GAP 2
#define CELL_BYTES 64

/* Each shows what stands in a row at @value; or nothing, and then it is "-". */

static void show_count(const struct row *row, const void *value, char text[CELL_BYTES])
{
    if (row->has_counts)
        human_number((double)*(const uint64_t *)value, 1000, text);
}

static void show_bytes(const struct row *row, const void *value, char text[CELL_BYTES])
{
    (void)row;
    human_number((double)*(const uint64_t *)value, 1024, text);
}

static void show_rate(const struct row *row, const void *value, char text[CELL_BYTES])
{
    (void)row;
    if (*(const double *)value >= 0)
        human_number(*(const double *)value, 1000, text);
}

/* @max: digits, or a word for as many as there are. */
static void show_bound(const char *max, unsigned int base, char text[CELL_BYTES])
{
    if (max && max[strspn(max, "0123456789")])
        stpcpy(text, "max");
    else if (max)
        human_number(strtod(max, NULL), base, text);
}

static void show_max(const struct row *row, const void *value, char text[CELL_BYTES])
{
    (void)row;
    show_bound(*(char *const *)value, 1000, text);
}

static void show_max_bytes(const struct row *row, const void *value, char text[CELL_BYTES])
{
    (void)row;
    show_bound(*(char *const *)value, 1024, text);
}

static void show_age(const struct row *row, const void *value, char text[CELL_BYTES])
{
    const char *time = *(char *const *)value;
    AUTO_FREE char *age = time && *time ? human_age(time) : NULL;

    (void)row;
    if (age)
        snprintf(text, CELL_BYTES, "%s", age);
}

static void show_process(const struct row *row, const void *value, char text[CELL_BYTES])
{
    pid_t pid = *(const pid_t *)value;
    AUTO_FREE char *shown = pid ? process_show(pid) : NULL;

    (void)row;
    if (shown)
        snprintf(text, CELL_BYTES, "%s", shown);
}

#define FIGURE(title, width, show, member)                                                         \
    {                                                                                              \
        title, width, show, offsetof(struct row, member)                                           \
    }

static const struct figure {
    const char *title;
    size_t width;
    void (*show)(const struct row *row, const void *value, char text[CELL_BYTES]);
    size_t offset;
} figures[] = {
    FIGURE("MSGS", 7, show_count, n_messages),
    FIGURE("MAX", 7, show_max, max_messages),
    FIGURE("BYTES", 7, show_bytes, n_bytes),
    FIGURE("IN/s", 7, show_rate, in),
    FIGURE("OUT/s", 7, show_rate, out),
    FIGURE("SND", 5, show_count, n_senders_waiting),
    FIGURE("RCV", 5, show_count, n_receivers_waiting),
    FIGURE("LEASED", 8, show_count, n_leased),
    FIGURE("MAXBYTES", 10, show_max_bytes, max_bytes),
    FIGURE("DROPPED", 9, show_count, n_dropped),
    FIGURE("DEAD", 6, show_count, n_dead),
    FIGURE("TOTAL", 7, show_count, n_sent),
    FIGURE("LAST SENT", 12, show_age, last_send),
    FIGURE("OWNER", 26, show_process, owner_pid),
};

#define N_FIGURES (sizeof(figures) / sizeof(figures[0]))
#define N_ALWAYS 7
#define LEASED N_ALWAYS

static bool is_shown(const struct columns *columns, size_t i)
{
    return columns->shown & 1U << i;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Takes what there is of @want columns from @left. */
static size_t take_columns(size_t *left, size_t want)
{
    size_t n = min_size(*left, want);

    *left -= n;
    return n;
}

static void add_figure(struct columns *columns, size_t i, size_t *left)
{
    columns->shown |= 1U << i;
    take_columns(left, figures[i].width);
}

void columns_fit(struct columns *columns, const struct rows *rows, size_t width)
{
    size_t n_longest = NAME_COLUMNS_MIN;
    bool has_leased = false;
    size_t left = width;

    *columns = (struct columns){ .n_name = NAME_COLUMNS_MIN, .n_history = HISTORY_MIN };
    for (size_t i = 0; i < rows->n_view; i++) {
        size_t n = quote_width(rows->view[i]->shown);

        n_longest = n > n_longest ? n : n_longest;
        has_leased = has_leased || rows->view[i]->n_leased > 0;
    }
    take_columns(&left, NAME_COLUMNS_MIN + GAP + HISTORY_MIN);
    for (size_t i = 0; i < N_ALWAYS; i++)
        add_figure(columns, i, &left);
    if (has_leased)
        add_figure(columns, LEASED, &left);
    columns->n_name += take_columns(&left, n_longest - NAME_COLUMNS_MIN);
    for (size_t i = N_ALWAYS; i < N_FIGURES; i++) {
        if (!is_shown(columns, i) && figures[i].width <= left)
            add_figure(columns, i, &left);
    }
    columns->n_history += take_columns(&left, HISTORY_MAX - HISTORY_MIN);
}

/* A figure for each column that is shown, at the right of it. Return: the line, longer by them. */
static char *add_cell(char *line, const struct figure *figure, const char *text)
{
    AUTO_FREE char *fitting = quote_width(text) < figure->width
                                  ? xstrdup(text)
                                  : quote_fit(text, figure->width - 1);
    size_t n_blank = figure->width - quote_width(fitting);
    char *longer = xasprintf("%s%*s%s", line, (int)n_blank, "", fitting);

    free(line);
    return longer;
}

char *columns_titles(const struct columns *columns)
{
    AUTO_FREE char *name = quote_fit("NAME", columns->n_name);
    char *line = xasprintf("%s%*s%-*s", name, GAP, "", (int)columns->n_history, "FULL");

    for (size_t i = 0; i < N_FIGURES; i++) {
        if (is_shown(columns, i))
            line = add_cell(line, &figures[i], figures[i].title);
    }
    return line;
}

/* A block is three bytes of UTF-8. */
#define BARS_BYTES (3 * HISTORY_MAX + 1)

/* The newest at the right: a full block is a full mailbox. */
static void make_bars(const struct row *row, size_t n_columns, bool utf8, char text[BARS_BYTES])
{
    static const char *const blocks[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
    static const char *const ascii[] = { "_", ".", "-", ":", "=", "+", "*", "#" };
    const char *const *levels = utf8 ? blocks : ascii;
    size_t n = row->has_counts ? min_size(row->n_history, n_columns) : 0;

    for (size_t i = n; i < n_columns; i++)
        *text++ = ' ';
    for (size_t i = row->n_history - n; n > 0 && i < row->n_history; i++) {
        double fill = row->history[i];

        /* The lowest level is nothing at all. */
        text = stpcpy(text, levels[fill > 0 ? 1 + (int)(6 * fill) : 0]);
    }
    *text = '\0';
}

char *columns_row(const struct columns *columns, const struct row *row, bool utf8)
{
    AUTO_FREE char *name = quote_fit(row->shown, columns->n_name);
    char bars[BARS_BYTES];
    char *line;

    make_bars(row, columns->n_history, utf8, bars);
    line = xasprintf("%s%*s%s", name, GAP, "", bars);
    for (size_t i = 0; i < N_FIGURES; i++) {
        char text[CELL_BYTES] = "-";

        if (!is_shown(columns, i))
            continue;
        figures[i].show(row, (const char *)row + figures[i].offset, text);
        line = add_cell(line, &figures[i], text);
    }
    return line;
}
