#include "top_rows.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"
#include "quote.h"
#include "util.h"

#define NS_PER_S 1e9

static void free_row(struct row *row)
{
    free(row->name);
    free(row->shown);
    free(row->max_messages);
    free(row->max_bytes);
    free(row->last_send);
}

void rows_deinit(struct rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        free_row(&rows->list[i]);
    free(rows->list);
    free(rows->view);
    *rows = (struct rows){ 0 };
}

static char *copy_or_null(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

/* Return: @n of @max, 0 where that is no bound. */
static double share_of(uint64_t n, const char *max)
{
    double bound = max && !max[strspn(max, "0123456789")] ? strtod(max, NULL) : 0;

    return bound > 0 ? fmin((double)n / bound, 1) : 0;
}

/* By messages or by bytes, whichever stops senders first: so that bars of different mailboxes mean the same. */
static double fill_of(const struct entry *entry, uint64_t n_messages)
{
    double fill = share_of(n_messages, entry_max_messages(entry));

    if (entry_max_bytes(entry))
        fill = fmax(fill, share_of(settings_number(&entry->stat, "bytes"), entry_max_bytes(entry)));
    return fill > 0 || n_messages == 0 ? fill : DBL_MIN;
}

static struct row top_make_row(const struct entry *entry)
{
    AUTO_FREE char *arg = object_arg(&entry->object);
    bool is_topic = entry->object.room == ROOM_TOPIC;
    struct row row = {
        .room = entry->object.room,
        .name = xstrdup(entry->object.name),
        .shown = quote(arg, false),
        .max_messages = copy_or_null(entry_max_messages(entry)),
        .max_bytes = copy_or_null(entry_max_bytes(entry)),
        .n_sent = settings_number(&entry->stat, is_topic ? "published" : "sent"),
        .n_received = settings_number(&entry->stat, is_topic ? "delivered" : "received"),
        .n_senders_waiting = settings_number(&entry->stat, "senders_waiting"),
        .n_receivers_waiting = settings_number(&entry->stat,
                                               is_topic ? "subscriptions" : "receivers_waiting"),
        .n_leased = settings_number(&entry->stat, "leased"),
        .n_dropped = settings_number(&entry->stat, "dropped"),
        .n_dead = settings_number(&entry->stat, "dead"),
        .last_send = copy_or_null(settings_get(&entry->stat, "last_send")),
        .owner_pid = (pid_t)settings_number(&entry->stat, "owner_pid"),
        .in = -1,
        .out = -1,
    };

    row.has_counts = entry_messages(entry, &row.n_messages) || is_topic;
    row.fill = fill_of(entry, row.n_messages);
    if (!entry_bytes(entry, &row.n_bytes))
        row.n_bytes = 0;
    return row;
}

static int compare_rows(const struct row *a, const struct row *b)
{
    if (a->room != b->room)
        return a->room < b->room ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* One that was made anew under the same name begins its counters again. */
static double rate(uint64_t now, uint64_t before, double seconds)
{
    return now >= before && seconds > 0 ? (double)(now - before) / seconds : -1;
}

static void add_to_history(struct row *row)
{
    if (row->n_history == HISTORY_MAX) {
        memmove(row->history, row->history + 1, (HISTORY_MAX - 1) * sizeof(row->history[0]));
        row->n_history--;
    }
    row->history[row->n_history++] = row->fill;
}

static void follow(struct row *row, const struct row *before, double seconds)
{
    if (before->has_counts && row->has_counts) {
        row->in = rate(row->n_sent, before->n_sent, seconds);
        row->out = rate(row->n_received, before->n_received, seconds);
    }
    memcpy(row->history, before->history, sizeof(row->history));
    row->n_history = before->n_history;
}

static int read_rooms(struct entries *entries, const char *mount)
{
    for (enum room room = 0; room < N_ROOMS; room++) {
        int r = entries_add_room(entries, mount, room);

        if (r < 0)
            return r;
    }
    return 0;
}

/* Both lists are in the same order. */
int rows_update(struct rows *rows, const char *mount, int64_t now_ns)
{
    double seconds = (double)(now_ns - rows->looked_ns) / NS_PER_S;
    struct entries entries = { 0 };
    struct rows old = *rows;
    size_t i_old = 0;
    int r = read_rooms(&entries, mount);

    if (r < 0) {
        entries_deinit(&entries);
        return r;
    }
    *rows = (struct rows){ .looked_ns = now_ns };
    rows->list = xrealloc(NULL, entries.n, sizeof(*rows->list));
    for (size_t i = 0; i < entries.n; i++) {
        struct row row = top_make_row(&entries.list[i]);

        while (i_old < old.n && compare_rows(&old.list[i_old], &row) < 0)
            i_old++;
        if (i_old < old.n && compare_rows(&old.list[i_old], &row) == 0)
            follow(&row, &old.list[i_old], seconds);
        add_to_history(&row);
        rows->list[rows->n++] = row;
    }
    entries_deinit(&entries);
    rows_deinit(&old);
    return 0;
}

static double value_of(const struct row *row, enum sort sort)
{
    switch (sort) {
    case SORT_MESSAGES:
        return (double)row->n_messages;
    case SORT_BYTES:
        return (double)row->n_bytes;
    case SORT_IN:
        return row->in;
    case SORT_OUT:
        return row->out;
    case SORT_WAITERS:
        return (double)(row->n_senders_waiting + row->n_receivers_waiting);
    default:
        return 0;
    }
}

struct order {
    enum sort sort;
    bool reversed;
};

/* Equals by name. */
static int compare_in_view(const void *a, const void *b, void *arg)
{
    const struct row *first = *(struct row *const *)a;
    const struct row *second = *(struct row *const *)b;
    const struct order *order = arg;
    double difference = value_of(second, order->sort) - value_of(first, order->sort);
    int result = difference < 0 ? -1 : difference > 0;

    if (order->sort == SORT_NAME)
        result = compare_rows(first, second);
    if (order->reversed)
        result = -result;
    return result ? result : compare_rows(first, second);
}

void rows_view(struct rows *rows, enum sort sort, bool reversed, const char *filter)
{
    struct order order = { sort, reversed };

    rows->view = xrealloc(rows->view, rows->n, sizeof(struct row *));
    rows->n_view = 0;
    for (size_t i = 0; i < rows->n; i++) {
        if (strstr(rows->list[i].shown, filter))
            rows->view[rows->n_view++] = &rows->list[i];
    }
    qsort_r(rows->view, rows->n_view, sizeof(struct row *), compare_in_view, &order);
}
