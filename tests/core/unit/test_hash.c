#include "core/base/hash.h"

#include <criterion/criterion.h>
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/base/siphash.h"

/* SipHash-2-4 of the first n bytes of 00 01 02 ... under the key 00 01 ... 0f: 15 bytes as the paper's
 * appendix A has it, the others as in the list that its authors publish. */
static const struct {
    size_t size;
    unsigned char hash[8];
} vectors[] = {
    { 0, { 0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72 } },
    { 1, { 0xfd, 0x67, 0xdc, 0x93, 0xc5, 0x39, 0xf8, 0x74 } },
    { 2, { 0x5a, 0x4f, 0xa9, 0xd9, 0x09, 0x80, 0x6c, 0x0d } },
    { 3, { 0x2d, 0x7e, 0xfb, 0xd7, 0x96, 0x66, 0x67, 0x85 } },
    { 4, { 0xb7, 0x87, 0x71, 0x27, 0xe0, 0x94, 0x27, 0xcf } },
    { 5, { 0x8d, 0xa6, 0x99, 0xcd, 0x64, 0x55, 0x76, 0x18 } },
    { 6, { 0xce, 0xe3, 0xfe, 0x58, 0x6e, 0x46, 0xc9, 0xcb } },
    { 7, { 0x37, 0xd1, 0x01, 0x8b, 0xf5, 0x00, 0x02, 0xab } },
    { 15, { 0xe5, 0x45, 0xbe, 0x49, 0x61, 0xca, 0x29, 0xa1 } },
};

#define N_VECTORS (sizeof(vectors) / sizeof(vectors[0]))

Test(hash, siphash_gives_the_published_values)
{
    unsigned char bytes[16];
    uint64_t hash;

    for (unsigned int i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)i;
    for (size_t i = 0; i < N_VECTORS; i++) {
        hash = htole64(siphash(bytes, bytes, vectors[i].size));
        cr_assert_arr_eq(&hash, vectors[i].hash, sizeof(hash), "of %zu bytes", vectors[i].size);
    }
}

/* What uthash does where nobody sets another function: anybody can compute it. */
static bool is_chosen(const char *name)
{
    unsigned int hash;

    HASH_JEN(name, strlen(name), hash);
    return hash % 4096 == 0;
}

static size_t largest_bucket(const UT_hash_table *table)
{
    size_t largest = 0;

    for (size_t i = 0; i < table->num_buckets; i++) {
        if (table->buckets[i].count > largest)
            largest = table->buckets[i].count;
    }
    return largest;
}

struct element {
    char name[16];
    UT_hash_handle hh;
};

Test(hash, names_can_not_be_chosen_to_fall_together)
{
    enum { N = 500 };
    static struct element elements[N];
    struct element *table = NULL;
    unsigned int serial = 0;

    for (unsigned int i = 0; i < N; i++) {
        do {
            snprintf(elements[i].name, sizeof(elements[i].name), "box%u", serial++);
        } while (!is_chosen(elements[i].name));
        HASH_ADD_STR(table, name, &elements[i]);
    }
    cr_assert_leq(largest_bucket(table->hh.tbl), 20);
    HASH_CLEAR(hh, table);
}
