#include "limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/settings.h"
#include "core/base/size.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static const char *const overflow_names[] = {
    [MBOX_OVERFLOW_BLOCK] = "block",
    [MBOX_OVERFLOW_REJECT] = "reject",
    [MBOX_OVERFLOW_DROP_OLDEST] = "drop-oldest",
};

static const char *const durable_names[] = {
    [MBOX_DURABLE_NO] = "no",
    [MBOX_DURABLE_DAEMON] = "daemon",
    [MBOX_DURABLE_DISK] = "disk",
};

static int set_messages(void *object, const char *value, size_t n)
{
    struct mbox_limits *limits = object;
    if (settings_equal(value, n, "max")) {
        limits->messages = MBOX_MESSAGES_UNBOUNDED;
        return 0;
    }
    return count_parse(value, n, &limits->messages);
}

int mbox_limits_set_bytes(void *object, const char *value, size_t n)
{
    struct mbox_limits *limits = object;
    int r = size_parse(value, n, &limits->bytes);

    return r == 0 && limits->bytes == 0 ? -EINVAL : r;
}

int mbox_limits_set_message_bytes(void *object, const char *value, size_t n)
{
    struct mbox_limits *limits = object;
    int r = size_parse(value, n, &limits->message_bytes);

    if (r == 0 && (limits->message_bytes == 0 || limits->message_bytes > MBOX_MESSAGE_BYTES_MAX))
        return -EINVAL;
    return r;
}

static int set_overflow(void *object, const char *value, size_t n)
{
    struct mbox_limits *limits = object;
    for (size_t i = 0; i < ARRAY_SIZE(overflow_names); i++) {
        if (settings_equal(value, n, overflow_names[i])) {
            limits->overflow = (enum mbox_overflow)i;
            return 0;
        }
    }
    return -EINVAL;
}

int mbox_limits_set_durable(void *object, const char *value, size_t n)
{
    struct mbox_limits *limits = object;

    for (size_t i = 0; i < ARRAY_SIZE(durable_names); i++) {
        if (settings_equal(value, n, durable_names[i])) {
            limits->durable = (enum mbox_durable)i;
            return 0;
        }
    }
    return -EINVAL;
}

#define NS_PER_S UINT64_C(1000000000)

/* Reads the digits behind the point of a number of seconds. Return: 0; -EINVAL. */
static int parse_fraction(const char *text, size_t n, uint64_t *ret_ns)
{
    char digits[] = "000000000";

    if (n == 0 || n > sizeof(digits) - 1)
        return -EINVAL;
    memcpy(digits, text, n);
    return count_parse(digits, sizeof(digits) - 1, ret_ns);
}

static int set_ttl(void *object, const char *value, size_t n)
{
    const char *point = memchr(value, '.', n);
    size_t n_whole = point ? (size_t)(point - value) : n;
    struct mbox_limits *limits = object;
    uint64_t fraction_ns = 0;
    uint64_t seconds;
    int r = count_parse(value, n_whole, &seconds);

    if (r == 0 && point)
        r = parse_fraction(point + 1, n - n_whole - 1, &fraction_ns);
    /* Half of what the clock can tell: a time plus this is one too. */
    if (r == 0 && seconds >= INT64_MAX / NS_PER_S)
        r = -EINVAL;
    if (r == 0)
        limits->ttl_ns = seconds * NS_PER_S + fraction_ns;
    return r;
}

static int set_attempts(void *object, const char *value, size_t n)
{
    struct mbox_limits *limits = object;

    return count_parse(value, n, &limits->attempts);
}

/* Whether there is such a mailbox shows when it is to get something. */
static int set_dead(void *object, const char *value, size_t n)
{
    struct mbox_limits *limits = object;

    if (n > MBOX_NAME_BYTES_MAX || memchr(value, '/', n) || memchr(value, '\0', n) ||
        settings_equal(value, n, ".") || settings_equal(value, n, ".."))
        return -EINVAL;
    memcpy(limits->dead, value, n);
    limits->dead[n] = '\0';
    return 0;
}

/* --- What config says --- */

static void get_number(uint64_t number, char value[SETTING_VALUE_MAX])
{
    snprintf(value, SETTING_VALUE_MAX, "%" PRIu64, number);
}

static void get_word(const char *word, char value[SETTING_VALUE_MAX])
{
    snprintf(value, SETTING_VALUE_MAX, "%s", word);
}

static void get_messages(const void *object, char value[SETTING_VALUE_MAX])
{
    const struct mbox_limits *limits = object;

    if (limits->messages == MBOX_MESSAGES_UNBOUNDED)
        get_word("max", value);
    else
        get_number(limits->messages, value);
}

void mbox_limits_get_bytes(const void *object, char value[SETTING_VALUE_MAX])
{
    get_number(((const struct mbox_limits *)object)->bytes, value);
}

void mbox_limits_get_message_bytes(const void *object, char value[SETTING_VALUE_MAX])
{
    get_number(((const struct mbox_limits *)object)->message_bytes, value);
}

static void get_overflow(const void *object, char value[SETTING_VALUE_MAX])
{
    get_word(overflow_names[((const struct mbox_limits *)object)->overflow], value);
}

static void get_ttl(const void *object, char value[SETTING_VALUE_MAX])
{
    uint64_t ns = ((const struct mbox_limits *)object)->ttl_ns;
    size_t n = (size_t)snprintf(value, SETTING_VALUE_MAX, "%" PRIu64 ".%09" PRIu64, ns / NS_PER_S,
                                ns % NS_PER_S);

    while (value[n - 1] == '0')
        n--;
    if (value[n - 1] == '.')
        n--;
    value[n] = '\0';
}

static void get_attempts(const void *object, char value[SETTING_VALUE_MAX])
{
    get_number(((const struct mbox_limits *)object)->attempts, value);
}

static void get_dead(const void *object, char value[SETTING_VALUE_MAX])
{
    get_word(((const struct mbox_limits *)object)->dead, value);
}

void mbox_limits_get_durable(const void *object, char value[SETTING_VALUE_MAX])
{
    get_word(durable_names[((const struct mbox_limits *)object)->durable], value);
}

/* In the order in which they are written. */
static const struct setting limits_settings[] = {
    { "messages", set_messages, get_messages },
    MBOX_LIMITS_BYTES,
    MBOX_LIMITS_MESSAGE_BYTES,
    { "overflow", set_overflow, get_overflow },
    { "ttl", set_ttl, get_ttl },
    { "attempts", set_attempts, get_attempts },
    { "dead", set_dead, get_dead },
    MBOX_LIMITS_DURABLE,
};

int mbox_limits_parse(struct mbox_limits *limits, const char *text, size_t n)
{
    struct mbox_limits parsed = *limits;
    int r = settings_parse(limits_settings, ARRAY_SIZE(limits_settings), &parsed, text, n);

    if (r == 0)
        *limits = parsed;
    return r;
}

size_t mbox_limits_format(const struct mbox_limits *limits, char text[MBOX_LIMITS_TEXT_MAX])
{
    return settings_format(limits_settings, ARRAY_SIZE(limits_settings), limits, text,
                           MBOX_LIMITS_TEXT_MAX);
}
