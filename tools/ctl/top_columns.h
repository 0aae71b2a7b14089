/* The columns of top: as many as the terminal has room for. First come names and the figures that are always
 * there, then whole names, then more figures, and the last of the room is a longer history. */
#ifndef IPCFS_TOOLS_CTL_TOP_COLUMNS_H
#define IPCFS_TOOLS_CTL_TOP_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>

#include "top_rows.h"

struct columns {
    size_t n_name;      /* what the name takes */
    size_t n_history;   /* and how full it was lately */
    unsigned int shown; /* a bit for each figure */
};

/* Chooses for the rows in view, and for @width columns of the terminal. */
void columns_fit(struct columns *columns, const struct rows *rows, size_t width);

/* Return: a line, the caller's to free. @utf8: with blocks for bars, else in ASCII. */
char *columns_titles(const struct columns *columns);
char *columns_row(const struct columns *columns, const struct row *row, bool utf8);

#endif
