/* The line is gone through once, from its start to its end, and nothing is made of it but the message: what somebody writes
 * costs no more memory than it takes as a message. */
#include "json_line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hash.h"
#include "core/base/json_text.h"

#define SPACE_BYTES 65536

/* Of a name that may stand for the second time; as many as make it a rare mistake with as many headers as fit. */
#define N_NAME_BITS 32768U

size_t json_line_max(size_t message_bytes)
{
    return JSON_ESCAPE_MAX * (message_bytes + HEADERS_BYTES_MAX) + SPACE_BYTES;
}

/* Return: what the digit stands for; -1: it is none. */
static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

/* Decodes the @n digits, four or fewer, that stand for @n - 1 bytes. Return: whether they do. */
static bool decode_group(const char *from, size_t n, unsigned char *to)
{
    uint32_t bits = 0;

    for (size_t i = 0; i < 4; i++) {
        int value = i < n ? base64_value(from[i]) : 0;

        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
    }
    for (size_t i = 0; i < n - 1; i++)
        to[i] = (unsigned char)(bits >> (16 - 8 * i));
    /* Bits that stand for nothing are zero: two texts are not one message. */
    return (uint32_t)((uint64_t)bits << (8 * n)) == 0;
}

/* Return: 0 with the message; -EINVAL; -ENOMEM. */
static int decode_base64(const char *from, size_t n, struct msg_sender sender, struct msg **ret_msg)
{
    size_t n_digits = n;
    struct msg *msg;
    bool is_good = true;

    while (n - n_digits < 2 && n_digits > 0 && from[n_digits - 1] == '=')
        n_digits--;
    if (n % 4 != 0)
        return -EINVAL;
    msg = msg_alloc(n_digits * 3 / 4, 0, sender);
    if (!msg)
        return -ENOMEM;
    for (size_t i = 0; i < n_digits && is_good; i += 4)
        is_good = decode_group(from + i, n_digits - i < 4 ? n_digits - i : 4,
                               msg->data + i / 4 * 3);
    if (is_good) {
        *ret_msg = msg;
        return 0;
    }
    msg_unref(msg);
    return -EINVAL;
}

/* What an object says. */
struct members {
    struct json_text text; /* or base64; raw: NULL where there is none */
    struct headers *headers;
    int64_t prio;
    int64_t id;
    bool is_base64;
    bool has_prio;
    bool has_id;
    bool has_headers;
};

/* Names that were seen, told apart by their hash: of one whose bit is not set there was none. */
struct names_seen {
    unsigned char bits[N_NAME_BITS / 8];
};

/* Return: may @name have been seen before? From now on it has. */
static bool see_name(struct names_seen *seen, const char *name, size_t n)
{
    unsigned int bit = hash_of(name, n) % N_NAME_BITS;
    bool was_set = seen->bits[bit / 8] & 1U << bit % 8;

    seen->bits[bit / 8] |= (unsigned char)(1U << bit % 8);
    return was_set;
}

/* Return: 0; -EINVAL; -ENOMEM. What was added stays. */
static int read_header(struct json_at *json, struct names_seen *seen, struct headers **headers)
{
    struct json_text key;
    struct json_text text;
    char name[HEADERS_NAME_MAX];
    char value[HEADERS_BYTES_MAX];
    struct header before;

    if (!json_at_string(json, &key) || !json_at_take(json, ':') || !json_at_string(json, &text) ||
        key.n > sizeof(name) || text.n > sizeof(value))
        return -EINVAL;
    json_text_decode(&key, name);
    json_text_decode(&text, value);
    if (see_name(seen, name, key.n) && headers_find(*headers, name, key.n, &before))
        return -EINVAL;
    return headers_add(headers, name, key.n, value, text.n);
}

/* Return: as read_header. */
static int read_headers(struct json_at *json, struct headers **headers)
{
    struct names_seen seen = { 0 };
    int r = 0;

    if (!json_at_take(json, '{'))
        return -EINVAL;
    if (json_at_take(json, '}'))
        return 0;
    do
        r = read_header(json, &seen, headers);
    while (r == 0 && json_at_take(json, ','));
    return r < 0 || json_at_take(json, '}') ? r : -EINVAL;
}

/* Return: 0; -EINVAL: there is none, or one was there before. */
static int read_body(struct json_at *json, struct members *members, bool is_base64)
{
    if (members->text.raw || !json_at_string(json, &members->text))
        return -EINVAL;
    members->is_base64 = is_base64;
    return 0;
}

/* Return: 0; -EINVAL; -ENOMEM. */
static int read_member(struct json_at *json, struct members *members)
{
    struct json_text key;

    if (!json_at_string(json, &key) || !json_at_take(json, ':'))
        return -EINVAL;
    if (json_text_is(&key, "text"))
        return read_body(json, members, false);
    if (json_text_is(&key, "base64"))
        return read_body(json, members, true);
    if (json_text_is(&key, "headers") && !members->has_headers) {
        members->has_headers = true;
        return read_headers(json, &members->headers);
    }
    if (json_text_is(&key, "prio") && !members->has_prio) {
        members->has_prio = true;
        return json_at_integer(json, &members->prio) ? 0 : -EINVAL;
    }
    if (json_text_is(&key, "id") && !members->has_id) {
        members->has_id = true;
        return json_at_integer(json, &members->id) ? 0 : -EINVAL;
    }
    return -EINVAL;
}

/* Return: 0; -EINVAL; -ENOMEM. In either case members->headers are the caller's. */
static int read_members(struct json_at *json, struct members *members)
{
    int r = 0;

    if (!json_at_take(json, '{'))
        return -EINVAL;
    if (!json_at_take(json, '}')) {
        do
            r = read_member(json, members);
        while (r == 0 && json_at_take(json, ','));
        if (r == 0 && !json_at_take(json, '}'))
            r = -EINVAL;
    }
    return r == 0 && !json_at_end(json) ? -EINVAL : r;
}

static bool is_to_be_sent(const struct members *members)
{
    return !members->has_id && members->prio >= 0 && members->prio < MSG_N_PRIOS;
}

static bool is_answer(const struct members *members)
{
    return members->id > 0 && members->text.raw && !members->has_prio && !members->has_headers;
}

/* Return: 0 with the message; -EINVAL; -ENOMEM. */
static int make_body(const struct json_text *text, struct msg_sender sender, struct msg **ret_msg)
{
    struct msg *msg = msg_alloc(text->n, 0, sender);

    if (!msg)
        return -ENOMEM;
    json_text_decode(text, (char *)msg->data);
    *ret_msg = msg;
    return 0;
}

/* The digits of a base64 text hold no escape but of '/', and any other character by its number: then they are decoded first.
 * Return: as make_body. */
static int make_base64(const struct json_text *text, struct msg_sender sender, struct msg **ret_msg)
{
    char *digits;
    int r;

    if (text->n == text->n_raw)
        return decode_base64(text->raw, text->n, sender, ret_msg);
    digits = malloc(text->n);
    if (!digits)
        return -ENOMEM;
    json_text_decode(text, digits);
    r = decode_base64(digits, text->n, sender, ret_msg);
    free(digits);
    return r;
}

/* Reads the @n bytes at @line; where they are @good, makes the message. Return: as make_body; in any case *ret_members's
 * headers are the caller's. */
static int json_line_read(const char *line, size_t n, bool (*good)(const struct members *members),
                          struct msg_sender sender, struct members *ret_members,
                          struct msg **ret_msg)
{
    struct json_at json = { .at = line, .end = line + n };
    int r = read_members(&json, ret_members);

    if (r < 0)
        return r;
    if (!good(ret_members))
        return -EINVAL;
    return ret_members->is_base64 ? make_base64(&ret_members->text, sender, ret_msg)
                                  : make_body(&ret_members->text, sender, ret_msg);
}

int json_line_parse(const char *line, size_t n, struct msg_sender sender, struct msg **ret_msg)
{
    struct members members = { 0 };
    struct msg *msg;
    int r = json_line_read(line, n, is_to_be_sent, sender, &members, &msg);

    if (r < 0) {
        free(members.headers);
        return r;
    }
    msg->prio = (unsigned int)members.prio;
    msg->headers = members.headers;
    *ret_msg = msg;
    return 0;
}

int json_line_parse_answer(const char *line, size_t n, struct msg_sender sender, uint64_t *ret_id,
                           struct msg **ret_msg)
{
    struct members members = { 0 };
    int r = json_line_read(line, n, is_answer, sender, &members, ret_msg);

    free(members.headers);
    if (r == 0)
        *ret_id = (uint64_t)members.id;
    return r;
}
