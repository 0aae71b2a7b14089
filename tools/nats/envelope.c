/* From a line of work.json to NATS headers, and from NATS headers to a line of send.json. Owns nothing. */
#include "envelope.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "log.h"

/* Headers of a message, all in all (ipcfs(5)). */
#define HEADER_BYTES_MAX 4096
#define HEADER_NAME_BYTES_MAX 64
#define PRIO_MAX 31

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

const char *envelope_body(const struct json_t *envelope, size_t *ret_n, char **ret_decoded)
{
    const json_t *text = json_object_get(envelope, "text");
    const json_t *base64 = json_object_get(envelope, "base64");

    if (text) {
        *ret_n = json_string_length(text);
        return json_string_value(text);
    }
    if (!json_is_string(base64))
        return NULL;
    *ret_decoded = envelope_decode(json_string_value(base64), json_string_length(base64), ret_n);
    return *ret_decoded;
}

static const char *envelope_header(const struct json_t *envelope, const char *name)
{
    return json_string_value(json_object_get(json_object_get(envelope, "headers"), name));
}

bool envelope_is_foreign(const struct json_t *envelope, const char *mount_id, unsigned uid)
{
    const char *origin = envelope_header(envelope, "origin-mount");

    return origin && strcmp(origin, mount_id) != 0 &&
           json_integer_value(json_object_get(envelope, "uid")) == (json_int_t)uid;
}

/* An integer or a text of the envelope as text, the caller's to free; NULL: it has none. */
static char *envelope_text(const struct json_t *envelope, const char *key)
{
    const json_t *value = json_object_get(envelope, key);

    if (json_is_integer(value))
        return xasprintf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    return json_is_string(value) ? xstrdup(json_string_value(value)) : NULL;
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

static natsStatus envelope_put_header(natsMsg *msg, const char *name, const json_t *value)
{
    const char *text = json_string_value(value);
    size_t n = json_string_length(value);
    char *escaped;
    char *full;
    natsStatus status;

    if (strlen(text) == n && !envelope_is_reserved(name) && envelope_is_plain(text))
        return natsMsgHeader_Set(msg, name, text);
    full = xasprintf("Ipcfs-H-%s", name);
    escaped = envelope_escape(text, n);
    status = natsMsgHeader_Set(msg, full, escaped);
    free(escaped);
    free(full);
    return status;
}

static natsStatus envelope_put(natsMsg *msg, const char *name, char *value)
{
    natsStatus status = value ? natsMsgHeader_Set(msg, name, value) : NATS_OK;

    free(value);
    return status;
}

int envelope_to_nats(const struct json_t *envelope, const struct envelope_source *source,
                     natsMsg *msg)
{
    static const struct {
        const char *nats;
        const char *key;
    } own[] = { { "Ipcfs-Id", "id" },
                { "Ipcfs-Uid", "uid" },
                { "Ipcfs-Gid", "gid" },
                { "Ipcfs-Pid", "pid" },
                { "Ipcfs-Time", "time" } };
    json_t *headers = json_object_get(envelope, "headers");
    json_int_t prio = json_integer_value(json_object_get(envelope, "prio"));
    uint64_t id = (uint64_t)json_integer_value(json_object_get(envelope, "id"));
    natsStatus status = envelope_put(msg, "Nats-Msg-Id", envelope_msg_id(id, source->mount_id));
    const char *name;
    json_t *value;

    if (status == NATS_OK)
        status = natsMsgHeader_Set(msg, "Ipcfs-Host", source->host);
    if (status == NATS_OK)
        status = natsMsgHeader_Set(msg, "Ipcfs-Mount", source->mount_id);
    for (size_t i = 0; i < sizeof(own) / sizeof(*own) && status == NATS_OK; i++)
        status = envelope_put(msg, own[i].nats, envelope_text(envelope, own[i].key));
    if (status == NATS_OK && prio)
        status = envelope_put(msg, "Ipcfs-Prio", xasprintf("%" JSON_INTEGER_FORMAT, prio));
    json_object_foreach(headers, name, value)
    {
        if (status == NATS_OK)
            status = envelope_put_header(msg, name, value);
    }
    return status == NATS_OK ? 0 : -ENOMEM;
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
    json_t *object;
    size_t n_bytes;
};

static void envelope_add(struct envelope_headers *headers, const char *name, const char *value,
                         size_t n)
{
    size_t n_bytes = strlen(name) + n;
    json_t *text;

    if (headers->n_bytes + n_bytes > HEADER_BYTES_MAX || json_object_get(headers->object, name))
        return;
    text = json_stringn(value, n); /* NULL: no UTF-8 */
    if (text && json_object_set_new(headers->object, name, text) == 0)
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

static json_t *envelope_take_headers(natsMsg *msg)
{
    struct envelope_headers headers = { .object = json_object() };
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

static json_int_t envelope_prio(natsMsg *msg)
{
    const char *text;
    char *end;
    long prio;

    if (natsMsgHeader_Get(msg, "Ipcfs-Prio", &text) != NATS_OK)
        return 0;
    prio = strtol(text, &end, 10);
    return end != text && !*end && prio >= 0 && prio <= PRIO_MAX ? prio : 0;
}

static json_t *envelope_base64(const unsigned char *data, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = xrealloc(NULL, (n + 2) / 3 * 4 + 1, 1);
    char *end = text;
    json_t *value;

    for (size_t i = 0; i < n; i += 3) {
        unsigned b = (unsigned)data[i] << 16 | (i + 1 < n ? (unsigned)data[i + 1] << 8 : 0) |
                     (i + 2 < n ? data[i + 2] : 0);

        *end++ = digits[b >> 18];
        *end++ = digits[b >> 12 & 63];
        *end++ = i + 1 < n ? digits[b >> 6 & 63] : '=';
        *end++ = i + 2 < n ? digits[b & 63] : '=';
    }
    value = json_stringn_nocheck(text, (size_t)(end - text));
    free(text);
    return value;
}

char *envelope_to_line(natsMsg *msg, size_t *ret_n_bytes)
{
    const char *data = natsMsg_GetData(msg);
    size_t n = data ? (size_t)natsMsg_GetDataLength(msg) : 0;
    json_t *object = json_object();
    json_t *text = json_stringn(data ? data : "", n); /* NULL: no UTF-8 */
    json_t *headers = envelope_take_headers(msg);
    json_int_t prio = envelope_prio(msg);
    char *line;

    if (text)
        json_object_set_new(object, "text", text);
    else
        json_object_set_new(object, "base64", envelope_base64((const unsigned char *)data, n));
    if (prio)
        json_object_set_new(object, "prio", json_integer(prio));
    if (json_object_size(headers))
        json_object_set(object, "headers", headers);
    json_decref(headers);
    line = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (!line)
        return NULL;
    n = strlen(line);
    line = xrealloc(line, n + 1, 1);
    line[n] = '\n';
    *ret_n_bytes = n + 1;
    return line;
}
