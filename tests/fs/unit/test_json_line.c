/* Lines of send.json, beside what jansson makes of them: the same lines are taken, and they say the same. */
#include "fs/mailbox/json_line.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const struct msg_sender sender = { .pid = 42, .uid = 1001, .gid = 1002 };

/* Each is taken, whole; most of what comes of them by a change of some bytes is not. */
static const char *const lines[] = {
    "{}",
    " { } ",
    "{\"text\":\"\"}",
    "{\"text\":\"hello\",\"prio\":7}",
    "\t{ \"prio\" : 0 , \"text\" : \"a\\nb\\\"c\\\\d\\/e\\b\\f\\r\\t\" }\r",
    "{\"te\\u0078t\":\"\\u00e4\\u20AC\\ud83d\\ude00\\u0000.\"}",
    "{\"text\":\"gr\xc3\xbc\xc3\x9f\x65 aus \xe6\x9d\xb1\xe4\xba\xac \xf0\x9f\x98\x80, lang genug f\xc3\xbcr W\xc3\xb6rter\"}",
    "{\"base64\":\"aGFsbG8gd2VsdAo=\"}",
    "{\"base64\":\"\\/+\\u0041A\"}",
    "{\"base64\":\"\",\"headers\":{}}",
    "{\"headers\":{\"kind\":\"letter\",\"a-1\":\"\",\"x\":\"\\u00fc\\n\"},\"text\":\"x\"}",
    "{\"prio\":31,\"headers\":{\"trace\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"}}",
};

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Return: is @text the base64 of @msg? */
static bool is_base64_of(const char *text, size_t n, const struct msg *msg)
{
    const unsigned char *data = msg->data;
    size_t n_bytes = msg->size_bytes;

    if (n != (n_bytes + 2) / 3 * 4)
        return false;
    for (size_t i = 0; i < n; i++) {
        size_t at = i * 6 / 8;
        unsigned int bits = (at < n_bytes ? data[at] : 0U) << 8 |
                            (at + 1 < n_bytes ? data[at + 1] : 0U);

        if (at >= n_bytes || (i % 4 > 0 && i * 6 >= n_bytes * 8)
                ? text[i] != '='
                : text[i] != digits[bits >> (10 - i * 6 % 8) & 63])
            return false;
    }
    return true;
}

static bool is_base64(const char *text, size_t n)
{
    size_t n_digits = n;
    unsigned int last;

    while (n_digits > 0 && n - n_digits < 2 && text[n_digits - 1] == '=')
        n_digits--;
    for (size_t i = 0; i < n_digits; i++) {
        if (!text[i] || !strchr(digits, text[i]))
            return false;
    }
    if (n % 4 != 0 || n == n_digits)
        return n % 4 == 0;
    last = (unsigned int)(strchr(digits, text[n_digits - 1]) - digits);
    return (last & (n - n_digits == 1 ? 3 : 15)) == 0;
}

static bool is_header(const char *name, const json_t *value)
{
    return json_is_string(value) && *name && strlen(name) <= HEADERS_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(name);
}

static bool are_headers(json_t *object)
{
    const char *name;
    json_t *value;
    size_t n = 0;

    if (!json_is_object(object))
        return false;
    json_object_foreach(object, name, value)
    {
        if (!is_header(name, value))
            return false;
        n += strlen(name) + json_string_length(value);
    }
    return n <= HEADERS_BYTES_MAX;
}

/* Return: is @object one that send.json takes? */
static bool is_good(json_t *object)
{
    const char *key;
    json_t *value;

    if (!json_is_object(object) ||
        (json_object_get(object, "text") && json_object_get(object, "base64")))
        return false;
    json_object_foreach(object, key, value)
    {
        bool is_known = (strcmp(key, "text") == 0 && json_is_string(value)) ||
                        (strcmp(key, "base64") == 0 && json_is_string(value) &&
                         is_base64(json_string_value(value), json_string_length(value))) ||
                        (strcmp(key, "headers") == 0 && are_headers(value)) ||
                        (strcmp(key, "prio") == 0 && json_is_integer(value) &&
                         json_integer_value(value) >= 0 && json_integer_value(value) < MSG_N_PRIOS);

        if (!is_known)
            return false;
    }
    return true;
}

static bool says_the_same(const struct msg *msg, const json_t *object)
{
    const json_t *text = json_object_get(object, "text");
    const json_t *base64 = json_object_get(object, "base64");
    const json_t *headers = json_object_get(object, "headers");
    struct header header;
    size_t n_headers = 0;

    for (size_t at = 0; headers_next(msg->headers, &at, &header); n_headers++) {
        const json_t *value = json_object_getn(headers, header.name, header.n_name);

        if (json_string_length(value) != header.n_value ||
            memcmp(json_string_value(value), header.value, header.n_value) != 0)
            return false;
    }
    if (n_headers != json_object_size(headers) ||
        msg->prio != (unsigned int)json_integer_value(json_object_get(object, "prio")))
        return false;
    if (base64)
        return is_base64_of(json_string_value(base64), json_string_length(base64), msg);
    return msg->size_bytes == json_string_length(text) &&
           (!text || memcmp(msg->data, json_string_value(text), msg->size_bytes) == 0);
}

/* Return: is the line taken? */
static bool agrees(const char *line, size_t n)
{
    json_t *object = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    char *exact = malloc(n);
    struct msg *msg = NULL;
    bool is_taken;
    int r;

    memcpy(exact, line, n);
    r = json_line_parse(exact, n, sender, &msg);
    free(exact);
    is_taken = object && is_good(object);
    cr_assert_eq(r, is_taken ? 0 : -EINVAL, "%.*s: %d", (int)n, line, r);
    if (is_taken)
        cr_assert(says_the_same(msg, object), "%.*s", (int)n, line);
    msg_unref(msg);
    json_decref(object);
    return is_taken;
}

Test(json_line, what_is_right_is_taken_and_says_what_jansson_says)
{
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
        cr_assert(agrees(lines[i], strlen(lines[i])), "%s", lines[i]);
}

/* Each byte of each line is replaced by each that means something, taken out, and doubled; and each line is cut at each byte. */
Test(json_line, what_is_nearly_right_is_judged_as_jansson_does)
{
    static const char bytes[] =
        "{}[]\":,\\/u0189aefnrtAE+-. =\r\x01\x1f\x7f\x80\xbf\xc0\xc3\xe0\xed\xf0\xf4\xff";
    char line[256];

    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        size_t n = strlen(lines[i]);

        for (size_t at = 0; at < n; at++) {
            agrees(lines[i], at);
            for (size_t k = 0; k < sizeof(bytes) - 1; k++) {
                memcpy(line, lines[i], n);
                line[at] = bytes[k];
                agrees(line, n);
                memcpy(line + at + 1, lines[i] + at, n - at);
                agrees(line, n + 1);
            }
            memcpy(line, lines[i], at);
            memcpy(line + at, lines[i] + at + 1, n - at - 1);
            agrees(line, n - 1);
        }
    }
}

Test(json_line, members_and_headers_stand_once)
{
    static const char *const twice[] = {
        "{\"text\":\"a\",\"text\":\"a\"}",
        "{\"text\":\"a\",\"base64\":\"\"}",
        "{\"prio\":1,\"pr\\u0069o\":1}",
        "{\"headers\":{},\"headers\":{}}",
        "{\"headers\":{\"a\":\"1\",\"b\":\"2\",\"\\u0061\":\"1\"}}",
        "{\"prio\":1.0}",
        "{\"prio\":1e0}",
        "{\"prio\":32}",
        "{\"prio\":-1}",
        "{\"prio\":01}",
        "{\"prio\":9223372036854775808}",
        "{\"prio\":-9223372036854775809}",
        "{\"prio\":true}",
        "{\"text\":null}",
        "{\"text\":\"\\ud800\"}",
        "{\"text\":\"\\udc00\"}",
        "{\"text\":\"\\ud800\\u0041\"}",
        "{\"headers\":{\"a\":{}}}",
        "{\"headers\":[]}",
        "[]",
        "\"text\"",
        "{} {}",
    };

    for (size_t i = 0; i < sizeof(twice) / sizeof(*twice); i++)
        cr_assert(!agrees(twice[i], strlen(twice[i])), "%s", twice[i]);
}

/* jansson passes over a NUL behind a number. */
Test(json_line, a_nul_is_no_white_space)
{
    static const char line[] = "{\"prio\":7\0}";
    struct msg *msg;

    cr_assert_eq(json_line_parse(line, sizeof(line) - 1, sender, &msg), -EINVAL);
}

/* 4,096 bytes of names and values are taken, one more is not; and none twice, however many there are. */
Test(json_line, headers_have_their_bound)
{
    char *line = malloc(65536);
    size_t n = (size_t)sprintf(line, "{\"headers\":{\"a\":\"");

    memset(line + n, 'v', 4096);
    strcpy(line + n + 4095, "\"}}");
    cr_assert(agrees(line, strlen(line)));
    strcpy(line + n + 4096, "\"}}");
    line[n + 4095] = 'v';
    cr_assert(!agrees(line, strlen(line)));

    n = (size_t)sprintf(line, "{\"headers\":{");
    for (int i = 0; i < 1000; i++)
        n += (size_t)sprintf(line + n, "\"%03d\":\"\",", i);
    strcpy(line + n - 1, "}}");
    cr_assert(agrees(line, strlen(line)));
    strcpy(line + n, "\"500\":\"\"}}");
    line[n - 1] = ',';
    cr_assert(!agrees(line, strlen(line)));
    free(line);
}
