/* Headers of a message: which names there may be, how many, and that they come out as they went in. */
#include "core/mailbox/headers.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/mailbox/msg.h"

static const struct msg_sender sender = { .pid = 1, .uid = 7 };

static int add(struct headers **headers, const char *name, const char *value)
{
    return headers_add(headers, name, strlen(name), value, strlen(value));
}

static bool has(const struct headers *headers, const char *name, const char *value)
{
    struct header header;

    return headers_find(headers, name, strlen(name), &header) && header.n_value == strlen(value) &&
           memcmp(header.value, value, header.n_value) == 0;
}

static size_t count(const struct headers *headers)
{
    struct header header;
    size_t at = 0;
    size_t n = 0;

    while (headers_next(headers, &at, &header))
        n++;
    return n;
}

Test(headers, come_out_as_they_went_in)
{
    struct headers *headers = NULL;
    struct header header;
    size_t at = 0;

    cr_assert_eq(add(&headers, "kind", "greeting"), 0);
    cr_assert_eq(add(&headers, "0-9", ""), 0);
    cr_assert_eq(headers_add(&headers, "bytes", 5, "a\0\n\377", 4), 0);
    cr_assert(headers_next(headers, &at, &header));
    cr_assert_eq(header.n_name, 4);
    cr_assert_eq(memcmp(header.name, "kind", 4), 0);
    cr_assert(has(headers, "kind", "greeting"));
    cr_assert(has(headers, "0-9", ""));
    cr_assert(headers_find(headers, "bytes", 5, &header));
    cr_assert_eq(header.n_value, 4);
    cr_assert_eq(memcmp(header.value, "a\0\n\377", 4), 0);
    cr_assert_not(headers_find(headers, "kin", 3, &header));
    cr_assert_not(headers_find(headers, "kinds", 5, &header));
    cr_assert_eq(count(headers), 3);
    free(headers);
}

Test(headers, none_is_a_null_pointer)
{
    struct header header;

    cr_assert_eq(count(NULL), 0);
    cr_assert_not(headers_find(NULL, "a", 1, &header));
    cr_assert_eq(headers_charge_bytes(NULL), 0);
}

Test(headers, names_are_of_small_letters_digits_and_hyphens)
{
    static const char *const bad[] = { "", "A", "a_b", "a.b", "a b", "\303\274", "a\n" };
    char longest[HEADERS_NAME_MAX + 2];
    struct headers *headers = NULL;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(add(&headers, bad[i], "x"), -EINVAL, "%s", bad[i]);
    cr_assert_eq(headers_add(&headers, "a\0b", 3, "x", 1), -EINVAL);
    memset(longest, 'z', sizeof(longest));
    cr_assert_eq(headers_add(&headers, longest, HEADERS_NAME_MAX + 1, "x", 1), -EINVAL);
    cr_assert_null(headers);
    cr_assert_eq(headers_add(&headers, longest, HEADERS_NAME_MAX, "x", 1), 0);
    free(headers);
}

Test(headers, all_together_are_bounded)
{
    char value[HEADERS_BYTES_MAX] = "";
    struct headers *headers = NULL;

    cr_assert_eq(headers_add(&headers, "a", 1, value, HEADERS_BYTES_MAX), -EINVAL);
    cr_assert_eq(headers_add(&headers, "a", 1, value, SIZE_MAX), -EINVAL);
    cr_assert_eq(headers_add(&headers, "a", 1, value, HEADERS_BYTES_MAX - 3), 0);
    cr_assert_eq(add(&headers, "b", "12"), -EINVAL);
    cr_assert_eq(add(&headers, "b", "1"), 0);
    cr_assert_eq(add(&headers, "c", ""), -EINVAL);
    cr_assert_eq(count(headers), 2);
    free(headers);
}

Test(headers, a_copy_has_one_more_or_another_value)
{
    struct headers *headers = NULL;
    struct headers *more = NULL;
    struct headers *other = NULL;

    cr_assert_eq(add(&headers, "a", "1"), 0);
    cr_assert_eq(headers_with(headers, "b", "2", &more), 0);
    cr_assert_eq(headers_with(more, "a", "3", &other), 0);
    cr_assert(has(headers, "a", "1") && count(headers) == 1);
    cr_assert(has(more, "a", "1") && has(more, "b", "2") && count(more) == 2);
    cr_assert(has(other, "a", "3") && has(other, "b", "2") && count(other) == 2);
    free(other);
    cr_assert_eq(headers_with(NULL, "a", "4", &other), 0);
    cr_assert(has(other, "a", "4") && count(other) == 1);
    free(headers);
    free(more);
    free(other);
}

Test(headers, count_with_their_message)
{
    struct msg *msg = msg_new("x", 1, 0, sender);
    char value[1000];

    memset(value, 'v', sizeof(value));
    cr_assert_eq(headers_add(&msg->headers, "a", 1, value, sizeof(value)), 0);
    cr_assert_eq(msg_charge_bytes(msg), 1 + headers_charge_bytes(msg->headers));
    cr_assert_gt(headers_charge_bytes(msg->headers), sizeof(value));
    msg_unref(msg);
}
