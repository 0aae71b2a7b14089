/* A message as one line of JSON, made piece by piece as it is read: however long the message, no more is held than the
 * message itself, and a read costs what it returns.
 *
 * Whether a message is text (valid UTF-8) must be known before the first byte of its body is read. Of a very long
 * one that takes several reads, each of which returns a byte of what comes before. Headers come last, where there are
 * some. Their values are text; one that is not has U+FFFD for each byte that is not ASCII.
 *
 * Context: one thread at a time, that of its reader. */
#ifndef IPCFS_FS_ENVELOPE_H
#define IPCFS_FS_ENVELOPE_H

#include "core/mailbox/entry.h"

/* The members before the body with the longest values, or what an escape becomes. */
#define ENVELOPE_PENDING_MAX 320

enum envelope_stage {
    ENVELOPE_JUDGE, /* whether the body is text */
    ENVELOPE_TEXT,
    ENVELOPE_BASE64,
    ENVELOPE_BARE,   /* there is to be no body */
    ENVELOPE_HEADER, /* the value of one */
    ENVELOPE_TAIL,
    ENVELOPE_DONE,
};

/* May be copied, to read a part again. */
struct envelope {
    const struct mbox_entry *entry; /* the user's, who keeps it as long as this is read */
    enum envelope_stage stage;
    const unsigned char *text; /* the body, or a header's value */
    size_t n_text;
    size_t offset;          /* in it, up to where it is judged, or encoded */
    bool is_broken;         /* it is a header's value, and not valid UTF-8 */
    size_t header_at;       /* behind the last header that was begun (headers_next) */
    unsigned int n_pending; /* what is encoded and not read */
    unsigned int pending_at;
    char pending[ENVELOPE_PENDING_MAX];
};

void envelope_init(struct envelope *envelope, const struct mbox_entry *entry);

/* As envelope_init, of all but the body. */
void envelope_init_bare(struct envelope *envelope, const struct mbox_entry *entry);

/* Writes up to @size bytes, 1 at least. Return: how many; 0: it is read to its end. Fewer than @size: that
 * was the end, or (see above) it is a very long one. */
size_t envelope_read(struct envelope *envelope, char *to, size_t size);

/* Return: how long an envelope of @entry can be at most. */
size_t envelope_max_bytes(const struct mbox_entry *entry);

/* Return: whether all is read. */
bool envelope_is_read(const struct envelope *envelope);

#endif
