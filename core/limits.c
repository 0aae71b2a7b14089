#include "limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "size.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static const char *const overflow_names[] = {
    [MBOX_OVERFLOW_BLOCK] = "block",
    [MBOX_OVERFLOW_REJECT] = "reject",
    [MBOX_OVERFLOW_DROP_OLDEST] = "drop-oldest",
};

static int equals(const char *text, size_t n, const char *word)
{
    return n == strlen(word) && memcmp(text, word, n) == 0;
}

static int set_messages(struct mbox_limits *limits, const char *value, size_t n)
{
    if (equals(value, n, "max")) {
        limits->messages = MBOX_MESSAGES_UNBOUNDED;
        return 0;
    }
    return count_parse(value, n, &limits->messages);
}

static int set_bytes(struct mbox_limits *limits, const char *value, size_t n)
{
    int r = size_parse(value, n, &limits->bytes);

    return r == 0 && limits->bytes == 0 ? -EINVAL : r;
}

static int set_message_bytes(struct mbox_limits *limits, const char *value, size_t n)
{
    int r = size_parse(value, n, &limits->message_bytes);

    if (r == 0 && (limits->message_bytes == 0 || limits->message_bytes > MBOX_MESSAGE_BYTES_MAX))
        return -EINVAL;
    return r;
}

static int set_overflow(struct mbox_limits *limits, const char *value, size_t n)
{
    for (size_t i = 0; i < ARRAY_SIZE(overflow_names); i++) {
        if (equals(value, n, overflow_names[i])) {
            limits->overflow = (enum mbox_overflow)i;
            return 0;
        }
    }
    return -EINVAL;
}

static const struct {
    const char *key;
    int (*set)(struct mbox_limits *limits, const char *value, size_t n);
} settings[] = {
    { "messages", set_messages },
    { "bytes", set_bytes },
    { "message_bytes", set_message_bytes },
    { "overflow", set_overflow },
};

static int parse_line(struct mbox_limits *limits, const char *line, size_t n)
{
    const char *equal = memchr(line, '=', n);
    size_t key_length;

    if (!equal)
        return -EINVAL;
    key_length = (size_t)(equal - line);
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        if (equals(line, key_length, settings[i].key))
            return settings[i].set(limits, equal + 1, n - key_length - 1);
    }
    return -EINVAL;
}

int mbox_limits_parse(struct mbox_limits *limits, const char *text, size_t n)
{
    struct mbox_limits parsed = *limits;
    const char *end = text + n;

    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *line_end = newline ? newline : end;
        int r;

        if (line_end > text) {
            r = parse_line(&parsed, text, (size_t)(line_end - text));
            if (r < 0)
                return r;
        }
        text = newline ? newline + 1 : end;
    }
    *limits = parsed;
    return 0;
}

size_t mbox_limits_format(const struct mbox_limits *limits, char text[MBOX_LIMITS_TEXT_MAX])
{
    char messages[24] = "max";
    int n;

    if (limits->messages != MBOX_MESSAGES_UNBOUNDED)
        snprintf(messages, sizeof(messages), "%" PRIu64, limits->messages);
    n = snprintf(text, MBOX_LIMITS_TEXT_MAX,
                 "messages=%s\nbytes=%" PRIu64 "\nmessage_bytes=%" PRIu64 "\noverflow=%s\n",
                 messages, limits->bytes, limits->message_bytes, overflow_names[limits->overflow]);
    return (size_t)n;
}
