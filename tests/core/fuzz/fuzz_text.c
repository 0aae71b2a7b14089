/* What users write as text: limits, sizes, counts. The first byte chooses. */
#include <string.h>

#include "core/mailbox/limits.h"
#include "core/base/size.h"
#include "input.h"

static void try_limits(const char *text, size_t n)
{
    struct mbox_limits limits = MBOX_LIMITS_DEFAULT;
    struct mbox_limits again = MBOX_LIMITS_DEFAULT;
    const struct mbox_limits before = limits;
    char formatted[MBOX_LIMITS_TEXT_MAX];
    size_t length;

    if (mbox_limits_parse(&limits, text, n) < 0) {
        HOLDS(memcmp(&limits, &before, sizeof(limits)) == 0);
        return;
    }
    HOLDS(limits.message_bytes > 0 && limits.message_bytes <= MBOX_MESSAGE_BYTES_MAX);
    length = mbox_limits_format(&limits, formatted);
    HOLDS(length < sizeof(formatted) && formatted[length] == '\0');
    /* What it says, it takes. */
    HOLDS(mbox_limits_parse(&again, formatted, length) == 0);
    HOLDS(again.messages == limits.messages && again.bytes == limits.bytes &&
          again.message_bytes == limits.message_bytes && again.overflow == limits.overflow);
}

static void try_number(int (*parse)(const char *text, size_t n, uint64_t *ret), const char *text,
                       size_t n)
{
    uint64_t value = 4242;
    uint64_t again;
    char formatted[24];

    if (parse(text, n, &value) < 0) {
        HOLDS(value == 4242);
        return;
    }
    snprintf(formatted, sizeof(formatted), "%llu", (unsigned long long)value);
    HOLDS(parse(formatted, strlen(formatted), &again) == 0 && again == value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    unsigned int which = input_u8(&input);
    /* Just as long as it is, so that a sanitizer sees a read beyond. */
    char *text = malloc(input.left);

    if (input.left > 0)
        memcpy(text, input.data, input.left);
    switch (which % 3) {
    case 0:
        try_limits(text, input.left);
        break;
    case 1:
        try_number(size_parse, text, input.left);
        break;
    default:
        try_number(count_parse, text, input.left);
        break;
    }
    free(text);
    return 0;
}
