/* What top shows, without the screen: each thing's figures, their rates since the last look, and how deep
 * it was lately; sorted and filtered. */
#ifndef IPCFS_TOOLS_CTL_TOP_ROWS_H
#define IPCFS_TOOLS_CTL_TOP_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "object.h"

/* What is kept, and at most shown. */
#define HISTORY_MAX 60

struct row {
    enum room room;
    char *name;
    char *shown;     /* as quote() has it */
    bool has_counts; /* a region has none, nor has what this user may not read */
    uint64_t n_messages;
    char *max_messages; /* NULL: none */
    char *max_bytes;    /* the same */
    double fill;        /* of its limits, as in the history */
    uint64_t n_bytes;
    uint64_t n_sent;
    uint64_t n_received;
    uint64_t n_senders_waiting;
    uint64_t n_receivers_waiting;
    uint64_t n_leased;
    uint64_t n_dropped;
    uint64_t n_dead;
    char *last_send; /* RFC 3339; NULL: not known */
    pid_t owner_pid; /* 0: none */
    /* A second; negative: not known yet. */
    double in;
    double out;
    /* How full it was, of its own limits: 0 to 1, oldest first. Above 0 wherever a message waited. */
    double history[HISTORY_MAX];
    size_t n_history;
};

enum sort { SORT_NAME, SORT_MESSAGES, SORT_BYTES, SORT_IN, SORT_OUT, SORT_WAITERS, N_SORTS };

struct rows {
    struct row *list; /* by room and name */
    size_t n;
    int64_t looked_ns;
    struct row **view; /* what is shown, in that order; into list */
    size_t n_view;
};

/* Looks at @mount again. Return: 0; a negative errno: its rooms can't be read, and all is as before. */
int rows_update(struct rows *rows, const char *mount, int64_t now_ns);
void rows_deinit(struct rows *rows);

/* Makes the view: rows whose name has @filter in it, sorted, largest first but for names; or the other way
 * round. To be called after each update too. */
void rows_view(struct rows *rows, enum sort sort, bool reversed, const char *filter);

#endif
