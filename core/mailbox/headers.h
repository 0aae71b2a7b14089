/* The headers of a message: names and values that its sender gave it.
 *
 * They are one block, made once and owned by the message (msg.h), whose bytes they count with. Nobody changes a block
 * that others can see: who wants one header more makes another block.
 *
 * Context: any thread; a block that is being built is its builder's alone. */
#ifndef IPCFS_CORE_HEADERS_H
#define IPCFS_CORE_HEADERS_H

#include <stdbool.h>
#include <stddef.h>

/* A name is 1 to so many of a-z, 0-9 and '-'. */
#define HEADERS_NAME_MAX 64

/* All names and values together. */
#define HEADERS_BYTES_MAX 4096

struct headers {
    size_t size_bytes;   /* of data */
    size_t n_text_bytes; /* of names and values */
    unsigned char
        data[]; /* each: the name's length (1 byte), the value's (2, big end first), name, value */
};

/* One of them, in its block's memory; neither text ends with NUL. */
struct header {
    const char *name;
    size_t n_name;
    const char *value;
    size_t n_value;
};

/* Adds a header to *@headers, which may be NULL; the block may move. A value is any bytes. That the name is not there
 * yet is the caller's to know.
 * Return: 0; -EINVAL: no such name can be, or it is more than there may be in all; -ENOMEM. Nothing has changed then. */
int headers_add(struct headers **headers, const char *name, size_t n_name, const char *value,
                size_t n_value);

/* Makes a copy of @headers, which may be NULL, in which @name has @value. Return: as headers_add. */
int headers_with(const struct headers *headers, const char *name, const char *value,
                 struct headers **ret_copy);

/* Return: a copy of @headers; NULL for NULL, or when memory is short. */
struct headers *headers_copy(const struct headers *headers);

/* Goes through them: *@at is 0 at first. Return: whether there was one more, which is in *ret_header then. */
bool headers_next(const struct headers *headers, size_t *at, struct header *ret_header);

/* Return: whether there is @name, of @n_name bytes, which is in *ret_header then. @headers may be NULL. */
bool headers_find(const struct headers *headers, const char *name, size_t n_name,
                  struct header *ret_header);

/* Return: what they take, in bytes; 0 for NULL. */
size_t headers_charge_bytes(const struct headers *headers);

#endif
