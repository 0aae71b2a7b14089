/* A fuzzer's input, read byte by byte; what is behind its end is zero. */
#ifndef IPCFS_TESTS_FUZZ_INPUT_H
#define IPCFS_TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct input {
    const uint8_t *data;
    size_t left;
};

static inline uint8_t input_u8(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->data++;
}

static inline uint32_t input_u32(struct input *input)
{
    uint32_t value = 0;

    for (unsigned int i = 0; i < 4; i++)
        value |= (uint32_t)input_u8(input) << 8 * i;
    return value;
}

/* A property that does not hold ends the run, and the fuzzer keeps the input. */
#define HOLDS(property)                                                                            \
    do {                                                                                           \
        if (!(property)) {                                                                         \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #property);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
