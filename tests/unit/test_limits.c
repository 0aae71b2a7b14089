#include "core/mailbox/limits.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static int parse(struct mbox_limits *limits, const char *text)
{
    return mbox_limits_parse(limits, text, strlen(text));
}

Test(limits, what_is_written_can_be_read_back)
{
    struct mbox_limits limits = MBOX_LIMITS_DEFAULT;
    struct mbox_limits read_back = { 0 };
    char text[MBOX_LIMITS_TEXT_MAX];

    mbox_limits_format(&limits, text);
    cr_assert_str_eq(text, "messages=1024\nbytes=16777216\nmessage_bytes=65536\noverflow=block\ndurable=no\n");
    cr_assert_eq(parse(&read_back, text), 0);
    cr_assert_eq(read_back.messages, limits.messages);
    cr_assert_eq(read_back.bytes, limits.bytes);
    cr_assert_eq(read_back.message_bytes, limits.message_bytes);
    cr_assert_eq(read_back.overflow, limits.overflow);
}

Test(limits, the_longest_text_has_room)
{
    struct mbox_limits limits = {
        .messages = UINT64_MAX - 1,
        .bytes = UINT64_MAX,
        .message_bytes = UINT64_MAX,
        .overflow = MBOX_OVERFLOW_DROP_OLDEST,
    };
    char text[MBOX_LIMITS_TEXT_MAX];

    cr_assert_lt(mbox_limits_format(&limits, text), sizeof(text));
}

Test(limits, keys_that_are_not_named_stay)
{
    struct mbox_limits limits = MBOX_LIMITS_DEFAULT;

    cr_assert_eq(parse(&limits, "messages=max\n\nbytes=1K"), 0);
    cr_assert_eq(limits.messages, MBOX_MESSAGES_UNBOUNDED);
    cr_assert_eq(limits.bytes, 1024);
    cr_assert_eq(limits.message_bytes, 65536);
    cr_assert_eq(limits.overflow, MBOX_OVERFLOW_BLOCK);
}

Test(limits, a_bad_line_spoils_the_good_ones_before_it)
{
    struct mbox_limits limits = MBOX_LIMITS_DEFAULT;

    cr_assert_eq(parse(&limits, "messages=1\noverflow=reject\nmessage_bytes=0\n"), -EINVAL);
    cr_assert_eq(limits.messages, 1024);
    cr_assert_eq(limits.overflow, MBOX_OVERFLOW_BLOCK);
}

Test(limits, a_nul_byte_is_no_line_end)
{
    struct mbox_limits limits = MBOX_LIMITS_DEFAULT;
    static const char text[] = "messages=5\0\n";

    cr_assert_eq(mbox_limits_parse(&limits, text, sizeof(text) - 1), -EINVAL);
}
