/* What is valid UTF-8 (RFC 3629).
 *
 * Context: any thread; nothing but the arguments is touched. */
#ifndef IPCFS_CORE_UTF8_H
#define IPCFS_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Looks at the @n bytes at @data, character by character, until it has seen @n_enough bytes or more, or all.
 * Return: whether all it has seen is valid; then *ret_n is how many bytes that were. */
bool utf8_check(const unsigned char *data, size_t n, size_t n_enough, size_t *ret_n);

#endif
