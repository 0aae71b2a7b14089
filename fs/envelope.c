#include "envelope.h"

#include <jansson.h>
#include <stdlib.h>

#include "timestamp.h"

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

static json_t *base64(const struct msg *msg)
{
    size_t n_groups = (msg->size_bytes + 2) / 3;
    char *text = malloc(4 * n_groups + 1);
    json_t *json;

    if (!text)
        return NULL;
    for (size_t i = 0; i < n_groups; i++) {
        size_t left = msg->size_bytes - 3 * i;

        encode_group(msg->data + 3 * i, left < 3 ? left : 3, text + 4 * i);
    }
    json = json_stringn_nocheck(text, 4 * n_groups);
    free(text);
    return json;
}

static int add_body(json_t *object, const struct msg *msg)
{
    json_t *text = json_stringn((const char *)msg->data, msg->size_bytes);

    if (text)
        return json_object_set_new(object, "text", text);
    return json_object_set_new(object, "base64", base64(msg));
}

char *envelope_format(const struct msg *msg)
{
    char arrived[TIMESTAMP_MAX];
    char *text = NULL;
    json_t *object;

    timestamp_format(&msg->arrived, arrived);
    object = json_pack("{s:I, s:s, s:I, s:I, s:I, s:i, s:I}", "id", (json_int_t)msg->id, "time",
                       arrived, "pid", (json_int_t)msg->sender.pid, "uid",
                       (json_int_t)msg->sender.uid, "gid", (json_int_t)msg->sender.gid, "prio",
                       (int)msg->prio, "size", (json_int_t)msg->size_bytes);
    if (object && add_body(object, msg) == 0)
        text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}
