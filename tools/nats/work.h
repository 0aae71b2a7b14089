/* An open `work.json` of the mount: lines of messages on lease come in, words about them go out.
 *
 * Embedded in its export, which watches the source. Words that can wait are gathered, and go out in one write.
 *
 * Context: the loop's thread; nothing waits but for the daemon's answer. */
#ifndef IPCFS_TOOLS_NATS_WORK_H
#define IPCFS_TOOLS_NATS_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

struct work {
    struct source source; /* fd: of the open file, which is this one's; -1: none */
    char *in;             /* lines that were read; those before in_at are dealt with */
    size_t in_size;
    size_t n_in;
    size_t in_at;
    bool is_drained;     /* the last read had all there was */
    uint64_t skipped_id; /* of a line that is too long, and not read to its end; 0: none */
    char *words;         /* that are to be written */
    size_t n_words_bytes;
    unsigned n_words;
};

void work_init(struct work *work, void (*ready)(struct source *source));

/* Closes the file, if it is open: what was on lease is not any more. */
void work_close(struct work *work);
void work_deinit(struct work *work);

/* Return: does work_next_line() have one without asking the daemon? */
bool work_has_line(const struct work *work);

/* Gets the next line, without its newline, which stays until the next call. A line of a message that has more than @text_max
 * bytes may be left out: then its id is in @ret_skipped_id, which else is 0.
 * Return: 0; -EAGAIN: there is none, or only the source can tell; another negative errno. */
int work_next_line(struct work *work, size_t text_max, char **ret_line, size_t *ret_n,
                   uint64_t *ret_skipped_id);

/* Says @word at once. Return: 0; a negative errno: the message has what became of it otherwise. */
int work_say(const struct work *work, const char *word, uint64_t id);

/* The message is done, which work_say_all() is to say. */
void work_note_done(struct work *work, uint64_t id);

/* Return: 0; a negative errno: nothing helps. */
int work_say_all(struct work *work);

#endif
