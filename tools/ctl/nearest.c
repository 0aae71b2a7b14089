/* The distance is that of optimal string alignment: Levenshtein's, with two neighbours swapped as one step. A third of
 * the word may be wrong, and one letter always; a word of which all is wrong is another word. */
#include "nearest.h"

#include <stdlib.h>
#include <string.h>

#include "quote.h"
#include "util.h"

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Three rows of the table are enough: this, the last, and for swaps the one before. */
static size_t distance(const char *a, const char *b)
{
    size_t n_a = strlen(a);
    size_t n_b = strlen(b);
    size_t *rows = xrealloc(NULL, 3 * (n_b + 1), sizeof(*rows));
    size_t result;

    for (size_t j = 0; j <= n_b; j++)
        rows[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t *now = rows + i % 3 * (n_b + 1);
        const size_t *last = rows + (i - 1) % 3 * (n_b + 1);
        const size_t *before = rows + (i + 1) % 3 * (n_b + 1);

        now[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            now[j] = smaller(last[j - 1] + (a[i - 1] != b[j - 1]),
                             smaller(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = smaller(now[j], before[j - 2] + 1);
        }
    }
    result = rows[n_a % 3 * (n_b + 1) + n_b];
    free(rows);
    return result;
}

void nearest_init(struct nearest *nearest, const char *word)
{
    size_t allowed = strlen(word) / 3;

    *nearest = (struct nearest){ .word = word, .distance = (allowed ? allowed : 1) + 1 };
}

void nearest_add(struct nearest *nearest, const char *candidate)
{
    size_t n = distance(nearest->word, candidate);

    if (n >= nearest->distance || n >= strlen(candidate))
        return;
    free(nearest->best);
    nearest->best = xstrdup(candidate);
    nearest->distance = n;
}

void nearest_deinit(struct nearest *nearest)
{
    free(nearest->best);
}

char *nearest_ask(const struct nearest *nearest)
{
    AUTO_FREE char *shown = nearest->best ? quote(nearest->best, true) : NULL;

    return shown ? xasprintf(" (did you mean %s?)", shown) : xstrdup("");
}
