/* ASCII is passed eight bytes at a time; what is left is judged by the first byte of each character and what its
 * second may be. */
#include "utf8.h"

#include <stdint.h>
#include <string.h>

#define NOT_ASCII UINT64_C(0x8080808080808080)

/* Return: how many of the bytes come before the first that is not ASCII, or a few less. */
static size_t skip_ascii(const unsigned char *data, size_t n)
{
    size_t i = 0;
    uint64_t word;

    for (; n - i >= sizeof(word); i += sizeof(word)) {
        memcpy(&word, data + i, sizeof(word));
        if (word & NOT_ASCII)
            break;
    }
    return i;
}

/* Return: how many bytes a character has that starts with @first; 0: none does. *ret_min and *ret_max are what its
 * second byte may be: what is in between leaves out what is longer than need be, surrogates, and what
 * is beyond U+10FFFF. */
static size_t length_of(unsigned char first, unsigned char *ret_min, unsigned char *ret_max)
{
    *ret_min = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    *ret_max = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (first < 0x80)
        return 1;
    if (first < 0xc2)
        return 0;
    if (first < 0xe0)
        return 2;
    if (first < 0xf0)
        return 3;
    return first < 0xf5 ? 4 : 0;
}

/* Return: the length of the first character of @data, which has @n bytes; 0: it is not valid. */
static size_t check_one(const unsigned char *data, size_t n)
{
    unsigned char min;
    unsigned char max;
    size_t length = length_of(data[0], &min, &max);

    if (length == 0 || length > n)
        return 0;
    if (length > 1 && (data[1] < min || data[1] > max))
        return 0;
    for (size_t i = 2; i < length; i++) {
        if ((data[i] & 0xc0) != 0x80)
            return 0;
    }
    return length;
}

bool utf8_check(const unsigned char *data, size_t n, size_t n_enough, size_t *ret_n)
{
    size_t n_end = n < n_enough ? n : n_enough;
    size_t i = 0;

    while (i < n_end) {
        size_t length;

        i += skip_ascii(data + i, n_end - i);
        if (i == n_end)
            break;
        length = check_one(data + i, n - i);
        if (length == 0)
            return false;
        i += length;
    }
    *ret_n = i;
    return true;
}
