/* The names are the paper's: four words of state, SipRounds, compression, finalization. All words are
 * little-endian, whatever the machine. */
#include "siphash.h"

#include <endian.h>
#include <string.h>

#define COMPRESSION_ROUNDS 2
#define FINALIZATION_ROUNDS 4

struct state {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate_left(uint64_t word, unsigned int n)
{
    return word << n | word >> (64 - n);
}

static uint64_t read_word(const unsigned char *bytes)
{
    uint64_t word;

    memcpy(&word, bytes, sizeof(word));
    return le64toh(word);
}

static void sip_rounds(struct state *s, unsigned int n)
{
    while (n-- > 0) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = rotate_left(s->v1, 13) ^ s->v0;
        s->v3 = rotate_left(s->v3, 16) ^ s->v2;
        s->v0 = rotate_left(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = rotate_left(s->v1, 17) ^ s->v2;
        s->v3 = rotate_left(s->v3, 21) ^ s->v0;
        s->v2 = rotate_left(s->v2, 32);
    }
}

static void compress(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    sip_rounds(s, COMPRESSION_ROUNDS);
    s->v0 ^= word;
}

/* Return: the bytes that fill no word, and the low byte of @size above them. */
static uint64_t last_word(const unsigned char *rest, size_t size)
{
    uint64_t word = (uint64_t)size << 56;

    for (size_t i = 0; i < size % 8; i++)
        word |= (uint64_t)rest[i] << (8 * i);
    return word;
}

uint64_t siphash(const unsigned char key[SIPHASH_KEY_BYTES], const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint64_t k0 = read_word(key);
    uint64_t k1 = read_word(key + 8);
    struct state s = {
        .v0 = k0 ^ UINT64_C(0x736f6d6570736575),
        .v1 = k1 ^ UINT64_C(0x646f72616e646f6d),
        .v2 = k0 ^ UINT64_C(0x6c7967656e657261),
        .v3 = k1 ^ UINT64_C(0x7465646279746573),
    };
    size_t n_whole = size - size % 8;

    for (size_t i = 0; i < n_whole; i += 8)
        compress(&s, read_word(bytes + i));
    compress(&s, last_word(bytes + n_whole, size));
    s.v2 ^= 0xff;
    sip_rounds(&s, FINALIZATION_ROUNDS);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
