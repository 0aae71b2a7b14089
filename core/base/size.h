/* Sizes and counts as people write them.
 *
 * Context: any thread; nothing but the arguments is touched. */
#ifndef IPCFS_CORE_SIZE_H
#define IPCFS_CORE_SIZE_H

#include <stddef.h>
#include <stdint.h>

/* Reads a whole number of bytes: decimal digits, then nothing or one of K, M, G (powers of 1024,
 * either case). @text need not end in NUL.
 * Return: 0; -EINVAL when it is not one, or does not fit 64 bits. *ret_bytes is written on 0 only. */
int size_parse(const char *text, size_t n, uint64_t *ret_bytes);

/* Reads decimal digits and nothing else. Return: as size_parse. */
int count_parse(const char *text, size_t n, uint64_t *ret_count);

#endif
