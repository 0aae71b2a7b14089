#include "quote.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include "util.h"

/* What U+FFFD is in UTF-8. */
#define REPLACEMENT "\xef\xbf\xbd"

/* Which characters have a meaning to some shell. */
static const char special[] = " !\"#$&'()*;<=>?[\\]^`{|}~";

/* Invisible, though the C library calls them printable: they turn the direction of what follows, or
 * make two names look the same. */
static bool is_hidden(wchar_t c)
{
    return (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || c == 0xad || c == 0x61c;
}

/* Return: the length of the printable character at @bytes; 0: it is none. */
static size_t printable(const char *bytes, size_t n_bytes)
{
    mbstate_t state = { 0 };
    wchar_t c;
    size_t n = mbrtowc(&c, bytes, n_bytes, &state);

    if (n == 0 || n > n_bytes || !iswprint((wint_t)c) || is_hidden(c))
        return 0;
    return n;
}

static bool all_printable(const char *bytes, size_t n_bytes)
{
    while (n_bytes > 0) {
        size_t n = printable(bytes, n_bytes);

        if (n == 0)
            return false;
        bytes += n;
        n_bytes -= n;
    }
    return true;
}

static char *escape(char *to, unsigned char c)
{
    static const char letters[] = "\aa\bb\tt\nn\vv\ff\rr\033e\\\\''";
    const char *letter = NULL;

    for (const char *l = letters; *l && !letter; l += 2) {
        if ((unsigned char)*l == c)
            letter = l + 1;
    }
    if (letter)
        return to + sprintf(to, "\\%c", *letter);
    return to + sprintf(to, "\\%03o", c);
}

/* $'...': of bash, zsh, ksh, and POSIX since 2024. */
static char *quote_escaped(const char *bytes, size_t n_bytes)
{
    char *text = xrealloc(NULL, 4 * n_bytes + 4, 1);
    char *end = stpcpy(text, "$'");

    while (n_bytes > 0) {
        size_t n = *bytes == '\'' || *bytes == '\\' ? 0 : printable(bytes, n_bytes);

        if (n > 0)
            end = mempcpy(end, bytes, n);
        else
            end = escape(end, (unsigned char)*bytes);
        n = n ? n : 1;
        bytes += n;
        n_bytes -= n;
    }
    stpcpy(end, "'");
    return text;
}

char *quote_bytes(const char *bytes, size_t n_bytes)
{
    char *text;

    if (memchr(bytes, '\'', n_bytes) || !all_printable(bytes, n_bytes))
        return quote_escaped(bytes, n_bytes);
    text = xrealloc(NULL, n_bytes + 3, 1);
    stpcpy(mempcpy(stpcpy(text, "'"), bytes, n_bytes), "'");
    return text;
}

char *quote(const char *name, bool always)
{
    size_t n_bytes = strlen(name);

    if (!always && n_bytes > 0 && !strpbrk(name, special) && all_printable(name, n_bytes))
        return xstrdup(name);
    return quote_bytes(name, n_bytes);
}

/* Return: the columns of the character at @text; *@ret_n_bytes is its length. */
static size_t character_width(const char *text, size_t *ret_n_bytes)
{
    mbstate_t state = { 0 };
    wchar_t c;
    size_t n = mbrtowc(&c, text, MB_LEN_MAX, &state);
    int columns = 1;

    if (n == 0 || n > MB_LEN_MAX)
        n = 1;
    else
        columns = wcwidth(c);
    *ret_n_bytes = n;
    return columns > 0 ? (size_t)columns : 0;
}

size_t quote_width(const char *text)
{
    size_t width = 0;

    while (*text) {
        size_t n;

        width += character_width(text, &n);
        text += n;
    }
    return width;
}

char *quote_fit(const char *text, size_t n_columns)
{
    bool is_cut = quote_width(text) > n_columns;
    size_t room = n_columns - (is_cut && n_columns > 0);
    char *fitting = xrealloc(NULL, strlen(text) + n_columns + 1, 1);
    char *end = fitting;
    size_t width = 0;

    while (*text) {
        size_t n;
        size_t columns = character_width(text, &n);

        if (width + columns > room)
            break;
        end = mempcpy(end, text, n);
        width += columns;
        text += n;
    }
    if (is_cut && n_columns > 0) {
        *end++ = '~';
        width++;
    }
    while (width++ < n_columns)
        *end++ = ' ';
    *end = '\0';
    return fitting;
}

static char *base64(const char *bytes, size_t n_bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = xrealloc(NULL, (n_bytes + 2) / 3 * 4 + 1, 1);
    char *end = text;

    for (size_t i = 0; i < n_bytes; i += 3) {
        size_t n = n_bytes - i < 3 ? n_bytes - i : 3;
        uint32_t group = 0;

        for (size_t k = 0; k < 3; k++)
            group = group << 8 | (k < n ? (unsigned char)bytes[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            *end++ = k <= n ? digits[group >> (18 - 6 * k) & 63] : '=';
    }
    *end = '\0';
    return text;
}

void quote_json(json_t *object, const char *key, const char *base64_key, const char *bytes,
                size_t n_bytes)
{
    AUTO_FREE char *encoded = NULL;
    json_t *string = json_stringn(bytes, n_bytes);

    if (string) {
        json_object_set_new(object, key, string);
        return;
    }
    encoded = base64(bytes, n_bytes);
    json_object_set_new(object, base64_key, json_string(encoded));
}

/* Return: how many bytes at @text are valid UTF-8. jansson knows what is. */
static size_t valid_length(const char *text, size_t n_bytes)
{
    for (size_t n = n_bytes < 4 ? n_bytes : 4; n > 0; n--) {
        json_t *string = json_stringn(text, n);

        json_decref(string);
        if (string)
            return n;
    }
    return 0;
}

void quote_json_name(json_t *object, const char *key, const char *base64_key, const char *name)
{
    AUTO_FREE char *readable = NULL;
    size_t n_bytes = strlen(name);
    char *end;

    quote_json(object, key, base64_key, name, n_bytes);
    if (json_object_get(object, key))
        return;
    readable = end = xrealloc(NULL, strlen(REPLACEMENT) * n_bytes + 1, 1);
    while (n_bytes > 0) {
        size_t n = valid_length(name, n_bytes);

        end = n > 0 ? mempcpy(end, name, n) : mempcpy(end, REPLACEMENT, strlen(REPLACEMENT));
        n = n ? n : 1;
        name += n;
        n_bytes -= n;
    }
    *end = '\0';
    json_object_set_new(object, key, json_string(readable));
}
