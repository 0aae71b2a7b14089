/* As ipcfs(5) has them. The mount has the last word: what is right by these rules it may still refuse. */
#include "rules.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* core/lib/ring_abi.h has the same. */
#define SLOTS_MAX (1 << 24)
#define SLOT_BYTES_MAX (1 << 20)
#define MESSAGE_BYTES_MAX 1044480

static bool parse_count(const char *value, uint64_t *ret)
{
    errno = 0;
    if (!*value || value[strspn(value, "0123456789")])
        return false;
    *ret = strtoull(value, NULL, 10);
    return errno == 0;
}

/* Sizes take K, M and G. */
static bool rules_parse_size(const char *value, uint64_t *ret)
{
    static const char letters[] = "KMGkmg";
    char digits[32];
    size_t n = strspn(value, "0123456789");
    const char *letter = value[n] ? strchr(letters, value[n]) : NULL;
    unsigned int shift = letter ? 10 * ((unsigned int)(letter - letters) % 3 + 1) : 0;

    if (n == 0 || n >= sizeof(digits) || (value[n] && (!letter || value[n + 1])))
        return false;
    memcpy(digits, value, n);
    digits[n] = '\0';
    if (!parse_count(digits, ret) || *ret > UINT64_MAX >> shift)
        return false;
    *ret <<= shift;
    return true;
}

static bool is_word(const char *value, const char *const *words)
{
    while (*words && strcmp(value, *words) != 0)
        words++;
    return *words != NULL;
}

static bool is_count(const char *value)
{
    uint64_t n;

    return parse_count(value, &n);
}

static bool is_count_or_max(const char *value)
{
    return is_count(value) || strcmp(value, "max") == 0;
}

static bool is_bytes(const char *value)
{
    uint64_t n;

    return rules_parse_size(value, &n) && n > 0;
}

static bool is_message_bytes(const char *value)
{
    uint64_t n;

    return rules_parse_size(value, &n) && n > 0 && n <= MESSAGE_BYTES_MAX;
}

static bool is_slots(const char *value)
{
    uint64_t n;

    return parse_count(value, &n) && n >= 2 && n <= SLOTS_MAX && (n & (n - 1)) == 0;
}

static bool is_slot_bytes(const char *value)
{
    uint64_t n;

    return rules_parse_size(value, &n) && n >= 16 && n <= SLOT_BYTES_MAX && n % 8 == 0;
}

static bool is_overflow(const char *value)
{
    return is_word(value, (const char *const[]){ "block", "reject", "drop-oldest", NULL });
}

static bool is_producers(const char *value)
{
    return is_word(value, (const char *const[]){ "many", "one", NULL });
}

static bool is_consumers(const char *value)
{
    return is_word(value, (const char *const[]){ "many", "one", "each", NULL });
}

static bool is_seconds(const char *value)
{
    size_t n = strspn(value, "0123456789");

    if (value[n] == '.')
        n += 1 + strspn(value + n + 1, "0123456789");
    return *value && !value[n] && strcmp(value, ".") != 0;
}

static bool rules_is_durable(const char *value)
{
    return is_word(value, (const char *const[]){ "no", "daemon", "disk", NULL });
}

static const struct rule {
    const char *key;
    bool (*holds)(const char *value);
    const char *what;
} rules[] = {
    { "messages", is_count_or_max, "a number, 0 for a rendezvous, or max" },
    { "bytes", is_bytes, "a number of bytes, perhaps with K, M or G, and not 0" },
    { "message_bytes", is_message_bytes, "a number of bytes from 1 to 1044480" },
    { "overflow", is_overflow, "block, reject or drop-oldest" },
    { "ttl", is_seconds, "a number of seconds, with a fraction perhaps, or 0" },
    { "attempts", is_count, "a number, or 0 for no bound" },
    { "history", is_count, "a number of messages" },
    { "durable", rules_is_durable, "daemon, disk or no; but for no only where ipcfs has a store" },
    { "slots", is_slots, "a power of two from 2 to 16777216" },
    { "slot_bytes", is_slot_bytes, "a multiple of 8 from 16 to 1048576" },
    { "producers", is_producers, "many or one" },
    { "consumers", is_consumers, "many, one or each" },
};

const char *rules_broken(const char *key, const char *value)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (strcmp(rules[i].key, key) == 0)
            return rules[i].holds(value) ? NULL : rules[i].what;
    }
    return NULL;
}
