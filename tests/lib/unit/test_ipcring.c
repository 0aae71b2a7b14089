#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/lib/ring_os.h"
#include "tests/lib/fixture.h"

static const uint32_t all_flags[] = { 0, IPCRING_ONE_PRODUCER, IPCRING_ONE_CONSUMER, ONE_ONE };

#define EACH_FLAGS(f) for (size_t f##_i = 0, f = 0; f##_i < 4 && (f = all_flags[f##_i], 1); f##_i++)

static void produce_u64(struct ipcring *ring, uint64_t value)
{
    cr_assert_eq(ipcring_try_produce(ring, &value, sizeof(value)), 0);
}

static void expect_u64(struct ipcring *ring, uint64_t value)
{
    uint64_t got = 0;

    cr_assert_eq(ipcring_try_consume(ring, &got, sizeof(got)), 8);
    cr_assert_eq(got, value);
}

/* --- Geometry --- */

Test(ring_geometry, takes_what_the_contract_allows)
{
    static const struct ring_geometry good[] = {
        { 2, 16, 0 },
        { 1U << 24, 16, 0 },
        { 2, 1U << 20, ONE_ONE },
        { 1024, 24, 0 },
    };
    static const struct ring_geometry bad[] = {
        { 0, 16, 0 },
        { 1, 16, 0 },
        { 3, 16, 0 },
        { 1U << 25, 16, 0 },
        { 2, 8, 0 },
        { 2, 20, 0 },
        { 2, (1U << 20) + 8, 0 },
        { 2, 16, 8 },
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        cr_expect_eq(ring_geometry_check(&good[i]), 0, "%zu", i);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_expect_eq(ring_geometry_check(&bad[i]), -EINVAL, "%zu", i);
}

Test(ring_geometry, a_map_that_is_no_ring_is_refused)
{
    struct fixture f;
    struct ipcring *ring;
    static const struct {
        size_t at;
        uint32_t value;
    } damage[] = {
        { IPCRING_AT_MAGIC, 1 },          { IPCRING_AT_VERSION, 2 },
        { IPCRING_AT_FLAGS, 4 },          { IPCRING_AT_SLOTS, 0 },
        { IPCRING_AT_SLOTS, 3 },          { IPCRING_AT_SLOTS, 1U << 31 },
        { IPCRING_AT_SLOT_BYTES, 0 },     { IPCRING_AT_SLOT_BYTES, 12 },
        { IPCRING_AT_SLOT_BYTES, 32 },    { IPCRING_AT_SLOTS_OFFSET, 0 },
        { IPCRING_AT_SLOTS_OFFSET, ~0U }, { IPCRING_AT_SLOTS_OFFSET, 8196 },
    };

    for (size_t i = 0; i < sizeof(damage) / sizeof(*damage); i++) {
        fixture_init(&f, 4, 16, 0, 0);
        memcpy((char *)f.map + damage[i].at, &damage[i].value, 4);
        cr_expect_eq(ipcring_open_fd(f.fd, &ring), -EPROTO, "%zu", i);
        fixture_deinit(&f);
    }
    cr_expect_eq(ipcring_open("/dev/null", &ring), -EPROTO);
    cr_expect_eq(ipcring_open("/nonexistent", &ring), -ENOENT);
}

Test(ring_geometry, a_path_is_followed_through_links)
{
    struct fixture f;
    struct ipcring *ring;
    char path[64];

    fixture_init(&f, 4, 16, 0, 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", f.fd);
    cr_assert_eq(ipcring_open(path, &ring), 0);
    produce_u64(ring, 1);
    ipcring_close(ring);
    fixture_deinit(&f);
}

/* --- Messages --- */

Test(ring, passes_messages_in_order_across_every_wrap)
{
    EACH_FLAGS(flags)
    {
        for (unsigned int i = 0; i < N_FIRST_POS; i++) {
            struct fixture f;
            struct ipcring *p;
            struct ipcring *c;

            fixture_init(&f, 4, 16, (uint32_t)flags, first_pos_near_wrap(i, 2));
            p = fixture_open(&f);
            c = fixture_open(&f);
            for (uint64_t n = 0; n < 40; n += 3) {
                for (uint64_t k = 0; k < 3; k++)
                    produce_u64(p, n + k);
                for (uint64_t k = 0; k < 3; k++)
                    expect_u64(c, n + k);
            }
            ipcring_close(p);
            ipcring_close(c);
            fixture_deinit(&f);
        }
    }
}

Test(ring, a_full_ring_holds_all_its_slots_and_each_take_frees_one)
{
    EACH_FLAGS(flags)
    {
        struct fixture f;
        struct ipcring *p;
        struct ipcring *c;
        uint64_t value = 9;

        fixture_init(&f, 16, 16, (uint32_t)flags, UINT64_MAX - 5);
        p = fixture_open(&f);
        c = fixture_open(&f);
        for (uint64_t n = 0; n < 16; n++)
            produce_u64(p, n);
        cr_assert_eq(ipcring_try_produce(p, &value, 8), -EAGAIN);
        cr_assert_eq(ipcring_produce(p, &value, 8, 0), -EAGAIN);
        for (uint64_t n = 0; n < 16; n++) {
            expect_u64(c, n);
            produce_u64(p, 16 + n);
            cr_assert_eq(ipcring_try_produce(p, &value, 8), -EAGAIN);
        }
        for (uint64_t n = 0; n < 16; n++)
            expect_u64(c, 16 + n);
        cr_assert_eq(ipcring_try_consume(c, &value, 8), -EAGAIN);
        ipcring_close(p);
        ipcring_close(c);
        fixture_deinit(&f);
    }
}

Test(ring, carries_every_length_and_refuses_one_more)
{
    struct fixture f;
    struct ipcring *ring;
    char in[64];
    char out[64];

    fixture_init(&f, 2, 64, MANY_MANY, 0);
    ring = fixture_open(&f);
    cr_assert_eq(ipcring_message_bytes(ring), 56);
    for (int n = 0; n <= 56; n++) {
        memset(in, 'a' + n % 26, sizeof(in));
        memset(out, 0, sizeof(out));
        cr_assert_eq(ipcring_try_produce(ring, in, (size_t)n), 0);
        cr_assert_eq(ipcring_try_consume(ring, out, sizeof(out)), n);
        cr_assert_eq(memcmp(in, out, (size_t)n), 0);
    }
    cr_assert_eq(ipcring_try_produce(ring, in, 57), -EMSGSIZE);
    ipcring_close(ring);
    fixture_deinit(&f);
}

Test(ring, a_message_longer_than_the_buffer_stays)
{
    EACH_FLAGS(flags)
    {
        struct fixture f;
        struct ipcring *ring;
        char buffer[8];

        fixture_init(&f, 2, 64, (uint32_t)flags, 0);
        ring = fixture_open(&f);
        cr_assert_eq(ipcring_try_produce(ring, "12345678", 8), 0);
        cr_assert_eq(ipcring_try_consume(ring, buffer, 7), -EMSGSIZE);
        cr_assert_eq(ipcring_try_consume(ring, buffer, 8), 8);
        ipcring_close(ring);
        fixture_deinit(&f);
    }
}

Test(ring, batches_take_what_there_is)
{
    EACH_FLAGS(flags)
    {
        struct fixture f;
        struct ipcring *ring;
        uint64_t in[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
        uint64_t out[8];
        struct ipcring_msg msgs[8];

        fixture_init(&f, 4, 16, (uint32_t)flags, UINT64_MAX);
        ring = fixture_open(&f);
        for (int i = 0; i < 8; i++)
            msgs[i] = (struct ipcring_msg){ &in[i], 8 };
        cr_assert_eq(ipcring_produce_batch(ring, msgs, 3, 0), 3);
        cr_assert_eq(ipcring_produce_batch(ring, msgs + 3, 5, 0), 1);
        cr_assert_eq(ipcring_produce_batch(ring, msgs + 4, 4, 0), -EAGAIN);
        for (int i = 0; i < 8; i++)
            msgs[i] = (struct ipcring_msg){ &out[i], i == 2 ? 4 : 8 };
        cr_assert_eq(ipcring_consume_batch(ring, msgs, 8, 0), 2);
        cr_assert_eq(out[1], 1);
        cr_assert_eq(ipcring_consume_batch(ring, msgs + 2, 6, 0), -EMSGSIZE);
        cr_assert_eq(msgs[2].n_bytes, 4);
        cr_assert_eq(ipcring_consume_batch(ring, msgs + 3, 5, 0), 2);
        cr_assert_eq(out[3], 2);
        cr_assert_eq(out[4], 3);
        cr_assert_eq(ipcring_consume_batch(ring, msgs + 3, 5, 0), -EAGAIN);
        ipcring_close(ring);
        fixture_deinit(&f);
    }
}

Test(ring, a_place_is_filled_and_shown_without_a_copy)
{
    EACH_FLAGS(flags)
    {
        struct fixture f;
        struct ipcring *ring;
        void *place;
        const void *shown;
        char out[16];

        fixture_init(&f, 4, 32, (uint32_t)flags, 0);
        ring = fixture_open(&f);
        cr_assert_eq(ipcring_commit(ring, 1), -EINVAL);
        cr_assert_eq(ipcring_reserve(ring, &place, 0), 0);
        cr_assert_eq(ipcring_reserve(ring, &place, 0), -EALREADY);
        memcpy(place, "in place", 8);
        cr_assert_eq(ipcring_try_consume(ring, out, 16), -EAGAIN);
        cr_assert_eq(ipcring_commit(ring, 25), -EMSGSIZE);
        cr_assert_eq(ipcring_commit(ring, 8), 0);
        if (!(flags & IPCRING_ONE_CONSUMER)) {
            cr_assert_eq(ipcring_peek(ring, &shown, 0), -EOPNOTSUPP);
            cr_assert_eq(ipcring_try_consume(ring, out, 16), 8);
        } else {
            cr_assert_eq(ipcring_release(ring), -EINVAL);
            cr_assert_eq(ipcring_peek(ring, &shown, 0), 8);
            cr_assert_eq(ipcring_peek(ring, &shown, 0), 8);
            cr_assert_eq(memcmp(shown, "in place", 8), 0);
            cr_assert_eq(ipcring_release(ring), 0);
            cr_assert_eq(ipcring_peek(ring, &shown, 0), -EAGAIN);
        }
        /* What is given up is passed over. */
        cr_assert_eq(ipcring_reserve(ring, &place, 0), 0);
        ipcring_cancel(ring);
        produce_u64(ring, 5);
        expect_u64(ring, 5);
        ipcring_close(ring);
        fixture_deinit(&f);
    }
}

Test(ring, any_number_of_places_given_up_is_passed_over)
{
    static const uint32_t flags[] = { MANY_MANY, IPCRING_ONE_CONSUMER };
    const uint32_t n_slots = 1U << 18;

    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
        struct fixture f;
        struct ipcring *ring;
        const void *shown;
        void *place;

        fixture_init(&f, n_slots, 16, flags[i], UINT64_MAX);
        ring = fixture_open(&f);
        for (int turn = 0; turn < 2; turn++) {
            for (uint32_t n = 1; n < n_slots; n++) {
                cr_assert_eq(ipcring_reserve(ring, &place, 0), 0);
                ipcring_cancel(ring);
            }
            produce_u64(ring, 7);
            if (turn == 1 && flags[i] == IPCRING_ONE_CONSUMER)
                cr_assert_eq(ipcring_peek(ring, &shown, 0), 8);
            expect_u64(ring, 7);
        }
        ipcring_close(ring);
        fixture_deinit(&f);
    }
}

/* --- Roles --- */

Test(ring_roles, one_producer_is_one_until_it_closes)
{
    struct fixture f;
    struct ipcring *a;
    struct ipcring *b;
    uint64_t value = 1;

    fixture_init(&f, 4, 16, ONE_ONE, 0);
    a = fixture_open(&f);
    b = fixture_open(&f);
    produce_u64(a, 1);
    cr_assert_eq(ipcring_try_produce(b, &value, 8), -EBUSY);
    expect_u64(b, 1);
    cr_assert_eq(ipcring_try_consume(a, &value, 8), -EBUSY);
    ipcring_close(a);
    produce_u64(b, 2);
    expect_u64(b, 2);
    ipcring_close(b);
    fixture_deinit(&f);
}

Test(ring_roles, a_dead_producer_has_a_successor_that_goes_on_where_it_was)
{
    struct fixture f;
    struct ipcring *ring;
    pid_t pid;

    fixture_init(&f, 4, 16, ONE_ONE, UINT64_MAX);
    pid = fork();
    if (pid == 0) {
        ring = fixture_open(&f);
        produce_u64(ring, 1);
        produce_u64(ring, 2);
        /* As if it had died before head was stored. */
        atomic_store(ring_u64(f.map, IPCRING_AT_HEAD), UINT64_MAX);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    ring = fixture_open(&f);
    expect_u64(ring, 1);
    produce_u64(ring, 3);
    expect_u64(ring, 2);
    expect_u64(ring, 3);
    ipcring_close(ring);
    fixture_deinit(&f);
}

Test(ring_roles, a_successor_that_finds_nothing_to_do_still_finds_nothing_the_next_time)
{
    for (unsigned int i = 0; i < N_FIRST_POS; i++) {
        struct fixture f;
        struct ipcring *ring;
        uint64_t value = 0;

        fixture_init(&f, 4, 16, ONE_ONE, first_pos_near_wrap(i, 2));
        ring = fixture_open(&f);
        for (uint64_t n = 1; n <= 5; n++) {
            if (n == 5)
                expect_u64(ring, 1);
            produce_u64(ring, n);
        }
        ipcring_close(ring);
        ring = fixture_open(&f);
        for (int k = 0; k < 3; k++)
            cr_assert_eq(ipcring_try_produce(ring, &value, 8), -EAGAIN);
        for (uint64_t n = 2; n <= 5; n++)
            expect_u64(ring, n);
        ipcring_close(ring);
        ring = fixture_open(&f);
        for (int k = 0; k < 3; k++)
            cr_assert_eq(ipcring_try_consume(ring, &value, 8), -EAGAIN);
        produce_u64(ring, 6);
        expect_u64(ring, 6);
        ipcring_close(ring);
        fixture_deinit(&f);
    }
}

Test(ring_roles, a_successor_takes_fresh_memory_for_no_message)
{
    struct fixture f;
    struct ipcring *ring;
    uint64_t value = 0;

    fixture_init(&f, 4, 16, ONE_ONE, 0);
    ring = fixture_open(&f);
    produce_u64(ring, 1);
    expect_u64(ring, 1);
    ipcring_close(ring);
    ring = fixture_open(&f);
    for (int k = 0; k < 3; k++)
        cr_assert_eq(ipcring_try_consume(ring, &value, 8), -EAGAIN);
    produce_u64(ring, 2);
    expect_u64(ring, 2);
    ipcring_close(ring);
    fixture_deinit(&f);
}

/* --- Dead claimers --- */

/* Return: a process that has claimed a place and died of it; a zombie if @reap is false. */
static pid_t claim_and_die(const struct fixture *f, bool reap)
{
    pid_t pid = fork();
    siginfo_t info;

    if (pid == 0) {
        void *place;

        if (ipcring_reserve(fixture_open(f), &place, 0) < 0)
            _exit(1);
        raise(SIGKILL);
    }
    waitid(P_PID, (id_t)pid, &info, WEXITED | (reap ? 0 : WNOWAIT));
    cr_assert_eq(info.si_status, SIGKILL);
    return pid;
}

Test(ring_dead, a_claim_is_skipped_and_what_lies_behind_arrives)
{
    for (int reap = 0; reap < 2; reap++) {
        for (unsigned int i = 0; i < N_FIRST_POS; i++) {
            struct fixture f;
            struct ipcring *ring;
            struct ipcring_stat stat;
            uint64_t got = 0;
            pid_t pid;

            fixture_init(&f, 4, 16, MANY_MANY, first_pos_near_wrap(i, 2));
            ring = fixture_open(&f);
            produce_u64(ring, 1);
            pid = claim_and_die(&f, reap);
            produce_u64(ring, 2);
            expect_u64(ring, 1);
            cr_assert_eq(ipcring_consume(ring, &got, 8, 1000 * MS), 8);
            cr_assert_eq(got, 2);
            ipcring_get_stat(ring, &stat);
            cr_assert_eq(stat.n_skipped, 1);
            if (!reap)
                waitpid(pid, NULL, 0);
            ipcring_close(ring);
            fixture_deinit(&f);
        }
    }
}

Test(ring_dead, a_producer_that_waits_for_room_is_served_by_those_who_skip)
{
    struct fixture f;
    struct ipcring *ring;
    uint64_t got = 0;

    fixture_init(&f, 2, 16, MANY_MANY, 0);
    ring = fixture_open(&f);
    claim_and_die(&f, true);
    claim_and_die(&f, true);
    cr_assert_eq(ipcring_try_produce(ring, &got, 8), -EAGAIN);
    cr_assert_eq(ipcring_consume(ring, &got, 8, 50 * MS), -ETIMEDOUT);
    produce_u64(ring, 7);
    expect_u64(ring, 7);
    ipcring_close(ring);
    fixture_deinit(&f);
}

Test(ring_dead, a_claim_of_another_namespace_is_not_judged)
{
    struct fixture f;
    struct ipcring *ring;
    uint64_t got;

    fixture_init(&f, 2, 16, MANY_MANY, 0);
    atomic_store(ring_u64(f.map, IPCRING_AT_PID_NAMESPACE), 1);
    ring = fixture_open(&f);
    claim_and_die(&f, true);
    cr_assert_eq(ipcring_consume(ring, &got, 8, 50 * MS), -ETIMEDOUT);
    ipcring_close(ring);
    fixture_deinit(&f);
}

static bool foreign_is_dead;

static bool answer(void *arg, enum ring_claim claim, uint64_t what)
{
    (void)arg;
    (void)claim;
    cr_assert(what & IPCRING_ID_FOREIGN);
    return foreign_is_dead;
}

Test(ring_dead, who_sees_into_the_other_namespace_frees_what_its_dead_held)
{
    EACH_FLAGS(flags)
    {
        struct ring_geometry geometry = { 2, 16, (uint32_t)flags };
        struct fixture f;
        struct ipcring *ring;
        pid_t pid;

        foreign_is_dead = false;
        fixture_init(&f, 2, 16, (uint32_t)flags, UINT64_MAX);
        atomic_store(ring_u64(f.map, IPCRING_AT_PID_NAMESPACE), 1);
        ring = fixture_open(&f);
        cr_assert_eq(ring_bury(f.map, &geometry, answer, NULL), 0);
        pid = claim_and_die(&f, true);
        cr_assert_gt(pid, 0);
        cr_assert_eq(ring_bury(f.map, &geometry, answer, NULL), 0);
        foreign_is_dead = true;
        cr_assert_eq(ring_bury(f.map, &geometry, answer, NULL), 1);
        cr_assert_eq(ring_bury(f.map, &geometry, answer, NULL), 0);
        produce_u64(ring, 6);
        expect_u64(ring, 6);
        ipcring_close(ring);
        fixture_deinit(&f);
    }
}

/* There may be no consumer who would look at them. */
Test(ring_dead, producer_sleeps_no_longer_than_a_consumer_before_claims_that_fill_the_ring)
{
    struct ipcring *ring;
    struct fixture f;
    uint32_t *word;
    uint32_t value;
    uint64_t ns;

    fixture_init(&f, 2, 16, 0, 0);
    ring = fixture_open(&f);
    for (uint64_t i = 0; i < 2; i++)
        atomic_store(ring_u64(f.map, IPCRING_AT_SLOT_0 + i * 16),
                     ipcring_word(1, IPCRING_CLAIMED, (uint32_t)getppid()));
    atomic_store(ring_u64(f.map, IPCRING_AT_HEAD), 2);
    cr_assert_eq(ipcring_arm(ring, IPCRING_WRITABLE, &word, &value, &ns), 0);
    cr_assert_leq(ns, IPCRING_JUDGE_NS);
    ipcring_close(ring);
    fixture_deinit(&f);
}

Test(ring_dead, a_pid_that_is_used_again_is_not_its_predecessor)
{
    uint32_t id = ipcring_os_own_id();
    uint32_t other = id ^ (2U << IPCRING_ID_START_SHIFT);

    cr_assert_eq(id & IPCRING_ID_PID, (uint32_t)getpid());
    cr_assert_neq(id >> IPCRING_ID_START_SHIFT, 0);
    cr_assert(!ipcring_os_claimer_is_dead(id));
    cr_assert(!ipcring_os_claimer_is_dead(id & IPCRING_ID_PID));
    cr_assert(ipcring_os_claimer_is_dead(other));
}

Test(ring_dead, one_who_was_taken_for_dead_is_told)
{
    struct fixture f;
    struct ipcring *ring;
    void *place;

    fixture_init(&f, 2, 16, MANY_MANY, 0);
    ring = fixture_open(&f);
    cr_assert_eq(ipcring_reserve(ring, &place, 0), 0);
    atomic_store(ring_u64(f.map, IPCRING_AT_SLOT_0), ipcring_word(1, IPCRING_SKIP, 0));
    cr_assert_eq(ipcring_commit(ring, 8), -ESTALE);
    cr_assert_eq(ipcring_commit(ring, 8), -EINVAL);
    produce_u64(ring, 1);
    expect_u64(ring, 1);
    ipcring_close(ring);
    fixture_deinit(&f);
}

/* --- Waiting --- */

static void *close_ring_soon(void *map)
{
    usleep(30000);
    ring_end(map);
    return NULL;
}

Test(ring_wait, nothing_goes_into_a_ring_that_has_ended)
{
    EACH_FLAGS(flags)
    {
        struct fixture f;
        struct ipcring *ring;
        struct ipcring_msg msg;
        const void *shown;
        uint32_t *word;
        uint32_t value;
        uint64_t data = 0;
        uint64_t ns;
        void *place;

        fixture_init(&f, 4, 16, (uint32_t)flags, 0);
        ring = fixture_open(&f);
        msg = (struct ipcring_msg){ &data, sizeof(data) };
        /* Both are in their stride. */
        produce_u64(ring, 1);
        produce_u64(ring, 2);
        expect_u64(ring, 1);
        cr_assert_eq(ipcring_reserve(ring, &place, 0), 0);
        ring_end(f.map);
        cr_expect_eq(ipcring_commit(ring, 8), -EIDRM);
        cr_expect_eq(ipcring_reserve(ring, &place, IPCRING_FOREVER), -EIDRM);
        ipcring_cancel(ring);
        cr_expect_eq(ipcring_reserve(ring, &place, IPCRING_FOREVER), -EIDRM);
        cr_expect_eq(ipcring_try_produce(ring, &data, 8), -EIDRM);
        cr_expect_eq(ipcring_produce_batch(ring, &msg, 1, IPCRING_FOREVER), -EIDRM);
        cr_expect_eq(ipcring_try_consume(ring, &data, 8), -EIDRM);
        cr_expect_eq(ipcring_consume_batch(ring, &msg, 1, IPCRING_FOREVER), -EIDRM);
        if (flags & IPCRING_ONE_CONSUMER)
            cr_expect_eq(ipcring_peek(ring, &shown, IPCRING_FOREVER), -EIDRM);
        cr_expect_eq(ipcring_arm(ring, IPCRING_READABLE, &word, &value, &ns), -EIDRM);
        cr_expect_eq(ipcring_arm(ring, IPCRING_WRITABLE, &word, &value, &ns), -EIDRM);
        ipcring_close(ring);
        fixture_deinit(&f);
    }
}

/* Return: how long one waited for the end of the ring. */
static uint64_t wait_for_the_end(uint32_t flags, bool full)
{
    struct fixture f;
    struct ipcring *ring;
    uint64_t value = 0;
    uint64_t start = now_ns();
    uint64_t waited;
    pthread_t thread;
    int r;

    fixture_init(&f, 2, 16, flags, 0);
    ring = fixture_open(&f);
    pthread_create(&thread, NULL, close_ring_soon, f.map);
    if (full) {
        produce_u64(ring, 1);
        produce_u64(ring, 2);
        r = ipcring_produce(ring, &value, 8, IPCRING_FOREVER);
    } else {
        r = ipcring_consume(ring, &value, 8, IPCRING_FOREVER);
    }
    waited = now_ns() - start;
    pthread_join(thread, NULL);
    cr_assert_eq(r, -EIDRM);
    cr_assert_eq(ipcring_try_produce(ring, &value, 8), -EIDRM);
    cr_assert_eq(ipcring_try_consume(ring, &value, 8), -EIDRM);
    ipcring_close(ring);
    fixture_deinit(&f);
    return waited;
}

Test(ring_wait, the_end_wakes_all_with_eidrm)
{
    EACH_FLAGS(flags)
    {
        for (int full = 0; full < 2; full++) {
            uint64_t shortest = UINT64_MAX;

            /* Who is not woken looks by itself after IPCRING_SLEEP_NS; on a machine that is busy with
             * other things, also who is woken may be late, but not each time. */
            for (int i = 0; i < 20 && shortest >= IPCRING_SLEEP_NS; i++) {
                uint64_t waited = wait_for_the_end((uint32_t)flags, full);

                if (waited < shortest)
                    shortest = waited;
            }
            cr_assert_lt(shortest, IPCRING_SLEEP_NS);
        }
    }
}

Test(ring_wait, a_timeout_is_honoured_and_costs_no_processor_time)
{
    struct fixture f;
    struct ipcring *ring;
    struct rusage before;
    struct rusage after;
    uint64_t start = now_ns();
    uint64_t value;
    uint64_t took;

    fixture_init(&f, 2, 16, MANY_MANY, 0);
    ring = fixture_open(&f);
    getrusage(RUSAGE_THREAD, &before);
    cr_assert_eq(ipcring_consume(ring, &value, 8, 300 * MS), -ETIMEDOUT);
    getrusage(RUSAGE_THREAD, &after);
    took = now_ns() - start;
    cr_expect_geq(took, 300 * (uint64_t)MS);
    cr_expect_lt(took, 10000 * (uint64_t)MS);
    cr_expect_lt(after.ru_utime.tv_usec - before.ru_utime.tv_usec +
                     (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000,
                 20000);
    ipcring_close(ring);
    fixture_deinit(&f);
}

Test(ring_wait, who_spins_without_end_never_sleeps)
{
    struct fixture f;
    struct ipcring *ring;
    struct ipcring_stat stat;
    uint64_t value;

    fixture_init(&f, 2, 16, MANY_MANY, 0);
    ring = fixture_open(&f);
    ipcring_set_spin(ring, UINT64_MAX);
    cr_assert_eq(ipcring_consume(ring, &value, 8, MS), -ETIMEDOUT);
    ipcring_get_stat(ring, &stat);
    cr_assert_eq(stat.n_sleeps, 0);
    ipcring_close(ring);
    fixture_deinit(&f);
}

static void *publish_without_waking(void *map)
{
    uint64_t word = ipcring_word(1, IPCRING_FULL, 8);

    usleep(30000);
    atomic_store(ring_u64(map, IPCRING_AT_SLOT_0), word);
    return NULL;
}

Test(ring_wait, who_dies_before_waking_others_keeps_them_only_for_a_moment)
{
    struct fixture f;
    struct ipcring *ring;
    struct ipcring_stat stat;
    uint64_t start = now_ns();
    uint64_t value;
    pthread_t thread;

    fixture_init(&f, 2, 16, MANY_MANY, 0);
    ring = fixture_open(&f);
    pthread_create(&thread, NULL, publish_without_waking, f.map);
    cr_assert_eq(ipcring_consume(ring, &value, 8, IPCRING_FOREVER), 8);
    cr_assert_lt(now_ns() - start, 10000 * (uint64_t)MS);
    pthread_join(thread, NULL);
    ipcring_get_stat(ring, &stat);
    cr_assert_eq(stat.n_rescues, 1);
    ipcring_close(ring);
    fixture_deinit(&f);
}

static void on_signal(int signal_number)
{
}

Test(ring_wait, a_signal_interrupts)
{
    struct fixture f;
    struct ipcring *ring;
    uint64_t value;
    struct sigaction action = { .sa_handler = on_signal };
    struct itimerval soon = { .it_value.tv_usec = 20000 };

    fixture_init(&f, 2, 16, ONE_ONE, 0);
    ring = fixture_open(&f);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    cr_assert_eq(ipcring_consume(ring, &value, 8, 1000 * MS), -EINTR);
    ipcring_close(ring);
    fixture_deinit(&f);
}

Test(ring_wait, arming_tells_what_to_sleep_on)
{
    struct fixture f;
    struct ipcring *ring;
    uint32_t *word;
    uint32_t value;
    uint64_t ns;

    fixture_init(&f, 2, 16, MANY_MANY, 0);
    ring = fixture_open(&f);
    cr_assert_eq(ipcring_arm(ring, 0, &word, &value, &ns), -EINVAL);
    cr_assert_eq(ipcring_arm(ring, IPCRING_WRITABLE, &word, &value, &ns), 1);
    cr_assert_eq(ipcring_arm(ring, IPCRING_READABLE, &word, &value, &ns), 0);
    cr_assert_eq(*word, value);
    produce_u64(ring, 1);
    cr_assert_neq(*word, value);
    cr_assert_eq(ipcring_arm(ring, IPCRING_READABLE, &word, &value, &ns), 1);
    ipcring_close(ring);
    fixture_deinit(&f);
}

Test(ring_wait, a_wait_word_wraps_below_the_closed_bit)
{
    struct fixture f;
    _Atomic uint32_t *word;

    fixture_init(&f, 2, 16, MANY_MANY, 0);
    word = ring_u32(f.map, IPCRING_AT_WAIT_DATA);
    atomic_store(word, 0x7fffffff);
    cr_assert(ipcring_os_wake(word));
    cr_assert_eq(atomic_load(word), 0);
    cr_assert(!ipcring_os_wake(word));
    atomic_store(word, 0xffffffff);
    cr_assert(ipcring_os_wake(word));
    cr_assert_eq(atomic_load(word), IPCRING_CLOSED);
    fixture_deinit(&f);
}

/* --- What the words can't be --- */

Test(ring_damage, is_reported)
{
    EACH_FLAGS(flags)
    {
        struct fixture f;
        struct ipcring *ring;
        uint64_t value = 0;

        fixture_init(&f, 4, 16, (uint32_t)flags, 0);
        ring = fixture_open(&f);
        produce_u64(ring, 1);
        atomic_store(ring_u64(f.map, IPCRING_AT_SLOT_0), ipcring_word(1, IPCRING_FULL, 9));
        cr_expect_eq(ipcring_try_consume(ring, &value, 8), -EPROTO);
        atomic_store(ring_u64(f.map, IPCRING_AT_SLOT_0), ipcring_word(7, IPCRING_FULL, 8));
        cr_expect_eq(ipcring_try_consume(ring, &value, 8), -EPROTO);
        atomic_store(ring_u64(f.map, IPCRING_AT_TAIL), 77);
        for (int i = 0; i < 3; i++)
            ipcring_try_produce(ring, &value, 8);
        cr_expect_eq(ipcring_try_produce(ring, &value, 8), -EPROTO);
        ipcring_close(ring);
        fixture_deinit(&f);
    }
}
