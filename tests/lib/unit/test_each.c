/* Rings whose consumers each see everything: what every call does there. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "core/lib/ring_os.h"
#include "tests/lib/fixture.h"

#define SLOTS 8U
#define SLOT_BYTES 24U

static struct fixture f;

static const uint32_t kinds[] = { IPCRING_EACH_CONSUMER,
                                  IPCRING_EACH_CONSUMER | IPCRING_ONE_PRODUCER };

static void put(struct ipcring *ring, uint64_t value)
{
    cr_assert_eq(ipcring_try_produce(ring, &value, sizeof(value)), 0);
}

static void put_many(struct ipcring *ring, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        put(ring, first + i);
}

static void expect(struct ipcring *ring, uint64_t value)
{
    uint64_t got = 0;
    int r = ipcring_try_consume(ring, &got, sizeof(got));

    cr_assert_eq(r, 8, "%d, waiting for %lu", r, (unsigned long)value);
    cr_assert_eq(got, value, "%lu and not %lu", (unsigned long)got, (unsigned long)value);
}

static void expect_nothing(struct ipcring *ring, int error)
{
    uint64_t got;

    cr_assert_eq(ipcring_try_consume(ring, &got, sizeof(got)), error);
}

/* In both kinds of ring, from positions that soon wrap. */
#define EACH_TEST(name)                                                                            \
    static void run_##name(void);                                                                  \
    Test(each, name)                                                                               \
    {                                                                                              \
        for (unsigned int i = 0; i < 2 * N_FIRST_POS; i++) {                                       \
            fixture_init(&f, SLOTS, SLOT_BYTES, kinds[i % 2], first_pos_near_wrap(i / 2, 3));      \
            run_##name();                                                                          \
            fixture_deinit(&f);                                                                    \
        }                                                                                          \
    }                                                                                              \
    static void run_##name(void)

EACH_TEST(each_sees_everything)
{
    struct ipcring *producer = fixture_open(&f);
    struct ipcring *consumers[] = { fixture_open(&f), fixture_open(&f), fixture_open(&f) };

    put_many(producer, 0, 5);
    for (int i = 0; i < 3; i++) {
        for (uint64_t value = 0; value < 5; value++)
            expect(consumers[i], value);
        expect_nothing(consumers[i], -EAGAIN);
    }
    put(producer, 5);
    for (int i = 0; i < 3; i++) {
        expect(consumers[i], 5);
        cr_assert_eq(ipcring_missed(consumers[i]), 0);
        ipcring_close(consumers[i]);
    }
    ipcring_close(producer);
}

EACH_TEST(who_comes_later_begins_there)
{
    struct ipcring *producer = fixture_open(&f);
    struct ipcring *late;

    put_many(producer, 0, 11);
    late = fixture_open(&f);
    expect_nothing(late, -EAGAIN);
    put(producer, 11);
    expect(late, 11);
    ipcring_close(late);
    ipcring_close(producer);
}

EACH_TEST(a_producer_never_waits)
{
    struct ipcring *producer = fixture_open(&f);
    struct ipcring *consumer = fixture_open(&f);

    put_many(producer, 0, UINT64_C(5) * SLOTS);
    ipcring_close(consumer);
    ipcring_close(producer);
}

EACH_TEST(who_was_overtaken_is_told_once_and_goes_on_with_the_oldest)
{
    struct ipcring *producer = fixture_open(&f);
    struct ipcring *consumer = fixture_open(&f);

    for (uint64_t n = 1; n < 3 * SLOTS; n++) {
        uint64_t missed = ipcring_missed(consumer);

        put_many(producer, 0, SLOTS + n);
        expect_nothing(consumer, -EOVERFLOW);
        cr_assert_eq(ipcring_missed(consumer) - missed, n);
        for (uint64_t i = 0; i < SLOTS; i++)
            expect(consumer, n + i);
        expect_nothing(consumer, -EAGAIN);
    }
    ipcring_close(consumer);
    ipcring_close(producer);
}

EACH_TEST(a_full_ring_behind_is_not_overtaken)
{
    struct ipcring *producer = fixture_open(&f);
    struct ipcring *consumer = fixture_open(&f);

    for (uint64_t round = 0; round < 5; round++) {
        put_many(producer, round, SLOTS);
        for (uint64_t i = 0; i < SLOTS; i++)
            expect(consumer, round + i);
    }
    cr_assert_eq(ipcring_missed(consumer), 0);
    ipcring_close(consumer);
    ipcring_close(producer);
}

EACH_TEST(a_reserved_place_overtakes_too)
{
    struct ipcring *producer = fixture_open(&f);
    struct ipcring *consumer = fixture_open(&f);
    void *place;

    put_many(producer, 0, SLOTS);
    cr_assert_eq(ipcring_reserve(producer, &place, 0), 0);
    memset(place, 0xff, 8);
    expect_nothing(consumer, -EOVERFLOW);
    cr_assert_eq(ipcring_missed(consumer), 1);
    for (uint64_t i = 1; i < SLOTS; i++)
        expect(consumer, i);
    expect_nothing(consumer, -EAGAIN);
    memcpy(place, &(uint64_t){ 99 }, 8);
    cr_assert_eq(ipcring_commit(producer, 8), 0);
    expect(consumer, 99);
    ipcring_close(consumer);
    ipcring_close(producer);
}

EACH_TEST(what_was_given_up_is_passed)
{
    struct ipcring *producer = fixture_open(&f);
    struct ipcring *consumer = fixture_open(&f);
    void *place;

    for (uint64_t i = 0; i < 20; i++) {
        cr_assert_eq(ipcring_reserve(producer, &place, 0), 0);
        ipcring_cancel(producer);
        put(producer, i);
        expect(consumer, i);
        expect_nothing(consumer, -EAGAIN);
    }
    ipcring_close(consumer);
    ipcring_close(producer);
}

EACH_TEST(batches)
{
    struct ipcring *producer = fixture_open(&f);
    struct ipcring *consumer = fixture_open(&f);
    uint64_t values[12];
    struct ipcring_msg msgs[12];

    for (uint64_t i = 0; i < 12; i++) {
        values[i] = i;
        msgs[i] = (struct ipcring_msg){ &values[i], 8 };
    }
    cr_assert_eq(ipcring_produce_batch(producer, msgs, 6, 0), 6);
    memset(values, 0, sizeof(values));
    cr_assert_eq(ipcring_consume_batch(consumer, msgs, 12, 0), 6);
    for (uint64_t i = 0; i < 6; i++)
        cr_assert_eq(values[i], i);
    cr_assert_eq(ipcring_consume_batch(consumer, msgs, 12, 0), -EAGAIN);
    for (uint64_t i = 0; i < 12; i++)
        values[i] = i;
    cr_assert_eq(ipcring_produce_batch(producer, msgs, 12, 0), 12);
    cr_assert_eq(ipcring_consume_batch(consumer, msgs, 12, 0), -EOVERFLOW);
    cr_assert_eq(ipcring_missed(consumer), 12 - SLOTS);
    cr_assert_eq(ipcring_consume_batch(consumer, msgs, 3, 0), 3);
    cr_assert_eq(values[2], 12 - SLOTS + 2);
    ipcring_close(consumer);
    ipcring_close(producer);
}

EACH_TEST(a_message_too_long_stays)
{
    struct ipcring *producer = fixture_open(&f);
    struct ipcring *consumer = fixture_open(&f);
    char small[4];

    put(producer, 7);
    cr_assert_eq(ipcring_try_consume(consumer, small, sizeof(small)), -EMSGSIZE);
    expect(consumer, 7);
    ipcring_close(consumer);
    ipcring_close(producer);
}

EACH_TEST(nothing_is_shown_in_place)
{
    struct ipcring *consumer = fixture_open(&f);
    const void *data;

    cr_assert_eq(ipcring_peek(consumer, &data, 0), -EOPNOTSUPP);
    cr_assert_eq(ipcring_release(consumer), -EINVAL);
    ipcring_close(consumer);
}

EACH_TEST(it_is_always_writable_and_readable_when_there_is_something)
{
    struct ipcring *producer = fixture_open(&f);
    struct ipcring *consumer = fixture_open(&f);
    uint32_t *word;
    uint32_t value;
    uint64_t ns;

    cr_assert_eq(ipcring_arm(consumer, IPCRING_READABLE, &word, &value, &ns), 0);
    put_many(producer, 0, SLOTS + 1);
    cr_assert_eq(ipcring_arm(producer, IPCRING_WRITABLE, &word, &value, &ns), 1);
    cr_assert_eq(ipcring_arm(consumer, IPCRING_READABLE, &word, &value, &ns), 1);
    expect_nothing(consumer, -EOVERFLOW);
    ipcring_close(consumer);
    ipcring_close(producer);
}

EACH_TEST(statistics)
{
    struct ipcring *producer = fixture_open(&f);
    struct ipcring *consumer = fixture_open(&f);
    struct ipcring_stat stat;

    put_many(producer, 0, 3);
    expect(consumer, 0);
    ipcring_get_stat(consumer, &stat);
    cr_assert_eq(stat.head - stat.tail, 2);
    cr_assert(stat.flags & IPCRING_EACH_CONSUMER);
    ipcring_close(consumer);
    ipcring_close(producer);
}

/* What a library that is older than these rings looks at. */
EACH_TEST(older_libraries_see_neither_their_version_nor_their_flags)
{
    cr_assert_eq(*ring_u32(f.map, IPCRING_AT_VERSION), IPCRING_VERSION_EACH);
    cr_assert_neq(*ring_u32(f.map, IPCRING_AT_VERSION), IPCRING_VERSION);
    cr_assert(*ring_u32(f.map, IPCRING_AT_FLAGS) & ~IPCRING_FLAGS);
}

EACH_TEST(version_and_flags_belong_together)
{
    static const uint32_t wrong[][2] = {
        { IPCRING_VERSION, IPCRING_EACH_CONSUMER },
        { IPCRING_VERSION_EACH, 0 },
        { IPCRING_VERSION_EACH, IPCRING_EACH_CONSUMER | IPCRING_ONE_CONSUMER },
        { IPCRING_VERSION_EACH, IPCRING_EACH_CONSUMER | 8 },
        { IPCRING_VERSION_EACH + 1, IPCRING_EACH_CONSUMER },
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct ipcring *ring;

        *ring_u32(f.map, IPCRING_AT_VERSION) = wrong[i][0];
        *ring_u32(f.map, IPCRING_AT_FLAGS) = wrong[i][1];
        cr_assert_eq(ipcring_open_fd(f.fd, &ring), -EPROTO, "%zu", i);
    }
}

Test(each, no_ring_has_both)
{
    const struct ring_geometry both = { 8, 16, IPCRING_EACH_CONSUMER | IPCRING_ONE_CONSUMER };

    cr_assert_eq(ring_geometry_check(&both), -EINVAL);
}
