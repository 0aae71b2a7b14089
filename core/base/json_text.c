/* A string's end is looked for eight bytes at a time; then its UTF-8 is judged, for which escapes are ASCII like the rest. So a
 * long text that has none is passed over twice and copied once. */
#include "json_text.h"

#include <string.h>

#include "utf8.h"

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

static void skip_space(struct json_at *json)
{
    while (json->at < json->end &&
           (*json->at == ' ' || *json->at == '\t' || *json->at == '\n' || *json->at == '\r'))
        json->at++;
}

bool json_at_take(struct json_at *json, char c)
{
    skip_space(json);
    if (json->at == json->end || *json->at != c)
        return false;
    json->at++;
    return true;
}

bool json_at_end(struct json_at *json)
{
    skip_space(json);
    return json->at == json->end;
}

/* --- strings --- */

/* Return: not 0 if @word has a zero byte. */
static uint64_t zero_in(uint64_t word)
{
    return (word - ONES) & ~word & HIGHS;
}

static bool is_plain(unsigned char c)
{
    return c >= ' ' && c != '"' && c != '\\';
}

size_t json_plain(const char *data, size_t n)
{
    size_t i = 0;
    uint64_t word;

    for (; n - i >= sizeof(word); i += sizeof(word)) {
        memcpy(&word, data + i, sizeof(word));
        if (((word - ONES * ' ') & ~word & HIGHS) | zero_in(word ^ ONES * '"') |
            zero_in(word ^ ONES * '\\'))
            break;
    }
    while (i < n && is_plain((unsigned char)data[i]))
        i++;
    return i;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Reads \uXXXX at @from. Return: its number; -1: it is none. */
static int32_t utf16_unit(const char *from, const char *end)
{
    int32_t unit = 0;

    if (end - from < 6 || from[0] != '\\' || from[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(from[i]);

        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* Reads the escape of a character by its number, one or a pair. Return: how long it is; 0: it is none. */
static size_t read_number(const char *from, const char *end, uint32_t *ret_character)
{
    int32_t first = utf16_unit(from, end);
    int32_t second;

    if (first < 0 || (first >= 0xdc00 && first < 0xe000))
        return 0;
    if (first < 0xd800 || first >= 0xe000) {
        *ret_character = (uint32_t)first;
        return 6;
    }
    second = utf16_unit(from + 6, end);
    if (second < 0xdc00 || second >= 0xe000)
        return 0;
    *ret_character = 0x10000 + ((uint32_t)(first - 0xd800) << 10 | (uint32_t)(second - 0xdc00));
    return 12;
}

/* Reads the escape at @from. Return: how long it is; 0: it is none. */
static size_t read_escape(const char *from, const char *end, uint32_t *ret_character)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    const char *letter;

    if (end - from < 2)
        return 0;
    if (from[1] == 'u')
        return read_number(from, end, ret_character);
    letter = memchr(letters, from[1], sizeof(letters) - 1);
    if (!letter)
        return 0;
    *ret_character = (uint32_t)meanings[letter - letters];
    return 2;
}

/* Writes @character at @to, where that is not NULL. Return: how many bytes it has. */
static size_t put_character(uint32_t character, char *to)
{
    static const unsigned char firsts[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    size_t n = character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;

    for (size_t i = n; to && i-- > 1; character >>= 6)
        to[i] = (char)(0x80 | (character & 0x3f));
    if (to)
        to[0] = (char)(firsts[n > 1 ? n : 0] | character);
    return n;
}

bool json_at_string(struct json_at *json, struct json_text *ret)
{
    struct json_text text = { 0 };
    const char *at;
    size_t n_judged;

    if (!json_at_take(json, '"'))
        return false;
    text.raw = at = json->at;
    for (;;) {
        size_t n = json_plain(at, (size_t)(json->end - at));
        uint32_t character;

        at += n;
        text.n += n;
        if (at == json->end || *at == '"')
            break;
        n = *at == '\\' ? read_escape(at, json->end, &character) : 0;
        if (n == 0)
            return false;
        at += n;
        text.n += put_character(character, NULL);
    }
    text.n_raw = (size_t)(at - text.raw);
    if (at == json->end ||
        !utf8_check((const unsigned char *)text.raw, text.n_raw, text.n_raw, &n_judged))
        return false;
    json->at = at + 1;
    *ret = text;
    return true;
}

void json_text_decode(const struct json_text *text, char *to)
{
    const char *at = text->raw;
    const char *end = text->n_raw > 0 ? text->raw + text->n_raw : at;

    while (at < end) {
        size_t n = json_plain(at, (size_t)(end - at));
        uint32_t character = 0;

        memmove(to, at, n);
        at += n;
        to += n;
        if (at == end)
            break;
        /* Valid: json_at_string() has looked. */
        at += read_escape(at, end, &character);
        to += put_character(character, to);
    }
}

bool json_text_is(const struct json_text *text, const char *word)
{
    size_t n = strlen(word);
    const char *at = text->raw;
    const char *end = text->raw + text->n_raw;

    if (text->n != n)
        return false;
    if (text->n_raw == n)
        return memcmp(at, word, n) == 0;
    while (at < end) {
        uint32_t character = (unsigned char)*at;

        at += *at == '\\' ? read_escape(at, end, &character) : 1;
        if (character != (unsigned char)*word++)
            return false;
    }
    return true;
}

size_t json_escape(unsigned char c, char *to)
{
    static const char digits[] = "0123456789ABCDEF";
    static const char characters[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    const char *known = memchr(characters, c, sizeof(characters) - 1);

    to[0] = '\\';
    if (known) {
        to[1] = letters[known - characters];
        return 2;
    }
    to[1] = 'u';
    to[2] = to[3] = '0';
    to[4] = digits[c >> 4];
    to[5] = digits[c & 15];
    return JSON_ESCAPE_MAX;
}

/* --- other values --- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* One that says no integer is refused by what follows it. */
bool json_at_integer(struct json_at *json, int64_t *ret)
{
    bool is_negative = json_at_take(json, '-');
    const char *first;
    int64_t value = 0;

    if (!is_negative)
        skip_space(json);
    first = json->at;
    for (; json->at < json->end && is_digit(*json->at); json->at++) {
        int digit = *json->at - '0';

        if (__builtin_mul_overflow(value, 10, &value) ||
            (is_negative ? __builtin_sub_overflow(value, digit, &value)
                         : __builtin_add_overflow(value, digit, &value)))
            return false;
    }
    if (json->at == first || (*first == '0' && json->at - first > 1))
        return false;
    if (json->at < json->end && (*json->at == '.' || *json->at == 'e' || *json->at == 'E'))
        return false;
    *ret = value;
    return true;
}
