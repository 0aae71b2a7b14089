/* JSON (RFC 8259) that is read where it stands, without making a tree of it.
 *
 * A reader goes through a text whose shape its caller knows. Whatever is not as the caller expects is refused: after that the reader
 * stands anywhere. Strings are valid UTF-8 and have valid escapes, or are refused; their bytes are made of them
 * when they are wanted.
 *
 * Context: any thread; nothing but the arguments is touched. */
#ifndef IPCFS_CORE_JSON_TEXT_H
#define IPCFS_CORE_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a reader stands. */
struct json_at {
    const char *at;
    const char *end;
};

/* A string as it stands in the text, between its quotation marks. */
struct json_text {
    const char *raw;
    size_t n_raw;
    size_t n; /* bytes that it says; n_raw if it has no escape */
};

/* Room for the escape of any byte. */
#define JSON_ESCAPE_MAX 6

/* Passes white space, and @c if that comes next. Return: whether it does. */
bool json_at_take(struct json_at *json, char c);

/* Return: whether nothing but white space is left. */
bool json_at_end(struct json_at *json);

/* Reads a string. Return: whether there is a valid one, which is in *@ret then. */
bool json_at_string(struct json_at *json, struct json_text *ret);

/* Reads a number. Return: whether there is one that is an integer and fits. */
bool json_at_integer(struct json_at *json, int64_t *ret);

/* Writes the text->n bytes that a string says; @to may be where it stands. */
void json_text_decode(const struct json_text *text, char *to);

/* Return: whether a string says @word. */
bool json_text_is(const struct json_text *text, const char *word);

/* Return: how many of the first @n bytes at @data stand in a string as they are. */
size_t json_plain(const char *data, size_t n);

/* Writes the escape of @c at @to. Return: how many bytes that has, JSON_ESCAPE_MAX at most. */
size_t json_escape(unsigned char c, char *to);

#endif
