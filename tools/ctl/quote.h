/* Names as a person may read them and a shell takes them back: on one line, without anything that
 * moves a terminal's cursor, in quotes where a shell needs them; and names as JSON.
 *
 * A name is any bytes but NUL and '/'. What counts as printable is the locale's to say: main() sets
 * LC_CTYPE. */
#ifndef IPCFS_TOOLS_CTL_QUOTE_H
#define IPCFS_TOOLS_CTL_QUOTE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* As a word for a shell: plain, 'with quotes', or $'with\nescapes'. @always: in quotes also where a
 * shell needs none. Return: the caller's to free. */
char *quote(const char *name, bool always);

/* The same for @n_bytes of any kind, always in quotes. */
char *quote_bytes(const char *bytes, size_t n_bytes);

/* How many columns of a terminal @text takes, which holds only what quote() leaves. */
size_t quote_width(const char *text);

/* Return: such a text made @n_columns wide, with spaces after it, or cut and ~ at its end; the caller's to
 * free. */
char *quote_fit(const char *text, size_t n_columns);

/* Sets @key in @object to @n_bytes bytes: a string if they are valid UTF-8, else in base64 under the
 * name @base64_key. */
void quote_json(json_t *object, const char *key, const char *base64_key, const char *bytes,
                size_t n_bytes);

/* Sets @key in @object to @name. One that is not valid UTF-8 has U+FFFD for what is not, and is whole
 * in base64 under @base64_key. */
void quote_json_name(json_t *object, const char *key, const char *base64_key, const char *name);

#endif
