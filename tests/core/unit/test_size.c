#include "core/base/size.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static const struct {
    const char *text;
    int result;
    uint64_t bytes;
} examples[] = {
    { "0", 0, 0 },
    { "1", 0, 1 },
    { "65536", 0, 65536 },
    { "1K", 0, 1024 },
    { "1k", 0, 1024 },
    { "256M", 0, UINT64_C(256) << 20 },
    { "3g", 0, UINT64_C(3) << 30 },
    { "18446744073709551615", 0, UINT64_MAX },
    { "18446744073709551616", -EINVAL, 0 },
    { "17179869183G", 0, UINT64_C(17179869183) << 30 },
    { "17179869184G", -EINVAL, 0 },
    { "", -EINVAL, 0 },
    { "K", -EINVAL, 0 },
    { "1KK", -EINVAL, 0 },
    { "1T", -EINVAL, 0 },
    { "-1", -EINVAL, 0 },
    { "+1", -EINVAL, 0 },
    { " 1", -EINVAL, 0 },
    { "1 ", -EINVAL, 0 },
    { "0x10", -EINVAL, 0 },
    { "1.5K", -EINVAL, 0 },
};

Test(size, reads_what_is_a_size_and_nothing_else)
{
    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        uint64_t bytes = 0;

        cr_expect_eq(size_parse(examples[i].text, strlen(examples[i].text), &bytes),
                     examples[i].result, "'%s'", examples[i].text);
        cr_expect_eq(bytes, examples[i].bytes, "'%s'", examples[i].text);
    }
}

Test(size, does_not_read_beyond_the_length_given)
{
    uint64_t bytes;

    cr_assert_eq(size_parse("12K34", 3, &bytes), 0);
    cr_assert_eq(bytes, 12 * 1024);
    cr_assert_eq(count_parse("12K34", 2, &bytes), 0);
    cr_assert_eq(bytes, 12);
    cr_assert_eq(count_parse("12K34", 3, &bytes), -EINVAL);
}
