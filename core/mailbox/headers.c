/* Lengths stand before the texts, so that a value may have any bytes, and a block can be written elsewhere and read
 * again as it is. */
#include "headers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The two lengths of one header. */
#define LENGTHS_BYTES 3

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

static bool is_name(const char *name, size_t n)
{
    if (n == 0 || n > HEADERS_NAME_MAX)
        return false;
    while (n > 0 && is_name_byte(name[n - 1]))
        n--;
    return n == 0;
}

static size_t text_bytes(const struct headers *headers)
{
    return headers ? headers->n_text_bytes : 0;
}

static size_t data_bytes(const struct headers *headers)
{
    return headers ? headers->size_bytes : 0;
}

static void headers_put(unsigned char *to, const char *name, size_t n_name, const char *value,
                        size_t n_value)
{
    to[0] = (unsigned char)n_name;
    to[1] = (unsigned char)(n_value >> 8);
    to[2] = (unsigned char)n_value;
    memcpy(to + LENGTHS_BYTES, name, n_name);
    if (n_value > 0)
        memcpy(to + LENGTHS_BYTES + n_name, value, n_value);
}

int headers_add(struct headers **headers, const char *name, size_t n_name, const char *value,
                size_t n_value)
{
    size_t n_text = text_bytes(*headers);
    size_t n_data = data_bytes(*headers);
    struct headers *grown;

    if (!is_name(name, n_name) || n_value > HEADERS_BYTES_MAX - n_name ||
        n_text > HEADERS_BYTES_MAX - n_name - n_value)
        return -EINVAL;
    grown = realloc(*headers, sizeof(*grown) + n_data + LENGTHS_BYTES + n_name + n_value);
    if (!grown)
        return -ENOMEM;
    headers_put(grown->data + n_data, name, n_name, value, n_value);
    grown->size_bytes = n_data + LENGTHS_BYTES + n_name + n_value;
    grown->n_text_bytes = n_text + n_name + n_value;
    *headers = grown;
    return 0;
}

struct headers *headers_copy(const struct headers *headers)
{
    size_t size = headers ? sizeof(*headers) + headers->size_bytes : 0;
    struct headers *copy = headers ? malloc(size) : NULL;

    if (copy)
        memcpy(copy, headers, size);
    return copy;
}

bool headers_next(const struct headers *headers, size_t *at, struct header *ret_header)
{
    const unsigned char *from;

    if (*at >= data_bytes(headers))
        return false;
    from = headers->data + *at;
    ret_header->n_name = from[0];
    ret_header->n_value = (size_t)from[1] << 8 | from[2];
    ret_header->name = (const char *)from + LENGTHS_BYTES;
    ret_header->value = ret_header->name + ret_header->n_name;
    *at += LENGTHS_BYTES + ret_header->n_name + ret_header->n_value;
    return true;
}

static bool header_is_called(const struct header *header, const char *name, size_t n_name)
{
    return header->n_name == n_name && memcmp(header->name, name, n_name) == 0;
}

bool headers_find(const struct headers *headers, const char *name, size_t n_name,
                  struct header *ret_header)
{
    struct header header;
    size_t at = 0;

    while (headers_next(headers, &at, &header)) {
        if (header_is_called(&header, name, n_name)) {
            *ret_header = header;
            return true;
        }
    }
    return false;
}

int headers_with(const struct headers *headers, const char *name, const char *value,
                 struct headers **ret_copy)
{
    struct headers *copy = NULL;
    size_t n_name = strlen(name);
    struct header header;
    size_t at = 0;
    int r = headers_add(&copy, name, n_name, value, strlen(value));

    while (r == 0 && headers_next(headers, &at, &header)) {
        if (!header_is_called(&header, name, n_name))
            r = headers_add(&copy, header.name, header.n_name, header.value, header.n_value);
    }
    if (r == 0)
        *ret_copy = copy;
    else
        free(copy);
    return r;
}

size_t headers_charge_bytes(const struct headers *headers)
{
    return headers ? sizeof(*headers) + headers->size_bytes : 0;
}
