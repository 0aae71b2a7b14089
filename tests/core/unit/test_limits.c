#include "core/mailbox/limits.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
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
    cr_assert_str_eq(text, "messages=1024\nbytes=16777216\nmessage_bytes=65536\noverflow=block\n"
                           "ttl=0\nattempts=0\ndead=\ndurable=no\n");
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
        .ttl_ns = UINT64_MAX,
        .attempts = UINT64_MAX,
    };
    char text[MBOX_LIMITS_TEXT_MAX];

    memset(limits.dead, 'x', MBOX_NAME_BYTES_MAX);
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

static void expect_ttl(const char *value, uint64_t ns, const char *shown)
{
    struct mbox_limits limits = MBOX_LIMITS_DEFAULT;
    char text[MBOX_LIMITS_TEXT_MAX];
    char line[64];

    snprintf(line, sizeof(line), "ttl=%s", value);
    cr_assert_eq(parse(&limits, line), 0, "%s", line);
    cr_assert_eq(limits.ttl_ns, ns);
    mbox_limits_format(&limits, text);
    snprintf(line, sizeof(line), "\nttl=%s\n", shown);
    cr_assert(strstr(text, line), "%s is shown as %s", value, text);
}

Test(limits, a_time_is_seconds_and_a_fraction)
{
    expect_ttl("0", 0, "0");
    expect_ttl("60", 60 * UINT64_C(1000000000), "60");
    expect_ttl("0.5", 500000000, "0.5");
    expect_ttl("1.50", 1500000000, "1.5");
    expect_ttl("0.000000001", 1, "0.000000001");
    expect_ttl("100.0", 100 * UINT64_C(1000000000), "100");
}

Test(limits, what_is_no_time_and_no_name_is_refused)
{
    static const char *const bad[] = {
        "ttl=",           "ttl=.5",       "ttl=5.",
        "ttl=-1",         "ttl=1e3",      "ttl=0.0000000001",
        "ttl=1.5.1",      "ttl=max",      "ttl= 1",
        "attempts=",      "attempts=max", "dead=a/b",
        "dead=.",         "dead=..",      "ttl=99999999999999",
        "ttl=9223372037",
    };
    struct mbox_limits limits = MBOX_LIMITS_DEFAULT;
    char name[] = "dead=\0";

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(parse(&limits, bad[i]), -EINVAL, "%s", bad[i]);
    cr_assert_eq(mbox_limits_parse(&limits, name, sizeof(name) - 1), -EINVAL);
    cr_assert_eq(limits.ttl_ns, 0);
    cr_assert_eq(parse(&limits, "dead=failed jobs\nattempts=5"), 0);
    cr_assert_str_eq(limits.dead, "failed jobs");
    cr_assert_eq(limits.attempts, 5);
    cr_assert_eq(parse(&limits, "dead="), 0);
    cr_assert_str_eq(limits.dead, "");
}
