/* From a line of work.json to NATS headers, and from NATS headers to a line of send.json. Owns nothing.
 *
 * The library's table of headers takes four allocations for each, and writes a name as it is: so all headers of a message are
 * given to it as one, whose name has several lines (envelope_to_nats).
 *
 * json-c reads and writes the lines: of 4 KiB of text in 4 and 5 us, for which jansson takes 45 and 29. */
#include "envelope.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <json-c/json.h>

#include "core/base/utf8.h"
#include "log.h"

/* Headers of a message, all in all (ipcfs(5)). */
#define HEADER_BYTES_MAX 4096
#define HEADER_NAME_BYTES_MAX 64
#define PRIO_MAX 31
#define NUMBER_BYTES_MAX 24

/* Header of NATS, and of the mount; what the envelope calls it is behind the last '-' of the second. */
static const struct {
    const char *nats;
    const char *mount;
} envelope_origins[] = {
    { "Ipcfs-Host", "origin-host" }, { "Ipcfs-Mount", "origin-mount" },
    { "Ipcfs-Id", "origin-id" },     { "Ipcfs-Uid", "origin-uid" },
    { "Ipcfs-Gid", "origin-gid" },   { "Ipcfs-Pid", "origin-pid" },
    { "Ipcfs-Time", "origin-time" },
};

#define N_ORIGINS (sizeof(envelope_origins) / sizeof(*envelope_origins))

/* The value of a digit; 64 and more: it is none. */
static unsigned envelope_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0') + 52;
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

/* Return: the bytes, the caller's to free. */
static char *envelope_decode(const char *text, size_t n, size_t *ret_n)
{
    char *data = xrealloc(NULL, n / 4 * 3 + 4, 1);
    size_t n_data = 0;
    unsigned bits = 0;

    for (size_t i = 0; i < n && envelope_digit(text[i]) < 64; i++) {
        bits = bits << 6 | envelope_digit(text[i]);
        if (i % 4 > 0)
            data[n_data++] = (char)(bits >> (6 - 2 * (i % 4)));
    }
    *ret_n = n_data;
    return data;
}

/* Return: the member @key; NULL: there is none. */
static struct json_object *envelope_member(struct json_object *envelope, const char *key)
{
    struct json_object *value = NULL;

    json_object_object_get_ex(envelope, key, &value);
    return value;
}

/* Return: the bytes of a string; NULL: it is none. */
static const char *envelope_string(struct json_object *value, size_t *ret_n)
{
    if (!json_object_is_type(value, json_type_string))
        return NULL;
    *ret_n = (size_t)json_object_get_string_len(value);
    return json_object_get_string(value);
}

const char *envelope_body(struct json_object *envelope, size_t *ret_n, char **ret_decoded)
{
    struct json_object *text = envelope_member(envelope, "text");
    const char *digits;
    size_t n;

    if (text)
        return envelope_string(text, ret_n);
    digits = envelope_string(envelope_member(envelope, "base64"), &n);
    if (!digits)
        return NULL;
    *ret_decoded = envelope_decode(digits, n, ret_n);
    return *ret_decoded;
}

bool envelope_is_foreign(struct json_object *envelope, const char *mount_id, unsigned uid)
{
    struct json_object *headers = envelope_member(envelope, "headers");
    struct json_object *origin = headers ? envelope_member(headers, "origin-mount") : NULL;

    return origin && strcmp(json_object_get_string(origin), mount_id) != 0 &&
           json_object_get_int64(envelope_member(envelope, "uid")) == (int64_t)uid;
}

char *envelope_msg_id(uint64_t id, const char *mount_id)
{
    return xasprintf("%s-%" PRIu64, mount_id, id);
}

/* --- out --- */

/* NATS' own, and ours, are not the sender's to set. */
static bool envelope_is_reserved(const char *name)
{
    return strncasecmp(name, "nats-", 5) == 0 || strncasecmp(name, "ipcfs-", 6) == 0 ||
           strncasecmp(name, "origin-", 7) == 0 || strcasecmp(name, "status") == 0 ||
           strcasecmp(name, "description") == 0;
}

static bool envelope_is_plain(const char *value)
{
    size_t n = strlen(value);

    if (n && (isspace((unsigned char)value[0]) || isspace((unsigned char)value[n - 1])))
        return false;
    for (; *value; value++) {
        if (iscntrl((unsigned char)*value))
            return false;
    }
    return true;
}

static char *envelope_escape(const char *value, size_t n)
{
    char *text = xrealloc(NULL, 3 * n + 1, 1);
    char *end = text;

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)value[i];

        if (c <= ' ' || c == 0x7f || c == '%')
            end += sprintf(end, "%%%02X", c);
        else
            *end++ = (char)c;
    }
    *end = '\0';
    return text;
}

static void text_add(struct envelope_text *text, const char *bytes, size_t n)
{
    if (text->n_allocated - text->n < n) {
        text->n_allocated = 2 * (text->n + n);
        text->data = xrealloc(text->data, text->n_allocated, 1);
    }
    memcpy(text->data + text->n, bytes, n);
    text->n += n;
}

/* A header is one line, whatever @value has: as the library does it, the ends of others become spaces. */
static void text_add_header(struct envelope_text *text, const char *name, const char *value)
{
    size_t start;

    text_add(text, name, strlen(name));
    text_add(text, ": ", 2);
    start = text->n;
    text_add(text, value, strlen(value));
    for (size_t i = start; i < text->n; i++) {
        if (text->data[i] == '\r' || text->data[i] == '\n')
            text->data[i] = ' ';
    }
    text_add(text, "\r\n", 2);
}

static void text_add_number(struct envelope_text *text, const char *name, uint64_t value)
{
    char digits[NUMBER_BYTES_MAX];

    snprintf(digits, sizeof(digits), "%" PRIu64, value);
    text_add_header(text, name, digits);
}

static void envelope_put_header(struct envelope_text *text, const char *name,
                                struct json_object *value)
{
    size_t n = 0;
    const char *bytes = envelope_string(value, &n);
    char *escaped;

    if (!bytes)
        return;
    if (strlen(bytes) == n && !envelope_is_reserved(name) && envelope_is_plain(bytes)) {
        text_add_header(text, name, bytes);
        return;
    }
    escaped = envelope_escape(bytes, n);
    text_add(text, "Ipcfs-H-", 8);
    text_add_header(text, name, escaped);
    free(escaped);
}

static void envelope_put_headers(struct envelope_text *text, struct json_object *headers)
{
    struct json_object_iterator at = json_object_iter_begin(headers);
    struct json_object_iterator end = json_object_iter_end(headers);

    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at))
        envelope_put_header(text, json_object_iter_peek_name(&at),
                            json_object_iter_peek_value(&at));
}

/* An integer or a text of the envelope; it may have none. */
static void envelope_put(struct envelope_text *text, const char *name, struct json_object *value)
{
    if (json_object_is_type(value, json_type_int))
        text_add_number(text, name, json_object_get_uint64(value));
    else if (json_object_is_type(value, json_type_string))
        text_add_header(text, name, json_object_get_string(value));
}

int envelope_to_nats(struct json_object *envelope, const struct envelope_source *source,
                     const char *msg_id, struct envelope_text *text, natsMsg *msg)
{
    static const char last[] = "Nats-Msg-Id";
    static const struct {
        const char *nats;
        const char *key;
    } own[] = { { "Ipcfs-Id", "id" },
                { "Ipcfs-Uid", "uid" },
                { "Ipcfs-Gid", "gid" },
                { "Ipcfs-Pid", "pid" },
                { "Ipcfs-Time", "time" } };
    struct json_object *headers = envelope_member(envelope, "headers");
    uint64_t prio = json_object_get_uint64(envelope_member(envelope, "prio"));

    text->n = 0;
    text_add_header(text, "Ipcfs-Host", source->host);
    text_add_header(text, "Ipcfs-Mount", source->mount_id);
    for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
        envelope_put(text, own[i].nats, envelope_member(envelope, own[i].key));
    if (prio)
        text_add_number(text, "Ipcfs-Prio", prio);
    if (headers)
        envelope_put_headers(text, headers);
    text_add(text, last, sizeof(last));
    return natsMsgHeader_Set(msg, text->data, msg_id) == NATS_OK ? 0 : -ENOMEM;
}

size_t envelope_headers_bytes(natsMsg *msg)
{
    size_t n = 128; /* the first line, and the message before this one */
    const char **keys = NULL;
    const char *value;
    int n_keys = 0;

    if (natsMsgHeader_Keys(msg, &keys, &n_keys) != NATS_OK)
        return n;
    for (int i = 0; i < n_keys; i++) {
        if (natsMsgHeader_Get(msg, keys[i], &value) == NATS_OK)
            n += strlen(keys[i]) + strlen(value) + 4;
    }
    free(keys);
    return n;
}

/* --- in --- */

bool envelope_is_from(natsMsg *msg, const char *mount_id)
{
    const char *origin;

    return natsMsgHeader_Get(msg, "Ipcfs-Mount", &origin) == NATS_OK &&
           strcmp(origin, mount_id) == 0;
}

static int envelope_hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* In place: %XX becomes its byte. Return: how many bytes there are now. */
static size_t envelope_unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from; from++) {
        if (from[0] == '%' && isxdigit((unsigned char)from[1]) &&
            isxdigit((unsigned char)from[2])) {
            *to++ = (char)(envelope_hex(from[1]) << 4 | envelope_hex(from[2]));
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}

/* The mount's name of a NATS header that is not one of ours, in @ret; false: a message of the mount can't have it. */
static bool envelope_name(const char *nats, char ret[static HEADER_NAME_BYTES_MAX + 1])
{
    size_t n = strlen(nats);

    if (n == 0 || n > HEADER_NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i <= n; i++) {
        if (nats[i] && !isalnum((unsigned char)nats[i]) && nats[i] != '-')
            return false;
        ret[i] = (char)tolower((unsigned char)nats[i]);
    }
    return true;
}

struct envelope_headers {
    struct json_object *object; /* NULL: none yet */
    size_t n_bytes;
};

/* Return: @object; a bridge without memory ends. */
static struct json_object *envelope_made(struct json_object *object)
{
    if (!object)
        log_die(EXIT_STATUS_FAILED, "out of memory");
    return object;
}

/* @key is new; it is copied, or with @options is a constant. */
static void envelope_set(struct json_object *object, const char *key, struct json_object *value,
                         unsigned options)
{
    if (json_object_object_add_ex(object, key, envelope_made(value),
                                  JSON_C_OBJECT_ADD_KEY_IS_NEW | options) < 0)
        log_die(EXIT_STATUS_FAILED, "out of memory");
}

static void envelope_add(struct envelope_headers *headers, const char *name, const char *value,
                         size_t n)
{
    size_t n_bytes = strlen(name) + n;
    size_t n_judged;

    if (headers->n_bytes + n_bytes > HEADER_BYTES_MAX ||
        (headers->object && json_object_object_get_ex(headers->object, name, NULL)) ||
        !utf8_check((const unsigned char *)value, n, n, &n_judged))
        return;
    if (!headers->object)
        headers->object = envelope_made(json_object_new_object());
    envelope_set(headers->object, name, json_object_new_string_len(value, (int)n), 0);
    headers->n_bytes += n_bytes;
}

static void envelope_take_origins(natsMsg *msg, struct envelope_headers *headers)
{
    const char *value;

    for (size_t i = 0; i < N_ORIGINS; i++) {
        if (natsMsgHeader_Get(msg, envelope_origins[i].nats, &value) == NATS_OK)
            envelope_add(headers, envelope_origins[i].mount, value, strlen(value));
    }
}

static void envelope_take_header(natsMsg *msg, const char *key, struct envelope_headers *headers)
{
    static const char escaped[] = "Ipcfs-H-";
    const size_t n_escaped = sizeof(escaped) - 1;
    bool is_escaped = strncasecmp(key, escaped, n_escaped) == 0;
    char name[HEADER_NAME_BYTES_MAX + 1];
    const char *value;
    char *copy;

    if (!envelope_name(is_escaped ? key + n_escaped : key, name) ||
        (!is_escaped && envelope_is_reserved(name)) ||
        natsMsgHeader_Get(msg, key, &value) != NATS_OK)
        return;
    copy = xstrdup(value);
    envelope_add(headers, name, copy, is_escaped ? envelope_unescape(copy) : strlen(copy));
    free(copy);
}

/* Return: NULL: none. */
static struct json_object *envelope_take_headers(natsMsg *msg)
{
    struct envelope_headers headers = { 0 };
    const char **keys = NULL;
    int n_keys = 0;

    envelope_take_origins(msg, &headers);
    if (natsMsgHeader_Keys(msg, &keys, &n_keys) == NATS_OK) {
        for (int i = 0; i < n_keys; i++)
            envelope_take_header(msg, keys[i], &headers);
        free(keys);
    }
    return headers.object;
}

static long envelope_prio(natsMsg *msg)
{
    const char *text;
    char *end;
    long prio;

    if (natsMsgHeader_Get(msg, "Ipcfs-Prio", &text) != NATS_OK)
        return 0;
    prio = strtol(text, &end, 10);
    return end != text && !*end && prio >= 0 && prio <= PRIO_MAX ? prio : 0;
}

static struct json_object *envelope_base64(const unsigned char *data, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = xrealloc(NULL, (n + 2) / 3 * 4 + 1, 1);
    char *end = text;
    struct json_object *value;

    for (size_t i = 0; i < n; i += 3) {
        unsigned b = (unsigned)data[i] << 16 | (i + 1 < n ? (unsigned)data[i + 1] << 8 : 0) |
                     (i + 2 < n ? data[i + 2] : 0);

        *end++ = digits[b >> 18];
        *end++ = digits[b >> 12 & 63];
        *end++ = i + 1 < n ? digits[b >> 6 & 63] : '=';
        *end++ = i + 2 < n ? digits[b & 63] : '=';
    }
    value = json_object_new_string_len(text, (int)(end - text));
    free(text);
    return value;
}

static void envelope_set_body(struct json_object *object, natsMsg *msg)
{
    const char *data = natsMsg_GetData(msg);
    int n = data ? natsMsg_GetDataLength(msg) : 0;
    const unsigned char *bytes = (const unsigned char *)(data ? data : "");
    size_t n_judged;

    if (utf8_check(bytes, (size_t)n, (size_t)n, &n_judged))
        envelope_set(object, "text", json_object_new_string_len((const char *)bytes, n),
                     JSON_C_OBJECT_KEY_IS_CONSTANT);
    else
        envelope_set(object, "base64", envelope_base64(bytes, (size_t)n),
                     JSON_C_OBJECT_KEY_IS_CONSTANT);
}

void envelope_add_line(struct envelope_text *lines, natsMsg *msg)
{
    struct json_object *object = envelope_made(json_object_new_object());
    struct json_object *headers = envelope_take_headers(msg);
    long prio = envelope_prio(msg);
    const char *text;
    size_t n;

    envelope_set_body(object, msg);
    if (prio)
        envelope_set(object, "prio", json_object_new_int64(prio), JSON_C_OBJECT_KEY_IS_CONSTANT);
    if (headers)
        envelope_set(object, "headers", headers, JSON_C_OBJECT_KEY_IS_CONSTANT);
    text = json_object_to_json_string_length(
        object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);
    if (!text)
        log_die(EXIT_STATUS_FAILED, "out of memory");
    text_add(lines, text, n);
    text_add(lines, "\n", 1);
    json_object_put(object);
}
