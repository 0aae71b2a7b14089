/* What is read next is either pending, an encoded piece that did not fit yet, or comes from the text that is being
 * encoded: the body, then each header's value. Stages follow each other in the order of enum envelope_stage. */
#include "envelope.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/json_text.h"
#include "core/base/utf8.h"
#include "timestamp.h"

/* So much of a body is judged in one read; or of one for which there would be more steps than the members before
 * the body have bytes for, a part. */
#define JUDGED_AT_ONCE_BYTES (1U << 20)
#define N_STEPS_MAX 64

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Writes up to three bytes as four characters (RFC 4648, section 4). */
static void encode_group(const unsigned char *data, size_t n, char *to)
{
    unsigned int bits = (unsigned int)data[0] << 16;

    if (n > 1)
        bits |= (unsigned int)data[1] << 8;
    if (n > 2)
        bits |= data[2];
    to[0] = alphabet[bits >> 18];
    to[1] = alphabet[bits >> 12 & 63];
    to[2] = alphabet[bits >> 6 & 63];
    to[3] = alphabet[bits & 63];
    for (size_t i = n + 1; i < 4; i++)
        to[i] = '=';
}

/* Return: how many of the @n bytes at @data are written as they are, before one that is not. */
static size_t plain_bytes(const struct envelope *envelope, const unsigned char *data, size_t n)
{
    size_t n_plain = json_plain((const char *)data, n);

    if (envelope->is_broken) {
        for (size_t i = 0; i < n_plain; i++) {
            if (data[i] >= 0x80)
                return i;
        }
    }
    return n_plain;
}

/* Writes the escape of @c: of a text that is no UTF-8, what of it is not ASCII can't be said. */
static size_t put_escape(unsigned char c, char *to)
{
    static const char unknown[JSON_ESCAPE_MAX] = "\\uFFFD";

    if (c < 0x80)
        return json_escape(c, to);
    memcpy(to, unknown, sizeof(unknown));
    return sizeof(unknown);
}

static void pend_bytes(struct envelope *envelope, const char *text, size_t n)
{
    memcpy(envelope->pending + envelope->n_pending, text, n);
    envelope->n_pending += (unsigned int)n;
}

static void pend(struct envelope *envelope, const char *text)
{
    pend_bytes(envelope, text, strlen(text));
}

static void pend_count(struct envelope *envelope, const char *name, uint64_t n)
{
    envelope->n_pending += (unsigned int)snprintf(envelope->pending + envelope->n_pending,
                                                  sizeof(envelope->pending) - envelope->n_pending,
                                                  "\"%s\":%" PRIu64 ",", name, n);
}

void envelope_init(struct envelope *envelope, const struct mbox_entry *entry)
{
    const struct msg *msg = entry->msg;
    char arrived[TIMESTAMP_MAX];

    *envelope = (struct envelope){ .entry = entry, .text = msg->data, .n_text = msg->size_bytes };
    timestamp_format(&msg->arrived, arrived);
    envelope->n_pending = (unsigned int)snprintf(
        envelope->pending, sizeof(envelope->pending),
        "{\"id\":%" PRIu64
        ",\"time\":\"%s\",\"pid\":%d,\"uid\":%u,\"gid\":%u,\"prio\":%u,\"size\":%zu,%s",
        msg->id, arrived, (int)msg->sender.pid, msg->sender.uid, msg->sender.gid, msg->prio,
        msg->size_bytes, msg->is_call ? "\"call\":true," : "");
    if (entry->n_missed > 0)
        pend_count(envelope, "missed", entry->n_missed);
    if (entry->n_attempts > 0)
        pend_count(envelope, "attempts", entry->n_attempts);
}

void envelope_init_bare(struct envelope *envelope, const struct mbox_entry *entry)
{
    envelope_init(envelope, entry);
    envelope->stage = ENVELOPE_BARE;
    envelope->n_text = 0;
    /* No member follows yet. */
    envelope->n_pending--;
}

static size_t left_of(const struct envelope *envelope)
{
    return envelope->n_text - envelope->offset;
}

static void begin_body(struct envelope *envelope, enum envelope_stage stage)
{
    envelope->stage = stage;
    envelope->offset = 0;
    pend(envelope, stage == ENVELOPE_TEXT ? "\"text\":\"" : "\"base64\":\"");
}

/* Goes on looking whether the body is text. */
static void judge(struct envelope *envelope)
{
    size_t n_step = envelope->entry->msg->size_bytes / N_STEPS_MAX + 1;
    size_t n;

    if (n_step < JUDGED_AT_ONCE_BYTES)
        n_step = JUDGED_AT_ONCE_BYTES;
    if (!utf8_check(envelope->text + envelope->offset, left_of(envelope), n_step, &n)) {
        begin_body(envelope, ENVELOPE_BASE64);
        return;
    }
    envelope->offset += n;
    if (left_of(envelope) == 0)
        begin_body(envelope, ENVELOPE_TEXT);
}

static void begin_header(struct envelope *envelope, const struct header *header)
{
    size_t n;

    pend_bytes(envelope, header->name, header->n_name);
    pend(envelope, "\":\"");
    envelope->stage = ENVELOPE_HEADER;
    envelope->text = (const unsigned char *)header->value;
    envelope->n_text = header->n_value;
    envelope->offset = 0;
    envelope->is_broken = !utf8_check(envelope->text, header->n_value, header->n_value, &n);
}

/* The body, or the value of a header, is written: what comes next. */
static void end_text(struct envelope *envelope)
{
    bool is_first = envelope->stage != ENVELOPE_HEADER;
    struct header header;

    if (envelope->stage != ENVELOPE_BARE)
        pend(envelope, "\"");
    if (headers_next(mbox_entry_headers(envelope->entry), &envelope->header_at, &header)) {
        pend(envelope, is_first ? ",\"headers\":{\"" : ",\"");
        begin_header(envelope, &header);
    } else {
        pend(envelope, is_first ? "}\n" : "}}\n");
        envelope->stage = ENVELOPE_TAIL;
    }
}

/* Each of these two writes what of the text needs no place beyond @size, and lets one more group or character
 * pend. Return: how many bytes it has written. */

static size_t envelope_put_text(struct envelope *envelope, char *to, size_t size)
{
    const unsigned char *data = envelope->text + envelope->offset;
    const unsigned char *end = data + left_of(envelope);
    char *start = to;

    for (;;) {
        size_t left = (size_t)(end - data);
        size_t n = plain_bytes(envelope, data, left < size ? left : size);

        memcpy(to, data, n);
        data += n;
        to += n;
        size -= n;
        if (data == end || size == 0)
            break;
        if (size < JSON_ESCAPE_MAX) {
            envelope->n_pending = (unsigned int)put_escape(*data++, envelope->pending);
            break;
        }
        n = put_escape(*data++, to);
        to += n;
        size -= n;
    }
    envelope->offset = (size_t)(data - envelope->text);
    return (size_t)(to - start);
}

static size_t put_base64(struct envelope *envelope, char *to, size_t size)
{
    const unsigned char *data = envelope->text;
    size_t n = 0;
    size_t left;

    while ((left = left_of(envelope)) > 0) {
        size_t n_group = left < 3 ? left : 3;

        if (size - n < 4) {
            encode_group(data + envelope->offset, n_group, envelope->pending);
            envelope->n_pending = 4;
        } else {
            encode_group(data + envelope->offset, n_group, to + n);
            n += 4;
        }
        envelope->offset += n_group;
        if (envelope->n_pending > 0)
            break;
    }
    return n;
}

static size_t envelope_put(struct envelope *envelope, char *to, size_t size)
{
    if (left_of(envelope) == 0) {
        end_text(envelope);
        return 0;
    }
    return envelope->stage == ENVELOPE_BASE64 ? put_base64(envelope, to, size)
                                              : envelope_put_text(envelope, to, size);
}

static size_t put_pending(struct envelope *envelope, char *to, size_t size)
{
    size_t n = envelope->n_pending - envelope->pending_at;

    if (n > size)
        n = size;
    memcpy(to, envelope->pending + envelope->pending_at, n);
    envelope->pending_at += (unsigned int)n;
    if (envelope->pending_at < envelope->n_pending)
        return n;
    envelope->n_pending = 0;
    envelope->pending_at = 0;
    if (envelope->stage == ENVELOPE_TAIL)
        envelope->stage = ENVELOPE_DONE;
    return n;
}

size_t envelope_read(struct envelope *envelope, char *to, size_t size)
{
    size_t n = 0;

    if (envelope->stage == ENVELOPE_JUDGE) {
        judge(envelope);
        if (envelope->stage == ENVELOPE_JUDGE)
            return put_pending(envelope, to, 1);
    }
    while (n < size && envelope->stage != ENVELOPE_DONE) {
        if (envelope->n_pending > 0)
            n += put_pending(envelope, to + n, size - n);
        else
            n += envelope_put(envelope, to + n, size - n);
    }
    return n;
}

/* The longest escape of a byte. */
#define ESCAPE_BYTES (sizeof("\\u0000") - 1)

size_t envelope_max_bytes(const struct mbox_entry *entry)
{
    /* A header's name, and what encloses it and its value, are shorter than escapes of all that it takes. */
    size_t n_text = entry->msg->size_bytes + headers_charge_bytes(mbox_entry_headers(entry));

    /* What comes before the body, and what encloses that and the headers. */
    return 2 * (size_t)ENVELOPE_PENDING_MAX + ESCAPE_BYTES * n_text;
}

bool envelope_is_read(const struct envelope *envelope)
{
    return envelope->stage == ENVELOPE_DONE;
}
