#include "size.h"

#include <errno.h>

int count_parse(const char *text, size_t n, uint64_t *ret_count)
{
    uint64_t value = 0;

    if (n == 0)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
            return -EINVAL;
    }
    *ret_count = value;
    return 0;
}

/* Return: the power of two that a suffix stands for; 0 for what is no suffix. */
static unsigned int suffix_shift(char c)
{
    switch (c) {
    case 'k':
    case 'K':
        return 10;
    case 'm':
    case 'M':
        return 20;
    case 'g':
    case 'G':
        return 30;
    default:
        return 0;
    }
}

int size_parse(const char *text, size_t n, uint64_t *ret_bytes)
{
    unsigned int shift = n > 0 ? suffix_shift(text[n - 1]) : 0;
    uint64_t value;
    int r;

    r = count_parse(text, shift ? n - 1 : n, &value);
    if (r < 0)
        return r;
    if (value > UINT64_MAX >> shift)
        return -EINVAL;
    *ret_bytes = value << shift;
    return 0;
}
