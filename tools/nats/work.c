/* The buffer has whole lines, or a part of one that is longer than a read: the daemon cuts no other. */
#include "work.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

#define READ_BYTES_MIN 65536
/* Of a line beside its text, of which a byte takes no more than six. */
#define LINE_EXTRA_BYTES_MAX 65536
#define WORD_BYTES_MAX 32

void work_init(struct work *work, void (*ready)(struct source *source))
{
    *work = (struct work){ .source = { .fd = -1, .ready = ready },
                           .in = xrealloc(NULL, READ_BYTES_MIN, 1),
                           .in_size = READ_BYTES_MIN };
}

void work_close(struct work *work)
{
    loop_unwatch(&work->source);
    if (work->source.fd >= 0)
        close(work->source.fd);
    work->source.fd = -1;
    work->n_in = work->in_at = 0;
    work->is_drained = false;
    work->skipped_id = 0;
    work->n_words_bytes = 0;
    work->n_words = 0;
}

void work_deinit(struct work *work)
{
    work_close(work);
    free(work->in);
    free(work->words);
}

/* Reads more, behind the part of a line that may be there. Return: 0; a negative errno. */
static int work_read(struct work *work)
{
    ssize_t n;

    memmove(work->in, work->in + work->in_at, work->n_in - work->in_at);
    work->n_in -= work->in_at;
    work->in_at = 0;
    if (work->n_in == work->in_size) {
        work->in = xrealloc(work->in, work->in_size, 2);
        work->in_size *= 2;
    }
    n = read(work->source.fd, work->in + work->n_in, work->in_size - work->n_in);
    if (n < 0)
        return -errno;
    if (n == 0)
        return -EIO;
    work->n_in += (size_t)n;
    /* One that is poor is the last: to ask again would cost as much as to be told by the source. */
    work->is_drained = (size_t)n < READ_BYTES_MIN / 2;
    return 0;
}

/* The line that is being read is longer than any that is wanted: of that only the id is kept. */
static void work_skip(struct work *work, size_t text_max)
{
    if (!work->skipped_id && work->n_in > 6 * text_max + LINE_EXTRA_BYTES_MAX)
        sscanf(work->in, "{\"id\":%" SCNu64, &work->skipped_id);
    if (work->skipped_id)
        work->n_in = 0;
}

bool work_has_line(const struct work *work)
{
    return memchr(work->in + work->in_at, '\n', work->n_in - work->in_at) != NULL;
}

int work_next_line(struct work *work, size_t text_max, char **ret_line, size_t *ret_n,
                   uint64_t *ret_skipped_id)
{
    for (;;) {
        char *line = work->in + work->in_at;
        char *newline = memchr(line, '\n', work->n_in - work->in_at);
        int r;

        if (newline) {
            *ret_line = line;
            *ret_n = (size_t)(newline - line);
            work->in_at += *ret_n + 1;
            *ret_skipped_id = work->skipped_id;
            work->skipped_id = 0;
            return 0;
        }
        if (work->in_at == work->n_in && work->is_drained) {
            work->is_drained = false;
            return -EAGAIN;
        }
        if (work->in_at == 0)
            work_skip(work, text_max);
        r = work_read(work);
        if (r < 0)
            return r;
    }
}

/* Return: how many bytes took effect; a negative errno: the first line has none. */
static ssize_t work_write(const struct work *work, const char *text, size_t n)
{
    ssize_t written;

    do
        written = write(work->source.fd, text, n);
    while (written < 0 && errno == EINTR);
    return written < 0 ? -errno : written;
}

int work_say(const struct work *work, const char *word, uint64_t id)
{
    char text[WORD_BYTES_MAX];
    int n = snprintf(text, sizeof(text), "%s %" PRIu64 "\n", word, id);
    ssize_t written = work_write(work, text, (size_t)n);

    return written < 0 ? (int)written : 0;
}

void work_note_done(struct work *work, uint64_t id)
{
    work->words = xrealloc(work->words, work->n_words_bytes + WORD_BYTES_MAX, 1);
    work->n_words_bytes += (size_t)snprintf(work->words + work->n_words_bytes, WORD_BYTES_MAX,
                                            "done %" PRIu64 "\n", id);
    work->n_words++;
}

int work_say_all(struct work *work)
{
    size_t at = 0;

    while (at < work->n_words_bytes) {
        char *words = work->words + at;
        ssize_t n = work_write(work, words, work->n_words_bytes - at);

        /* A write that was interrupted may have had its effect: the line is no lease's any more. */
        if (n == -ENODATA)
            n = (char *)memchr(words, '\n', work->n_words_bytes - at) + 1 - words;
        if (n < 0)
            return (int)n;
        at += (size_t)n;
    }
    work->n_words_bytes = 0;
    work->n_words = 0;
    return 0;
}
