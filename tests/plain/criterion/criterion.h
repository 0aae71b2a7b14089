/* Of Criterion's macros those that our tests use, for machines that have no Criterion: programs for another
 * architecture, under an emulator. Each test runs in a process of its own; the program speaks TAP.
 *
 * plain.c is the rest of it. The real one is taken wherever it is found. */
#ifndef IPCFS_TESTS_PLAIN_CRITERION_H
#define IPCFS_TESTS_PLAIN_CRITERION_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct plain_options {
    void (*init)(void);
    void (*fini)(void);
};

struct plain_test {
    const char *suite;
    const char *name; /* NULL: of a suite, for its tests */
    void (*fn)(void);
    struct plain_options options;
    struct plain_test *next;
};

/* Before main. */
void plain_add(struct plain_test *test);

/* Says that @condition doesn't hold. @format says more. */
void plain_fail(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
_Noreturn void plain_abort(void);

#define PLAIN_ADD(id, suite_, name_, fn_, ...)                                                     \
    static struct plain_test id##_test = {                                                         \
        .suite = suite_, .name = name_, .fn = fn_, .options = { __VA_ARGS__ }                      \
    };                                                                                             \
    static __attribute__((constructor)) void id##_add(void)                                        \
    {                                                                                              \
        plain_add(&id##_test);                                                                     \
    }

#define Test(suite, name, ...)                                                                     \
    static void suite##_##name##_run(void);                                                        \
    PLAIN_ADD(suite##_##name, #suite, #name, suite##_##name##_run, __VA_ARGS__)                    \
    static void suite##_##name##_run(void)

#define TestSuite(suite, ...)                                                                      \
    PLAIN_ADD(suite##_suite, #suite, NULL, NULL, __VA_ARGS__)                                      \
    struct plain_test

#define PLAIN_EXPECT(condition, text, ...)                                                         \
    ((condition) ? true : (plain_fail(__FILE__, __LINE__, text, " " __VA_ARGS__), false))
#define PLAIN_ASSERT(condition, text, ...)                                                         \
    (PLAIN_EXPECT(condition, text, __VA_ARGS__) ? (void)0 : plain_abort())

#define cr_assert(c, ...) PLAIN_ASSERT(c, #c, __VA_ARGS__)
#define cr_assert_not(c, ...) PLAIN_ASSERT(!(c), "!(" #c ")", __VA_ARGS__)
#define cr_assert_null(p, ...) PLAIN_ASSERT((p) == NULL, #p " is NULL", __VA_ARGS__)
#define cr_assert_not_null(p, ...) PLAIN_ASSERT((p) != NULL, #p " is not NULL", __VA_ARGS__)
#define cr_assert_eq(a, b, ...) PLAIN_ASSERT((a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) PLAIN_ASSERT((a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) PLAIN_ASSERT((a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) PLAIN_ASSERT((a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) PLAIN_ASSERT((a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) PLAIN_ASSERT((a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) PLAIN_ASSERT(strcmp(a, b) == 0, #a " is " #b, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...)                                                             \
    PLAIN_ASSERT(memcmp(a, b, n) == 0, #a " holds " #b, __VA_ARGS__)
#define cr_expect_eq(a, b, ...) (void)PLAIN_EXPECT((a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_expect_lt(a, b, ...) (void)PLAIN_EXPECT((a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...) (void)PLAIN_EXPECT((a) >= (b), #a " >= " #b, __VA_ARGS__)

#endif
