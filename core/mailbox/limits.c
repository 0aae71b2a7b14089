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

static int set_durable(void *object, const char *value, size_t n)
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

static const struct setting settings[] = {
    { "messages", set_messages },
    { "bytes", mbox_limits_set_bytes },
    { "message_bytes", mbox_limits_set_message_bytes },
    { "overflow", set_overflow },
    { "durable", set_durable },
};

int mbox_limits_parse(struct mbox_limits *limits, const char *text, size_t n)
{
    struct mbox_limits parsed = *limits;
    int r = settings_parse(settings, ARRAY_SIZE(settings), &parsed, text, n);

    if (r == 0)
        *limits = parsed;
    return r;
}

size_t mbox_limits_format(const struct mbox_limits *limits, char text[MBOX_LIMITS_TEXT_MAX])
{
    char messages[24] = "max";
    int n;

    if (limits->messages != MBOX_MESSAGES_UNBOUNDED)
        snprintf(messages, sizeof(messages), "%" PRIu64, limits->messages);
    n = snprintf(text, MBOX_LIMITS_TEXT_MAX,
                 "messages=%s\nbytes=%" PRIu64 "\nmessage_bytes=%" PRIu64
                 "\noverflow=%s\ndurable=%s\n",
                 messages, limits->bytes, limits->message_bytes, overflow_names[limits->overflow],
                 durable_names[limits->durable]);
    return (size_t)n;
}
