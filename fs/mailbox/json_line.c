/* jansson reads the object. It makes of each value in it some ten times what the value takes in the line, and goes down into
 * whatever nests; so the line is looked over first, and is refused where it has an array, more than two levels, or
 * more members than an object of this kind could have. What jansson takes then is a few times the line. */
#include "json_line.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* "headers" in the object. */
#define DEPTH_MAX 2

/* Of the object, and headers of one byte and no value. */
#define MEMBERS_MAX (4 + HEADERS_BYTES_MAX)

/* The longest escape for one byte: \u0000. */
#define ESCAPE_BYTES 6

#define SPACE_BYTES 65536

size_t json_line_max(size_t message_bytes)
{
    return ESCAPE_BYTES * (message_bytes + HEADERS_BYTES_MAX) + SPACE_BYTES;
}

/* Return: behind the string that begins at @at with its quotation mark; @end: it does not end. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++) {
        if (*at == '\\' && at + 1 < end)
            at++;
    }
    return at < end ? at + 1 : end;
}

/* Return: whether it is small enough, once read, to be read. */
static bool has_shape(const char *line, size_t n)
{
    const char *end = line + n;
    unsigned int n_members = 0;
    unsigned int depth = 0;

    while (line < end) {
        if (*line == '"') {
            line = skip_string(line, end);
            continue;
        }
        if (*line == '[' || (*line == '{' && ++depth > DEPTH_MAX))
            return false;
        if (*line == '}' && depth > 0)
            depth--;
        if (*line == ':' && ++n_members > MEMBERS_MAX)
            return false;
        line++;
    }
    return true;
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

/* What an object says; the values are its own. */
struct members {
    json_t *text;
    json_t *base64;
    json_t *headers;
    json_int_t prio;
};

/* Return: 0; -EINVAL. */
static int read_member(struct members *members, const char *key, json_t *value)
{
    if (strcmp(key, "text") == 0 && json_is_string(value))
        members->text = value;
    else if (strcmp(key, "base64") == 0 && json_is_string(value))
        members->base64 = value;
    else if (strcmp(key, "headers") == 0 && json_is_object(value))
        members->headers = value;
    else if (strcmp(key, "prio") == 0 && json_is_integer(value))
        members->prio = json_integer_value(value);
    else
        return -EINVAL;
    return 0;
}

/* Return: 0; -EINVAL. */
static int read_members(json_t *object, struct members *members)
{
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        int r = read_member(members, json_object_iter_key(at), json_object_iter_value(at));

        if (r < 0)
            return r;
    }
    if (members->prio < 0 || members->prio >= MSG_N_PRIOS || (members->text && members->base64))
        return -EINVAL;
    return 0;
}

/* Return: as headers_add; what was added stays. */
static int add_headers(struct headers **headers, json_t *object)
{
    int r = 0;

    for (void *at = json_object_iter(object); at && r == 0;
         at = json_object_iter_next(object, at)) {
        const char *name = json_object_iter_key(at);
        const json_t *value = json_object_iter_value(at);

        if (!json_is_string(value))
            return -EINVAL;
        r = headers_add(headers, name, strlen(name), json_string_value(value),
                        json_string_length(value));
    }
    return r;
}

static int make_body(const struct members *members, struct msg_sender sender, struct msg **ret_msg)
{
    if (members->base64)
        return decode_base64(json_string_value(members->base64),
                             json_string_length(members->base64), sender, ret_msg);
    *ret_msg = msg_new(members->text ? json_string_value(members->text) : "",
                       members->text ? json_string_length(members->text) : 0, 0, sender);
    return *ret_msg ? 0 : -ENOMEM;
}

static int json_line_make_message(json_t *object, struct msg_sender sender, struct msg **ret_msg)
{
    struct members members = { 0 };
    struct msg *msg = NULL;
    int r = read_members(object, &members);

    if (r == 0)
        r = make_body(&members, sender, &msg);
    if (!msg)
        return r;
    msg->prio = (unsigned int)members.prio;
    if (members.headers)
        r = add_headers(&msg->headers, members.headers);
    if (r == 0)
        *ret_msg = msg;
    else
        msg_unref(msg);
    return r;
}

int json_line_parse(const char *line, size_t n, struct msg_sender sender, struct msg **ret_msg)
{
    json_error_t error;
    json_t *object;
    int r;

    if (!has_shape(line, n))
        return -EINVAL;
    object = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!object)
        return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EINVAL;
    r = json_is_object(object) ? json_line_make_message(object, sender, ret_msg) : -EINVAL;
    json_decref(object);
    return r;
}
