/* Messages on lease, those that are given up, and those that have waited too long. */
#include "core/mailbox/lease.h"
#include "case.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct mbox_domain domain;
static struct mbox jobs;
static struct mbox failed;
static struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

static void release(struct mbox *gone)
{
    mbox_deinit(gone);
}

/* There is one, and it is called failed. */
static struct mbox *find_dead(struct mbox *mbox, const char *name,
                              char ret_from[MBOX_NAME_BYTES_MAX + 1])
{
    strcpy(ret_from, mbox == &jobs ? "jobs" : "failed");
    if (strcmp(name, "failed") == 0)
        return mbox_ref(&failed);
    return strcmp(name, "jobs") == 0 ? mbox_ref(&jobs) : NULL;
}

static void set_up(void)
{
    mbox_domain_init(&domain, 1 << 24, 1 << 24);
    domain.find_dead = find_dead;
    mbox_init(&jobs, &domain, release);
    mbox_init(&failed, &domain, release);
}

static void tear_down(void)
{
    mbox_remove(&jobs, true, &ready);
    mbox_remove(&failed, true, &ready);
    mbox_ready_run(&ready);
    mbox_unref(&jobs);
    mbox_unref(&failed);
    cr_assert_eq(quota_used(&domain.quota), 0, "a charge was not released");
    mbox_domain_deinit(&domain);
}

#define LEASE_TEST(name) CASE(lease, name)

static void configure(struct mbox *mbox, const char *text)
{
    cr_assert_eq(mbox_configure(mbox, text, strlen(text), &ready), 0);
    mbox_ready_run(&ready);
}

static int post_to(struct mbox *mbox, const char *text, unsigned int prio)
{
    struct msg *msg = msg_new(text, strlen(text), prio, (struct msg_sender){ .pid = 1, .uid = 7 });
    int r = mbox_post(mbox, msg, NULL, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    return r;
}

static void post(const char *text)
{
    cr_assert_eq(post_to(&jobs, text, 0), 0);
}

static struct mbox_entry *take_from(struct mbox *mbox, bool leases)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX, .leases = leases };
    struct mbox_entry *entry;
    int r = mbox_take(mbox, &op, &entry, &ready);

    mbox_ready_run(&ready);
    if (r == -EAGAIN)
        return NULL;
    cr_assert_eq(r, 0);
    mbox_commit(mbox, entry, &ready);
    return entry;
}

static bool is(const struct mbox_entry *entry, const char *text)
{
    return entry && entry->msg->size_bytes == strlen(text) &&
           memcmp(entry->msg->data, text, strlen(text)) == 0;
}

static struct mbox_entry *lease(const char *text)
{
    struct mbox_entry *entry = take_from(&jobs, true);

    cr_assert(is(entry, text), "expected %s", text);
    return entry;
}

static int end(struct mbox_entry *entry, enum mbox_lease_word word)
{
    int r = mbox_lease_end(&jobs, entry, word, NULL, &ready);

    mbox_ready_run(&ready);
    return r;
}

static void expect_next_in(struct mbox *mbox, const char *text)
{
    struct mbox_entry *entry = take_from(mbox, false);

    cr_assert(is(entry, text), "expected %s", text);
    mbox_entry_free(entry);
}

static struct mbox_stat stat_of(struct mbox *mbox)
{
    struct mbox_stat stat;

    cr_assert_eq(mbox_get_stat(mbox, &stat), 0);
    return stat;
}

static void expect_header(const struct mbox_entry *entry, const char *value)
{
    struct header header;

    cr_assert(headers_find(mbox_entry_headers(entry), MBOX_DEAD_HEADER, strlen(MBOX_DEAD_HEADER),
                           &header));
    cr_assert_eq(header.n_value, strlen(value));
    cr_assert_eq(memcmp(header.value, value, header.n_value), 0);
}

LEASE_TEST(what_is_done_is_gone)
{
    struct mbox_entry *entry;

    post("one");
    entry = lease("one");
    cr_assert_eq(stat_of(&jobs).n_leased, 1);
    cr_assert_eq(stat_of(&jobs).n_messages, 0);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES, "it counts for its sender");
    cr_assert_null(take_from(&jobs, true));
    cr_assert_eq(mbox_remove(&jobs, false, &ready), -ENOTEMPTY);
    cr_assert_eq(end(entry, MBOX_LEASE_DONE), 0);
    cr_assert_eq(stat_of(&jobs).n_leased, 0);
    cr_assert_eq(stat_of(&jobs).n_received, 1);
    cr_assert_eq(quota_used(&domain.quota), 0);
    cr_assert_eq(mbox_remove(&jobs, false, &ready), 0);
}

LEASE_TEST(what_comes_back_has_its_place_and_one_attempt_more)
{
    struct mbox_entry *entries[3];

    cr_assert_eq(post_to(&jobs, "low", 0), 0);
    cr_assert_eq(post_to(&jobs, "one", 5), 0);
    cr_assert_eq(post_to(&jobs, "two", 5), 0);
    cr_assert_eq(post_to(&jobs, "three", 5), 0);
    entries[0] = lease("one");
    entries[1] = lease("two");
    entries[2] = lease("three");
    cr_assert_eq(end(entries[1], MBOX_LEASE_AGAIN), 0);
    cr_assert_eq(end(entries[2], MBOX_LEASE_AGAIN), 0);
    cr_assert_eq(end(entries[0], MBOX_LEASE_AGAIN), 0);
    cr_assert_eq(stat_of(&jobs).n_received, 0);
    entries[0] = lease("one");
    cr_assert_eq(entries[0]->n_attempts, 1);
    cr_assert_eq(end(entries[0], MBOX_LEASE_AGAIN), 0);
    expect_next_in(&jobs, "one");
    expect_next_in(&jobs, "two");
    expect_next_in(&jobs, "three");
    expect_next_in(&jobs, "low");
}

LEASE_TEST(a_lease_that_never_arrived_is_no_attempt)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX, .leases = true };
    struct mbox_entry *entry;

    post("one");
    cr_assert_eq(mbox_take(&jobs, &op, &entry, &ready), 0);
    cr_assert_eq(mbox_remove(&jobs, false, &ready), -ENOTEMPTY);
    mbox_abort(&jobs, entry, &ready);
    cr_assert_eq(stat_of(&jobs).n_leased, 0);
    entry = lease("one");
    cr_assert_eq(entry->n_attempts, 0);
    cr_assert_eq(end(entry, MBOX_LEASE_DONE), 0);
}

LEASE_TEST(after_so_many_attempts_it_goes_to_the_dead)
{
    struct mbox_entry *entry;
    uint64_t id;

    configure(&jobs, "attempts=2\ndead=failed");
    post("one");
    entry = lease("one");
    id = entry->msg->id;
    cr_assert_eq(end(entry, MBOX_LEASE_AGAIN), 0);
    cr_assert_eq(stat_of(&jobs).n_dead, 0);
    cr_assert_eq(end(lease("one"), MBOX_LEASE_AGAIN), 0);
    cr_assert_eq(stat_of(&jobs).n_dead, 1);
    cr_assert_null(take_from(&jobs, true));
    entry = take_from(&failed, false);
    cr_assert(is(entry, "one"));
    cr_assert_eq(entry->msg->id, id);
    cr_assert_eq(entry->n_attempts, 2);
    expect_header(entry, "jobs");
    mbox_entry_free(entry);
}

LEASE_TEST(the_word_dead_needs_no_bound)
{
    configure(&jobs, "dead=failed");
    post("one");
    cr_assert_eq(end(lease("one"), MBOX_LEASE_DEAD), 0);
    expect_next_in(&failed, "one");
    post("two");
    configure(&jobs, "dead=");
    cr_assert_eq(end(lease("two"), MBOX_LEASE_DEAD), 0);
    expect_next_in(&jobs, "two");
}

/* Where it can't go to the dead it is back in its place, and nothing is lost. */
static void expect_back(const char *settings, const char *of_failed)
{
    struct mbox_entry *entry;

    configure(&jobs, settings);
    configure(&failed, of_failed);
    post("one");
    post("two");
    cr_assert_eq(end(lease("one"), MBOX_LEASE_AGAIN), 0);
    cr_assert_eq(end(lease("one"), MBOX_LEASE_DEAD), 0);
    entry = lease("one");
    cr_assert_eq(entry->n_attempts, 2);
    cr_assert_eq(end(entry, MBOX_LEASE_DONE), 0);
    expect_next_in(&jobs, "two");
    cr_assert_eq(stat_of(&jobs).n_dead, 0);
}

LEASE_TEST(dead_that_is_nowhere)
{
    expect_back("attempts=1\ndead=nowhere", "");
}

LEASE_TEST(dead_that_is_itself)
{
    expect_back("attempts=1\ndead=jobs", "");
}

LEASE_TEST(dead_that_is_full)
{
    cr_assert_eq(post_to(&failed, "other", 0), 0);
    expect_back("attempts=1\ndead=failed", "messages=1");
}

LEASE_TEST(dead_that_would_drop_it)
{
    cr_assert_eq(post_to(&failed, "other", 9), 0);
    expect_back("attempts=1\ndead=failed", "messages=1\noverflow=drop-oldest");
}

LEASE_TEST(dead_that_takes_no_more_than_one_who_waits)
{
    expect_back("attempts=1\ndead=failed", "messages=0");
}

LEASE_TEST(dead_that_takes_no_message_so_long)
{
    expect_back("attempts=1\ndead=failed", "bytes=2");
}

LEASE_TEST(another_mailbox_counts_attempts_anew)
{
    struct mbox_entry *entry;

    configure(&jobs, "attempts=1\ndead=failed");
    configure(&failed, "attempts=2\ndead=jobs");
    post("one");
    cr_assert_eq(end(lease("one"), MBOX_LEASE_AGAIN), 0);
    for (unsigned int n = 1; n <= 2; n++) {
        entry = take_from(&failed, true);
        cr_assert(is(entry, "one"));
        cr_assert_eq(entry->n_attempts, n);
        cr_assert_eq(mbox_lease_end(&failed, entry, MBOX_LEASE_AGAIN, NULL, &ready), 0);
    }
    entry = lease("one");
    cr_assert_eq(entry->n_attempts, 3);
    expect_header(entry, "failed");
    cr_assert_eq(end(entry, MBOX_LEASE_DONE), 0);
}

LEASE_TEST(a_mailbox_that_is_removed_gives_up_its_leases)
{
    struct mbox_entry *entries[3];

    configure(&jobs, "attempts=1\ndead=failed");
    post("one");
    post("two");
    post("three");
    entries[0] = lease("one");
    entries[1] = lease("two");
    entries[2] = lease("three");
    cr_assert_eq(mbox_remove(&jobs, true, &ready), 0);
    cr_assert(is(entries[0], "one"), "who has it can read it still");
    cr_assert_eq(end(entries[0], MBOX_LEASE_DONE), -EIDRM);
    cr_assert_eq(end(entries[1], MBOX_LEASE_AGAIN), -EIDRM);
    cr_assert_eq(end(entries[2], MBOX_LEASE_DEAD), -EIDRM);
    cr_assert_null(take_from(&failed, false));
}

LEASE_TEST(a_lease_makes_room)
{
    struct mbox_entry *entry;

    configure(&jobs, "messages=1");
    post("one");
    cr_assert_eq(post_to(&jobs, "two", 0), -EAGAIN);
    entry = lease("one");
    post("two");
    cr_assert_eq(end(entry, MBOX_LEASE_AGAIN), 0);
    cr_assert_eq(stat_of(&jobs).n_messages, 2, "it goes in all the same");
    expect_next_in(&jobs, "one");
    expect_next_in(&jobs, "two");
}

static int n_completed;

static void count_completion(struct mbox_op *op, struct mbox_ready *more)
{
    (void)op;
    (void)more;
    n_completed++;
}

LEASE_TEST(the_sender_of_a_rendezvous_has_met_a_lease)
{
    struct mbox_op op = { .complete = count_completion };
    struct msg *msg = msg_new("one", 3, 0, (struct msg_sender){ .uid = 7 });
    struct mbox_entry *entry;

    n_completed = 0;
    configure(&jobs, "messages=0");
    cr_assert_eq(mbox_post(&jobs, msg, &op, &ready), MBOX_PARKED);
    msg_unref(msg);
    entry = lease("one");
    mbox_ready_run(&ready);
    cr_assert_eq(n_completed, 1);
    cr_assert_eq(op.result, 0);
    cr_assert_eq(end(entry, MBOX_LEASE_AGAIN), 0);
    cr_assert_eq(stat_of(&jobs).n_messages, 1, "it waits for another");
    cr_assert_eq(end(lease("one"), MBOX_LEASE_DONE), 0);
}

LEASE_TEST(one_who_waits_gets_what_comes_back)
{
    struct mbox_op op = { .complete = count_completion, .max_bytes = SIZE_MAX, .leases = true };
    struct mbox_entry *entry;

    n_completed = 0;
    post("one");
    entry = lease("one");
    cr_assert_eq(mbox_take(&jobs, &op, &entry, &ready), MBOX_PARKED);
    cr_assert_eq(end(TAILQ_FIRST(&jobs.leased), MBOX_LEASE_AGAIN), 0);
    cr_assert_eq(n_completed, 1);
    cr_assert(is(op.entry, "one"));
    mbox_commit(&jobs, op.entry, &ready);
    cr_assert_eq(stat_of(&jobs).n_leased, 1);
    cr_assert_eq(end(op.entry, MBOX_LEASE_DONE), 0);
}

LEASE_TEST(ten_thousand_leases_come_back_in_their_order)
{
    enum { N = 10000 };
    static struct mbox_entry *entries[N];
    uint64_t last_id = 0;

    configure(&jobs, "messages=max");
    for (int i = 0; i < N; i++)
        post("x");
    for (int i = 0; i < N; i++)
        entries[i] = lease("x");
    cr_assert_eq(stat_of(&jobs).n_leased, N);
    for (int i = 0; i < N; i++)
        cr_assert_eq(end(entries[i * 7919 % N], MBOX_LEASE_AGAIN), 0);
    for (int i = 0; i < N; i++) {
        struct mbox_entry *entry = take_from(&jobs, false);

        cr_assert(entry->msg->id > last_id);
        last_id = entry->msg->id;
        mbox_entry_free(entry);
    }
}

/* --- ttl --- */

static void wait_until_expired(struct mbox *mbox, uint64_t n)
{
    const struct timespec pause = { .tv_nsec = 1000000 };

    while (stat_of(mbox).n_expired < n)
        nanosleep(&pause, NULL);
}

LEASE_TEST(what_waits_too_long_is_dropped_and_counted)
{
    configure(&jobs, "ttl=0.01");
    post("one");
    cr_assert_eq(post_to(&jobs, "two", 9), 0);
    wait_until_expired(&jobs, 2);
    cr_assert_null(take_from(&jobs, false));
    cr_assert_eq(stat_of(&jobs).n_dead, 0);
    cr_assert_eq(stat_of(&jobs).n_messages, 0);
    cr_assert_eq(mbox_remove(&jobs, false, &ready), 0);
}

LEASE_TEST(it_is_never_delivered_however_late_the_timer_is)
{
    const struct timespec pause = { .tv_nsec = 5000000 };

    configure(&jobs, "ttl=0.002");
    expiry_stop(&domain.expiry);
    post("one");
    nanosleep(&pause, NULL);
    cr_assert_null(take_from(&jobs, false));
    cr_assert_eq(stat_of(&jobs).n_expired, 1);
}

LEASE_TEST(it_goes_to_the_dead_where_there_are)
{
    struct mbox_entry *entry;

    configure(&jobs, "ttl=0.01\ndead=failed");
    post("one");
    wait_until_expired(&jobs, 1);
    while (!(entry = take_from(&failed, false)))
        ;
    cr_assert(is(entry, "one"));
    cr_assert_eq(entry->n_attempts, 0);
    expect_header(entry, "jobs");
    mbox_entry_free(entry);
    cr_assert_eq(stat_of(&jobs).n_dead, 1);
}

LEASE_TEST(it_is_dropped_where_the_dead_have_no_room)
{
    configure(&failed, "messages=1");
    cr_assert_eq(post_to(&failed, "other", 0), 0);
    configure(&jobs, "ttl=0.01\ndead=failed");
    post("one");
    wait_until_expired(&jobs, 1);
    while (mbox_remove(&jobs, false, &ready) == -ENOTEMPTY)
        ;
    expect_next_in(&failed, "other");
    cr_assert_null(take_from(&failed, false));
}

LEASE_TEST(what_is_on_lease_does_not_expire_until_it_is_back)
{
    struct mbox_entry *entry;

    configure(&jobs, "ttl=0.02");
    post("one");
    entry = lease("one");
    post("two");
    wait_until_expired(&jobs, 1);
    cr_assert(is(entry, "one"));
    cr_assert_eq(end(entry, MBOX_LEASE_AGAIN), 0);
    cr_assert_null(take_from(&jobs, true));
    cr_assert_eq(stat_of(&jobs).n_expired, 2);
}

LEASE_TEST(a_new_bound_holds_for_what_waits)
{
    post("one");
    configure(&jobs, "ttl=3600");
    configure(&jobs, "ttl=0.001");
    wait_until_expired(&jobs, 1);
    post("two");
    configure(&jobs, "ttl=0");
}

LEASE_TEST(it_makes_room_for_senders_that_wait)
{
    struct mbox_op op = { .complete = count_completion };
    struct msg *msg = msg_new("two", 3, 0, (struct msg_sender){ .uid = 7 });
    const struct timespec pause = { .tv_nsec = 1000000 };

    configure(&jobs, "ttl=0.02\nmessages=1");
    post("one");
    cr_assert_eq(mbox_post(&jobs, msg, &op, &ready), MBOX_PARKED);
    msg_unref(msg);
    while (stat_of(&jobs).n_senders_waiting > 0)
        nanosleep(&pause, NULL);
    cr_assert_eq(stat_of(&jobs).n_sent, 2);
    wait_until_expired(&jobs, 2);
    expiry_stop(&domain.expiry);
    cr_assert_eq(op.result, 0);
}

LEASE_TEST(the_first_of_many_mailboxes_is_looked_at_first)
{
    enum { N = 200 };
    static struct mbox many[N];
    char text[32];

    for (int i = 0; i < N; i++) {
        mbox_init(&many[i], &domain, release);
        snprintf(text, sizeof(text), "ttl=0.%03d", 1 + i * 7 % N / 4);
        configure(&many[i], text);
        cr_assert_eq(post_to(&many[i], "x", 0), 0);
    }
    for (int i = 0; i < N; i += 3)
        cr_assert_eq(mbox_remove(&many[i], true, &ready), 0);
    for (int i = 0; i < N; i++) {
        if (i % 3) {
            wait_until_expired(&many[i], 1);
            cr_assert_eq(mbox_remove(&many[i], false, &ready), 0);
        }
        mbox_unref(&many[i]);
    }
}
