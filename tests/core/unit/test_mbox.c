/* What only the engine's users see: messages in flight, watches, cancels. What every mailbox
 * promises is in tests/core/contract. */
#include "core/mailbox/mbox_cursor.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct mbox_domain domain;
static struct mbox mbox;
static struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

static void release(struct mbox *gone)
{
    mbox_deinit(gone);
}

static void set_up(void)
{
    mbox_domain_init(&domain, 1 << 20, 1 << 20);
    mbox_init(&mbox, &domain, release);
}

static void tear_down(void)
{
    mbox_remove(&mbox, true, &ready);
    mbox_ready_run(&ready);
    mbox_unref(&mbox);
    cr_assert_eq(quota_used(&domain.quota), 0, "a charge was not released");
    mbox_domain_deinit(&domain);
}

/* Not Criterion's fixtures: a crash in those does not fail the test. */
#define MBOX_TEST(name)                                                                            \
    static void run_##name(void);                                                                  \
    Test(mbox, name)                                                                               \
    {                                                                                              \
        set_up();                                                                                  \
        run_##name();                                                                              \
        tear_down();                                                                               \
    }                                                                                              \
    static void run_##name(void)

static int n_completed;

static void count_completion(struct mbox_op *op, struct mbox_ready *more)
{
    (void)op;
    (void)more;
    n_completed++;
}

static struct mbox_op waiting_op(void)
{
    return (struct mbox_op){ .complete = count_completion, .max_bytes = SIZE_MAX };
}

static int post_prio(const char *text, unsigned int prio, struct mbox_op *op)
{
    struct msg *msg = msg_new(text, strlen(text), prio, (struct msg_sender){ .uid = 7 });
    int r = mbox_post(&mbox, msg, op, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    return r;
}

static int post(const char *text)
{
    return post_prio(text, 0, NULL);
}

static int take(struct mbox_entry **ret_entry)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };

    int r = mbox_take(&mbox, &op, ret_entry, &ready);

    mbox_ready_run(&ready);
    return r;
}

static bool is(const struct msg *msg, const char *text)
{
    return msg->size_bytes == strlen(text) && memcmp(msg->data, text, msg->size_bytes) == 0;
}

static void commit(struct mbox_entry *entry)
{
    mbox_commit(&mbox, entry, &ready);
    mbox_entry_free(entry);
    mbox_ready_run(&ready);
}

static void abort_delivery(struct mbox_entry *entry)
{
    mbox_abort(&mbox, entry, &ready);
    mbox_ready_run(&ready);
}

static void expect_next(const char *text)
{
    struct mbox_entry *entry;

    cr_assert_eq(take(&entry), 0);
    cr_assert(is(entry->msg, text), "expected %s", text);
    commit(entry);
}

static void configure(const char *text)
{
    cr_assert_eq(mbox_configure(&mbox, text, strlen(text), &ready), 0);
    mbox_ready_run(&ready);
}

static struct mbox_stat stat_of(void)
{
    struct mbox_stat stat;

    cr_assert_eq(mbox_get_stat(&mbox, &stat), 0);
    return stat;
}

MBOX_TEST(a_message_in_flight_leaves_its_room)
{
    struct mbox_op waiting = waiting_op();
    struct mbox_entry *entry;

    configure("messages=1");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post_prio("two", 0, &waiting), MBOX_PARKED);
    cr_assert_eq(take(&entry), 0);
    cr_assert_eq(n_completed, 1);
    cr_assert_eq(stat_of().n_messages, 1);
    cr_assert_eq(stat_of().n_received, 1);
    commit(entry);
    expect_next("two");
    cr_assert_eq(stat_of().n_received, 2);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

MBOX_TEST(a_message_is_charged_until_its_receiver_lets_it_go)
{
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    mbox_commit(&mbox, entry, &ready);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES);
    mbox_entry_free(entry);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

MBOX_TEST(a_receiver_may_send_before_it_is_answered)
{
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES);
    mbox_entry_discharge(entry);
    cr_assert_eq(quota_used(&domain.quota), 0);
    abort_delivery(entry);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES, "it is back");
    expect_next("one");
    cr_assert_eq(quota_used(&domain.quota), 0);
}

MBOX_TEST(an_undelivered_message_goes_back_however_full_the_quota_is)
{
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    mbox_entry_discharge(entry);
    cr_assert_eq(quota_charge(&domain.quota, 7, 1 << 20), 0);
    abort_delivery(entry);
    cr_assert_eq(stat_of().n_messages, 1);
    quota_release(&domain.quota, 7, 1 << 20);
    expect_next("one");
}

MBOX_TEST(what_is_kept_counts_for_who_keeps_it_once_it_has_left)
{
    struct mbox_entry *entry;
    struct msg *kept;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(quota_charge(&domain.quota, 8, 1 << 20), -ENOSPC);
    cr_assert_eq(take(&entry), 0);
    abort_delivery(entry);
    kept = mbox_hold(&mbox, entry->msg->id, 8);
    cr_assert_eq(quota_charge(&domain.quota, 7, (1 << 20) - MSG_MIN_CHARGE_BYTES), 0);
    quota_release(&domain.quota, 7, (1 << 20) - MSG_MIN_CHARGE_BYTES);
    cr_assert_eq(take(&entry), 0);
    mbox_entry_discharge(entry);
    commit(entry);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES);
    cr_assert_eq(quota_charge(&domain.quota, 8, 1 << 20), -EDQUOT, "8 holds something");
    cr_assert_eq(quota_charge(&domain.quota, 7, 1 << 20), -ENOSPC, "7 does not");
    msg_let_go(kept);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

MBOX_TEST(what_goes_back_counts_for_its_sender_again)
{
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    cr_assert_eq(mbox_entry_charge_keeper(entry, &domain.quota, 8), 0);
    cr_assert_eq(quota_charge(&domain.quota, 8, 1 << 20), -EDQUOT, "8 keeps the rest");
    abort_delivery(entry);
    cr_assert_eq(quota_charge(&domain.quota, 7, 1 << 20), -EDQUOT);
    cr_assert_eq(quota_charge(&domain.quota, 8, 1 << 20), -ENOSPC);
    expect_next("one");
}

MBOX_TEST(a_keeper_without_room_leaves_it_to_the_sender)
{
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    domain.quota.uid_bytes = 10;
    cr_assert_eq(mbox_entry_charge_keeper(entry, &domain.quota, 8), 0);
    commit(entry);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

MBOX_TEST(an_undelivered_message_returns_to_a_full_mailbox)
{
    struct mbox_entry *entry;

    configure("messages=1");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    cr_assert_eq(post("two"), 0);
    abort_delivery(entry);
    cr_assert_eq(stat_of().n_messages, 2);
    cr_assert_eq(stat_of().n_received, 0);
    cr_assert_eq(quota_used(&domain.quota), 2 * MSG_MIN_CHARGE_BYTES);
    cr_assert_eq(mbox_remove(&mbox, false, &ready), -ENOTEMPTY);
    expect_next("one");
    expect_next("two");
}

MBOX_TEST(undelivered_messages_return_to_their_places)
{
    struct mbox_entry *one;
    struct mbox_entry *two;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post("two"), 0);
    cr_assert_eq(post("three"), 0);
    cr_assert_eq(take(&one), 0);
    cr_assert_eq(take(&two), 0);
    abort_delivery(two);
    abort_delivery(one);
    expect_next("one");
    expect_next("two");
    expect_next("three");
    cr_assert_eq(stat_of().n_received, 3);
}

MBOX_TEST(an_undelivered_message_goes_to_the_next_who_waits)
{
    struct mbox_op first = waiting_op();
    struct mbox_op second = waiting_op();
    struct mbox_entry *none;

    cr_assert_eq(mbox_take(&mbox, &first, &none, &ready), MBOX_PARKED);
    cr_assert_eq(mbox_take(&mbox, &second, &none, &ready), MBOX_PARKED);
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(first.result, 0);
    cr_assert(is(first.entry->msg, "one"));
    abort_delivery(first.entry);
    cr_assert_eq(n_completed, 2);
    cr_assert(is(second.entry->msg, "one"));
    commit(second.entry);
}

MBOX_TEST(drop_oldest_drops_what_returns_to_a_full_mailbox)
{
    struct mbox_entry *one;

    configure("messages=1\noverflow=drop-oldest");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&one), 0);
    cr_assert_eq(post("two"), 0);
    cr_assert_eq(stat_of().n_dropped, 0);
    abort_delivery(one);
    cr_assert_eq(stat_of().n_dropped, 1);
    expect_next("two");
    cr_assert_eq(take(&one), -EAGAIN);
}

MBOX_TEST(a_rendezvous_sender_waits_on_when_the_delivery_fails)
{
    struct mbox_op sender = waiting_op();
    struct mbox_entry *entry;

    configure("messages=0");
    cr_assert_eq(post_prio("one", 0, &sender), MBOX_PARKED);
    cr_assert_eq(take(&entry), 0);
    cr_assert_eq(stat_of().n_senders_waiting, 0);
    abort_delivery(entry);
    cr_assert_eq(n_completed, 0);
    cr_assert_eq(stat_of().n_senders_waiting, 1);
    expect_next("one");
    cr_assert_eq(n_completed, 1);
    cr_assert_eq(sender.result, 0);
}

MBOX_TEST(a_rendezvous_sender_that_does_not_wait_learns_that_the_delivery_failed)
{
    struct mbox_op receiver = waiting_op();
    struct mbox_op sender = waiting_op();
    struct mbox_entry *none;

    configure("messages=0");
    sender.nonblock = true;
    cr_assert_eq(mbox_take(&mbox, &receiver, &none, &ready), MBOX_PARKED);
    cr_assert_eq(post_prio("one", 0, &sender), MBOX_PARKED);
    abort_delivery(receiver.entry);
    cr_assert_eq(sender.result, -EAGAIN);
    cr_assert_eq(stat_of().n_sent, 0);
}

MBOX_TEST(an_interrupt_in_flight_counts_only_if_the_delivery_fails)
{
    struct mbox_op first = waiting_op();
    struct mbox_op second = waiting_op();
    struct mbox_entry *entry;

    configure("messages=0");
    cr_assert_eq(post_prio("one", 0, &first), MBOX_PARKED);
    cr_assert_eq(take(&entry), 0);
    mbox_cancel(&mbox, &first, &ready);
    cr_assert_eq(n_completed, 0);
    abort_delivery(entry);
    cr_assert_eq(first.result, -EINTR);

    cr_assert_eq(post_prio("two", 0, &second), MBOX_PARKED);
    cr_assert_eq(take(&entry), 0);
    mbox_cancel(&mbox, &second, &ready);
    commit(entry);
    cr_assert_eq(second.result, 0);
}

MBOX_TEST(who_is_cancelled_before_it_waits_does_not_wait)
{
    struct mbox_op receiver = waiting_op();
    struct mbox_op sender = waiting_op();
    struct mbox_entry *none;

    configure("messages=1");
    mbox_cancel(&mbox, &receiver, &ready);
    cr_assert_eq(mbox_take(&mbox, &receiver, &none, &ready), -EINTR);
    cr_assert_eq(post("one"), 0);
    mbox_cancel(&mbox, &sender, &ready);
    cr_assert_eq(post_prio("two", 0, &sender), -EINTR);
    cr_assert_eq(n_completed, 0);
}

MBOX_TEST(who_is_cancelled_but_need_not_wait_is_served)
{
    struct mbox_op receiver = waiting_op();
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    mbox_cancel(&mbox, &receiver, &ready);
    cr_assert_eq(mbox_take(&mbox, &receiver, &entry, &ready), 0);
    commit(entry);
}

MBOX_TEST(a_delivery_may_end_after_the_mailbox)
{
    struct mbox_entry *one;
    struct mbox_entry *two;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post("two"), 0);
    cr_assert_eq(take(&one), 0);
    cr_assert_eq(take(&two), 0);
    cr_assert_eq(mbox_remove(&mbox, true, &ready), 0);
    commit(one);
    abort_delivery(two);
    cr_assert_eq(mbox_remove(&mbox, true, &ready), -EIDRM);
}

MBOX_TEST(waiting_senders_are_charged)
{
    struct mbox_op sender = waiting_op();

    configure("messages=1");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post_prio("two", 0, &sender), MBOX_PARKED);
    cr_assert_eq(quota_used(&domain.quota), 2 * MSG_MIN_CHARGE_BYTES);
    mbox_cancel(&mbox, &sender, &ready);
    mbox_ready_run(&ready);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES);
}

MBOX_TEST(a_quota_refuses_and_never_waits)
{
    static char large[1 << 16];
    struct mbox_op sender = waiting_op();
    uint64_t n_fit = (1 << 20) / sizeof(large);

    configure("messages=max\nbytes=1G");
    for (uint64_t i = 0; i < n_fit; i++) {
        struct msg *msg = msg_new(large, sizeof(large), 0, (struct msg_sender){ .uid = 7 });

        cr_assert_eq(mbox_post(&mbox, msg, NULL, &ready), 0);
        msg_unref(msg);
    }
    cr_assert_eq(post_prio("x", 0, &sender), -EDQUOT);
    cr_assert_eq(stat_of().n_messages, n_fit);
}

struct watcher {
    struct mbox_watch watch;
    int n_fired;
};

static void count_fire(struct mbox_watch *watch)
{
    ((struct watcher *)watch)->n_fired++;
}

static struct watcher watcher_for(unsigned int events)
{
    return (struct watcher){ .watch = { .events = events, .fire = count_fire } };
}

MBOX_TEST(a_watch_fires_once_for_what_it_watches)
{
    struct watcher reader = watcher_for(MBOX_READABLE);
    struct watcher writer = watcher_for(MBOX_WRITABLE);

    configure("messages=2");
    mbox_poll(&mbox, &reader.watch);
    mbox_poll(&mbox, &writer.watch);
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post("two"), 0);
    cr_assert_eq(reader.n_fired, 1);
    cr_assert_eq(writer.n_fired, 0);
    expect_next("one");
    cr_assert_eq(writer.n_fired, 1);
    mbox_poll(&mbox, &reader.watch);
    cr_assert_eq(post("three"), 0);
    cr_assert_eq(reader.n_fired, 2, "a new message is news also where one waits");
}

MBOX_TEST(a_message_that_a_receiver_waits_for_wakes_nobody_else)
{
    struct watcher reader = watcher_for(MBOX_READABLE);
    struct mbox_op receiver = waiting_op();
    struct mbox_entry *none;

    cr_assert_eq(mbox_take(&mbox, &receiver, &none, &ready), MBOX_PARKED);
    mbox_poll(&mbox, &reader.watch);
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(reader.n_fired, 0);
    abort_delivery(receiver.entry);
    cr_assert_eq(reader.n_fired, 1);
}

MBOX_TEST(an_unwatched_watch_does_not_fire)
{
    struct watcher reader = watcher_for(MBOX_READABLE);

    mbox_poll(&mbox, &reader.watch);
    mbox_unwatch(&mbox, &reader.watch);
    mbox_unwatch(&mbox, &reader.watch);
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(reader.n_fired, 0);
}

MBOX_TEST(a_rendezvous_partner_wakes_those_who_watch)
{
    struct watcher reader = watcher_for(MBOX_READABLE);
    struct watcher writer = watcher_for(MBOX_WRITABLE);
    struct mbox_op sender = waiting_op();
    struct mbox_op receiver = waiting_op();
    struct mbox_entry *none;

    configure("messages=0");
    mbox_poll(&mbox, &reader.watch);
    mbox_poll(&mbox, &writer.watch);
    cr_assert_eq(post_prio("one", 0, &sender), MBOX_PARKED);
    cr_assert_eq(reader.n_fired, 1);
    expect_next("one");
    cr_assert_eq(mbox_take(&mbox, &receiver, &none, &ready), MBOX_PARKED);
    cr_assert_eq(writer.n_fired, 1);
    mbox_cancel(&mbox, &receiver, &ready);
    mbox_ready_run(&ready);
    cr_assert_eq(n_completed, 2);
}

MBOX_TEST(removal_wakes_all_who_watch)
{
    struct watcher reader = watcher_for(MBOX_READABLE);
    struct watcher writer = watcher_for(MBOX_WRITABLE);

    mbox_poll(&mbox, &reader.watch);
    mbox_poll(&mbox, &writer.watch);
    cr_assert_eq(mbox_remove(&mbox, false, &ready), 0);
    cr_assert_eq(reader.n_fired, 1);
    cr_assert_eq(writer.n_fired, 1);
    cr_assert_eq(mbox_poll(&mbox, &reader.watch), MBOX_REMOVED);
    cr_assert_not(reader.watch.armed);
}

static const struct msg_sender dropper = { .pid = 1, .uid = 7 };

static int reserve(struct mbox_op *op)
{
    int r = mbox_reserve(&mbox, dropper, op, &ready);

    mbox_ready_run(&ready);
    return r;
}

static int fill_place(const char *text)
{
    struct msg *msg = msg_new(text, strlen(text), 0, dropper);
    struct mbox_op op = waiting_op();
    int r = mbox_post_reserved(&mbox, msg, &op, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    return r;
}

static void unreserve(void)
{
    mbox_unreserve(&mbox, dropper, &ready);
    mbox_ready_run(&ready);
}

MBOX_TEST(a_reserved_place_takes_room_and_is_filled)
{
    configure("messages=1");
    cr_assert_eq(reserve(NULL), 0);
    cr_assert_eq(stat_of().n_messages, 0);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES);
    cr_assert_eq(post("one"), -EAGAIN);
    cr_assert_eq(reserve(NULL), -EAGAIN);
    cr_assert_eq(stat_of().n_reserved, 1);
    cr_assert_eq(fill_place("two"), 0);
    cr_assert_eq(stat_of().n_messages, 1);
    cr_assert_eq(stat_of().n_reserved, 0);
    expect_next("two");
}

MBOX_TEST(a_place_given_back_lets_a_sender_in)
{
    struct mbox_op waiting = waiting_op();

    configure("messages=1");
    cr_assert_eq(reserve(NULL), 0);
    cr_assert_eq(post_prio("one", 0, &waiting), MBOX_PARKED);
    unreserve();
    cr_assert_eq(n_completed, 1);
    expect_next("one");
}

MBOX_TEST(who_reserves_waits_as_a_sender_does)
{
    struct mbox_op waiting = waiting_op();
    struct mbox_op cancelled = waiting_op();

    configure("messages=1");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(reserve(&waiting), MBOX_PARKED);
    cr_assert_eq(reserve(&cancelled), MBOX_PARKED);
    cr_assert_eq(stat_of().n_senders_waiting, 2);
    mbox_cancel(&mbox, &cancelled, &ready);
    mbox_ready_run(&ready);
    cr_assert_eq(cancelled.result, -EINTR);
    expect_next("one");
    cr_assert_eq(waiting.result, 0);
    cr_assert_eq(n_completed, 2);
    cr_assert_eq(fill_place("two"), 0);
    expect_next("two");
}

MBOX_TEST(a_place_under_drop_oldest_drops_only_when_filled)
{
    configure("messages=1\noverflow=drop-oldest");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(reserve(NULL), 0);
    cr_assert_eq(stat_of().n_messages, 1);
    cr_assert_eq(fill_place("two"), 0);
    cr_assert_eq(stat_of().n_dropped, 1);
    expect_next("two");
}

MBOX_TEST(a_place_for_a_rendezvous_waits_only_when_filled)
{
    struct msg *msg = msg_new("one", 3, 0, dropper);
    struct mbox_op waiting = waiting_op();

    configure("messages=0");
    cr_assert_eq(reserve(NULL), 0);
    cr_assert_eq(mbox_post_reserved(&mbox, msg, &waiting, &ready), MBOX_PARKED);
    msg_unref(msg);
    expect_next("one");
    cr_assert_eq(n_completed, 1);
}

MBOX_TEST(a_removed_mailbox_does_not_take_what_fills_a_place)
{
    cr_assert_eq(reserve(NULL), 0);
    cr_assert_eq(reserve(NULL), 0);
    cr_assert_eq(mbox_remove(&mbox, false, &ready), 0, "places don't keep it");
    cr_assert_eq(fill_place("one"), -EIDRM);
    unreserve();
}

static const struct msg_sender stranger = { .pid = 2, .uid = 8 };

static int post_as(struct msg_sender sender, const char *text, struct mbox_op *op)
{
    struct msg *msg = msg_new(text, strlen(text), 0, sender);
    int r = mbox_post(&mbox, msg, op, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    return r;
}

/* Makes a mailbox of four messages, in which the dropper holds all places. */
static void reserve_four(void)
{
    configure("messages=4");
    for (int i = 0; i < 4; i++)
        cr_assert_eq(reserve(NULL), 0);
}

static void unreserve_four(void)
{
    for (int i = 0; i < 4; i++)
        unreserve();
}

MBOX_TEST(places_take_no_more_than_half_from_others)
{
    reserve_four();
    cr_assert_eq(reserve(NULL), -EAGAIN);
    cr_assert_eq(post_as(dropper, "mine", NULL), -EAGAIN);
    cr_assert_eq(mbox_poll(&mbox, NULL) & MBOX_WRITABLE, MBOX_WRITABLE);
    cr_assert_eq(post_as(stranger, "one", NULL), 0);
    cr_assert_eq(mbox_reserve(&mbox, stranger, NULL, &ready), 0);
    cr_assert_eq(mbox_reserve(&mbox, stranger, NULL, &ready), -EAGAIN, "it holds one itself now");
    mbox_unreserve(&mbox, stranger, &ready);
    cr_assert_eq(post_as(stranger, "two", NULL), 0);
    cr_assert_eq(post_as(stranger, "three", NULL), -EAGAIN);
    cr_assert_eq(mbox_poll(&mbox, NULL) & MBOX_WRITABLE, 0);
    cr_assert_eq(fill_place("file"), 0);
    expect_next("one");
    expect_next("two");
    expect_next("file");
    for (int i = 0; i < 3; i++)
        unreserve();
}

MBOX_TEST(who_waits_for_its_own_places_holds_up_nobody)
{
    struct mbox_op held_up = waiting_op();
    struct mbox_op file = waiting_op();
    struct mbox_op later = waiting_op();

    reserve_four();
    cr_assert_eq(post_as(dropper, "held up", &held_up), MBOX_PARKED);
    cr_assert_eq(reserve(&file), MBOX_PARKED);
    cr_assert_eq(post_as(stranger, "one", NULL), 0);
    cr_assert_eq(post_as(stranger, "two", NULL), 0);
    cr_assert_eq(post_as(stranger, "later", &later), MBOX_PARKED);
    cr_assert_eq(stat_of().n_senders_waiting, 3);
    expect_next("one");
    cr_assert_eq(n_completed, 1, "the stranger's");
    expect_next("two");
    expect_next("later");
    cr_assert_eq(n_completed, 1);
    unreserve();
    cr_assert_eq(n_completed, 2);
    expect_next("held up");
    cr_assert_eq(n_completed, 3, "the file's");
    unreserve_four();
    cr_assert_eq(stat_of().n_senders_waiting, 0);
}

MBOX_TEST(who_waits_in_a_mailbox_full_of_messages_keeps_its_turn)
{
    struct mbox_op first = waiting_op();
    struct mbox_op second = waiting_op();

    reserve_four();
    cr_assert_eq(post_as(dropper, "first", &first), MBOX_PARKED);
    cr_assert_eq(post_as(stranger, "one", NULL), 0);
    cr_assert_eq(post_as(stranger, "two", NULL), 0);
    unreserve_four();
    cr_assert_eq(n_completed, 1);
    cr_assert_eq(post_as(stranger, "three", NULL), 0);
    cr_assert_eq(post_as(dropper, "second", &second), MBOX_PARKED);
    cr_assert_eq(post_as(stranger, "four", NULL), -EAGAIN);
    expect_next("one");
    cr_assert_eq(n_completed, 2);
    cr_assert_eq(post_as(stranger, "four", NULL), -EAGAIN);
    expect_next("two");
    expect_next("first");
    expect_next("three");
    expect_next("second");
}

MBOX_TEST(who_waits_for_its_own_places_can_be_cancelled_and_removed)
{
    struct mbox_op cancelled = waiting_op();
    struct mbox_op removed = waiting_op();

    reserve_four();
    cr_assert_eq(post_as(dropper, "one", &cancelled), MBOX_PARKED);
    cr_assert_eq(post_as(dropper, "two", &removed), MBOX_PARKED);
    mbox_cancel(&mbox, &cancelled, &ready);
    mbox_ready_run(&ready);
    cr_assert_eq(cancelled.result, -EINTR);
    cr_assert_eq(mbox_remove(&mbox, false, &ready), 0);
    mbox_ready_run(&ready);
    cr_assert_eq(removed.result, -EIDRM);
    unreserve_four();
}

MBOX_TEST(who_waits_for_its_own_places_is_judged_by_new_limits)
{
    struct mbox_op low = waiting_op();
    struct mbox_op high = waiting_op();
    struct mbox_op place = waiting_op();

    reserve_four();
    cr_assert_eq(post_prio("low", 0, &low), MBOX_PARKED);
    cr_assert_eq(post_prio("high", 5, &high), MBOX_PARKED);
    cr_assert_eq(reserve(&place), MBOX_PARKED);
    configure("messages=0");
    cr_assert_eq(n_completed, 1, "a place waits for nobody there");
    expect_next("high");
    configure("messages=10");
    cr_assert_eq(n_completed, 3);
    expect_next("low");
    unreserve_four();
    unreserve();
}

static uint64_t id_of_next(void)
{
    struct mbox_entry *entry;
    uint64_t id;

    cr_assert_eq(take(&entry), 0);
    id = entry->msg->id;
    abort_delivery(entry);
    return id;
}

MBOX_TEST(a_waiting_message_is_found_by_its_id)
{
    struct msg *msg;
    uint64_t id;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post("two"), 0);
    id = id_of_next();
    msg = mbox_find(&mbox, id);
    cr_assert(msg && is(msg, "one"));
    cr_assert_null(mbox_find(&mbox, id + 2));
    expect_next("one");
    cr_assert_null(mbox_find(&mbox, id), "it was received");
    cr_assert(is(msg, "one"), "who looks at it keeps it");
    msg_unref(msg);
    cr_assert_eq(post("three"), 0);
    msg = mbox_find(&mbox, id + 2);
    cr_assert(msg && is(msg, "three"), "what comes later is found too");
    msg_unref(msg);
}

MBOX_TEST(waiting_messages_are_listed_in_delivery_order)
{
    struct mbox_place places[1001];
    struct mbox_cursor cursor = { 0 };

    for (int i = 0; i < 1000; i++)
        cr_assert_eq(post_prio("x", i % 2 ? 3 : 0, NULL), 0);
    mbox_cursor_rewind(&mbox, &cursor);
    cr_assert_eq(mbox_cursor_look(&mbox, &cursor, places, 1001), 1000);
    for (size_t i = 0; i < 1000; i++) {
        cr_assert_eq(places[i].id, i < 500 ? 2 * i + 2 : 2 * (i - 500) + 1);
        cr_assert(i == 0 || places[i].key > places[i - 1].key);
    }
    mbox_cursor_end(&mbox, &cursor);
}

/* Return: the id of the message that @cursor stands at; 0: it is at the end. */
static uint64_t id_at(struct mbox_cursor *cursor)
{
    struct mbox_place place;

    return mbox_cursor_look(&mbox, cursor, &place, 1) == 1 ? place.id : 0;
}

MBOX_TEST(who_looks_goes_on_where_it_was_whatever_has_gone)
{
    struct mbox_cursor first = { 0 };
    struct mbox_cursor second = { 0 };
    struct mbox_place places[6];
    struct mbox_entry *entry;

    cr_assert_eq(id_at(&first), 0);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(post("x"), 0);
    mbox_cursor_rewind(&mbox, &first);
    mbox_cursor_rewind(&mbox, &second);
    cr_assert_eq(mbox_cursor_look(&mbox, &first, places, 6), 6);
    mbox_cursor_pass(&mbox, &first, places[1].key);
    cr_assert_eq(id_at(&first), places[2].id);
    expect_next("x");
    cr_assert_eq(id_at(&second), places[1].id, "it was received");
    cr_assert_eq(mbox_pick(&mbox, places[2].id, NULL, &ready), 0);
    cr_assert_eq(id_at(&first), places[3].id, "it was picked");
    cr_assert_eq(mbox_pick(&mbox, places[3].id, NULL, &ready), 0);
    mbox_cursor_pass(&mbox, &first, places[3].key);
    cr_assert_eq(id_at(&first), places[4].id, "behind one that is gone");
    mbox_cursor_skip(&mbox, &second, 2);
    cr_assert_eq(id_at(&second), places[5].id);
    /* What comes back comes where it was. */
    cr_assert_eq(take(&entry), 0);
    abort_delivery(entry);
    cr_assert_eq(id_at(&first), places[4].id);
    cr_assert_eq(post("later"), 0);
    mbox_cursor_skip(&mbox, &second, 1);
    cr_assert_eq(id_at(&second), 0, "what came later is not met");
    mbox_cursor_rewind(&mbox, &second);
    configure("messages=1\noverflow=drop-oldest");
    cr_assert_eq(post_prio("more urgent", 1, NULL), 0);
    cr_assert_eq(id_at(&first), 0, "all it was to meet is dropped");
    cr_assert_eq(id_at(&second), 0, "all it was to meet is dropped");
    mbox_cursor_rewind(&mbox, &first);
    mbox_remove(&mbox, true, &ready);
    cr_assert_eq(id_at(&first), 0);
    mbox_cursor_end(&mbox, &first);
    mbox_cursor_end(&mbox, &second);
}

MBOX_TEST(a_picked_message_leaves_its_room)
{
    struct mbox_op waiting = waiting_op();
    uint64_t id;

    configure("messages=2");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post("two"), 0);
    id = id_of_next();
    cr_assert_eq(post_prio("three", 0, &waiting), MBOX_PARKED);
    cr_assert_eq(mbox_pick(&mbox, id, NULL, &ready), 0);
    cr_assert_eq(mbox_pick(&mbox, id, NULL, &ready), -ENOENT);
    mbox_ready_run(&ready);
    cr_assert_eq(n_completed, 1);
    cr_assert_eq(stat_of().n_received, 1);
    expect_next("two");
    expect_next("three");
}

MBOX_TEST(a_message_in_flight_can_not_be_picked)
{
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    cr_assert_eq(mbox_pick(&mbox, entry->msg->id, NULL, &ready), -ENOENT);
    abort_delivery(entry);
    expect_next("one");
}

/* Another mailbox, to move to. */
static struct mbox other;

static void open_other(const char *settings)
{
    mbox_init(&other, &domain, release);
    cr_assert_eq(mbox_configure(&other, settings, strlen(settings), &ready), 0);
}

static void close_other(void)
{
    mbox_remove(&other, true, &ready);
    mbox_ready_run(&ready);
    mbox_unref(&other);
}

MBOX_TEST(a_moved_message_is_in_the_other_mailbox)
{
    struct mbox_op receiver = waiting_op();
    struct mbox_entry *entry;
    struct msg *msg;
    uint64_t id;

    open_other("messages=1");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post("two"), 0);
    id = id_of_next();
    cr_assert_eq(mbox_move(&mbox, &mbox, id, &ready), 0);
    cr_assert_eq(mbox_move(&mbox, &other, id, &ready), 0);
    cr_assert_eq(mbox_move(&mbox, &other, id, &ready), -ENOENT);
    cr_assert_eq(mbox_move(&mbox, &other, id + 1, &ready), -EAGAIN, "it is full");
    msg = mbox_find(&other, id);
    cr_assert(msg && is(msg, "one"));
    msg_unref(msg);
    cr_assert_eq(mbox_pick(&other, id, NULL, &ready), 0);
    cr_assert_eq(mbox_take(&other, &receiver, &entry, &ready), MBOX_PARKED);
    cr_assert_eq(mbox_move(&mbox, &other, id + 1, &ready), 0);
    mbox_ready_run(&ready);
    cr_assert_eq(n_completed, 1, "who waited there has it");
    mbox_commit(&other, receiver.entry, &ready);
    mbox_entry_free(receiver.entry);
    cr_assert_eq(stat_of().n_received, 2);
    close_other();
}

MBOX_TEST(a_message_that_can_not_move_stays)
{
    uint64_t id;

    open_other("bytes=2");
    cr_assert_eq(post("one"), 0);
    id = id_of_next();
    cr_assert_eq(mbox_move(&mbox, &other, id, &ready), -EMSGSIZE);
    cr_assert_eq(mbox_configure(&other, "bytes=9\nmessages=0", 18, &ready), 0);
    cr_assert_eq(mbox_move(&mbox, &other, id, &ready), -EAGAIN);
    cr_assert_eq(mbox_remove(&other, false, &ready), 0);
    cr_assert_eq(mbox_move(&mbox, &other, id, &ready), -EIDRM);
    close_other();
    expect_next("one");
}

static bool nobody(const struct mbox_op *op, void *arg)
{
    (void)op;
    (void)arg;
    return false;
}

MBOX_TEST(an_owner_keeps_others_out_and_does_not_send)
{
    struct mbox_op receiver = waiting_op();
    struct mbox_entry *entry;
    struct msg *msg;

    cr_assert_eq(mbox_take(&mbox, &receiver, &entry, &ready), MBOX_PARKED);
    cr_assert_eq(mbox_claim(&mbox, 1, nobody, NULL, &ready), 0);
    mbox_ready_run(&ready);
    cr_assert_eq(receiver.result, -EBUSY);
    cr_assert_eq(mbox_claim(&mbox, 2, nobody, NULL, &ready), -EBUSY);
    cr_assert_eq(mbox_owner(&mbox), 1);
    cr_assert_eq(stat_of().owner_pid, 1);
    msg = msg_new("x", 1, 0, dropper);
    cr_assert_eq(mbox_post(&mbox, msg, NULL, &ready), -EPERM);
    msg_unref(msg);
    cr_assert_eq(post("from another"), 0);
}

/* Two threads post, two take; one in five deliveries fails. Every message arrives once, and those
 * of one sender that one receiver gets come in order. */
#define N_POSTED 20000

static _Atomic int n_taken;
static _Atomic unsigned char seen[2][N_POSTED];

struct waited {
    struct mbox_op op;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool completed;
};

static void signal_completion(struct mbox_op *op, struct mbox_ready *more)
{
    struct waited *waited = (struct waited *)op;

    (void)more;
    pthread_mutex_lock(&waited->lock);
    waited->completed = true;
    pthread_cond_signal(&waited->done);
    pthread_mutex_unlock(&waited->lock);
}

static void waited_init(struct waited *waited)
{
    *waited = (struct waited){ .op = { .complete = signal_completion, .max_bytes = SIZE_MAX } };
    pthread_mutex_init(&waited->lock, NULL);
    pthread_cond_init(&waited->done, NULL);
}

static int waited_result(struct waited *waited)
{
    pthread_mutex_lock(&waited->lock);
    while (!waited->completed)
        pthread_cond_wait(&waited->done, &waited->lock);
    pthread_mutex_unlock(&waited->lock);
    return waited->op.result;
}

/* In a thread, where Criterion's assertions can't end the test. */
static void require(bool held)
{
    if (!held)
        abort();
}

struct numbered {
    int sender;
    int number;
};

static void *post_many(void *arg)
{
    struct mbox_ready mine = TAILQ_HEAD_INITIALIZER(mine);

    for (int i = 0; i < N_POSTED; i++) {
        struct numbered body = { .sender = (int)(intptr_t)arg, .number = i };
        struct msg *msg = msg_new(&body, sizeof(body), 0, (struct msg_sender){ 0 });
        struct waited waited;
        int r;

        waited_init(&waited);
        r = mbox_post(&mbox, msg, &waited.op, &mine);
        mbox_ready_run(&mine);
        if (r == MBOX_PARKED)
            r = waited_result(&waited);
        require(r == 0);
        msg_unref(msg);
    }
    return NULL;
}

static void *take_many(void *arg)
{
    struct mbox_ready mine = TAILQ_HEAD_INITIALIZER(mine);
    int n_seen = 0;

    (void)arg;
    for (;;) {
        struct waited waited;
        struct numbered body;
        struct mbox_entry *entry;
        int r;

        waited_init(&waited);
        r = mbox_take(&mbox, &waited.op, &entry, &mine);
        if (r == MBOX_PARKED) {
            r = waited_result(&waited);
            entry = waited.op.entry;
        }
        if (r == -EIDRM)
            return NULL;
        require(r == 0);
        if (++n_seen % 5 == 0) {
            mbox_abort(&mbox, entry, &mine);
            mbox_ready_run(&mine);
            continue;
        }
        memcpy(&body, entry->msg->data, sizeof(body));
        seen[body.sender][body.number]++;
        mbox_commit(&mbox, entry, &mine);
        mbox_entry_free(entry);
        mbox_ready_run(&mine);
        n_taken++;
    }
}

static void exchange_many(const char *settings)
{
    pthread_t posters[2];
    pthread_t takers[2];

    configure(settings);
    for (intptr_t i = 0; i < 2; i++) {
        pthread_create(&posters[i], NULL, post_many, (void *)i);
        pthread_create(&takers[i], NULL, take_many, NULL);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(posters[i], NULL);
    while (n_taken < 2 * N_POSTED)
        sched_yield();
    mbox_remove(&mbox, true, &ready);
    mbox_ready_run(&ready);
    for (int i = 0; i < 2; i++)
        pthread_join(takers[i], NULL);
    for (int sender = 0; sender < 2; sender++) {
        for (int i = 0; i < N_POSTED; i++)
            cr_assert_eq(seen[sender][i], 1);
    }
}

MBOX_TEST(threads_exchange_all_messages_once)
{
    exchange_many("messages=4");
}

MBOX_TEST(threads_exchange_all_messages_once_in_a_rendezvous)
{
    exchange_many("messages=0");
}

/* --- closed --- */

static void close_it(void)
{
    mbox_close(&mbox, &ready);
    mbox_ready_run(&ready);
}

MBOX_TEST(a_closed_mailbox_gives_what_it_has_and_then_ends)
{
    struct mbox_op waiting = waiting_op();
    struct mbox_entry *none;

    cr_assert_eq(post("one"), 0);
    close_it();
    cr_assert_eq(post("two"), -EPIPE);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES);
    expect_next("one");
    cr_assert_eq(take(&none), -EPIPE);
    cr_assert_eq(mbox_take(&mbox, &waiting, &none, &ready), -EPIPE);
    cr_assert_eq(waiting.state, MBOX_OP_IDLE);
}

MBOX_TEST(closing_ends_the_waits_of_both_sides)
{
    struct mbox_op sender = waiting_op();
    struct mbox_op receiver = waiting_op();
    struct mbox_entry *none;

    cr_assert_eq(mbox_take(&mbox, &receiver, &none, &ready), MBOX_PARKED);
    close_it();
    cr_assert_eq(receiver.result, -EPIPE);
    cr_assert_eq(n_completed, 1);
    mbox.closed = false;
    configure("messages=1");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post_prio("two", 0, &sender), MBOX_PARKED);
    close_it();
    cr_assert_eq(sender.result, -EPIPE);
    cr_assert_eq(n_completed, 2);
    cr_assert_eq(stat_of().n_senders_waiting, 0);
    expect_next("one");
}

MBOX_TEST(an_undelivered_message_returns_to_a_closed_mailbox)
{
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    close_it();
    abort_delivery(entry);
    expect_next("one");
    cr_assert_eq(take(&entry), -EPIPE);
}

MBOX_TEST(an_undelivered_rendezvous_ends_when_the_mailbox_is_closed)
{
    struct mbox_op sender = waiting_op();
    struct mbox_entry *entry;

    configure("messages=0");
    cr_assert_eq(post_prio("one", 0, &sender), MBOX_PARKED);
    cr_assert_eq(take(&entry), 0);
    close_it();
    cr_assert_eq(n_completed, 0);
    abort_delivery(entry);
    cr_assert_eq(sender.result, -EPIPE);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

MBOX_TEST(who_watches_learns_of_the_closing)
{
    struct watcher reader = watcher_for(MBOX_READABLE);

    cr_assert_eq(mbox_poll(&mbox, &reader.watch), MBOX_WRITABLE);
    close_it();
    cr_assert_eq(reader.n_fired, 1);
    cr_assert_eq(mbox_poll(&mbox, NULL), MBOX_READABLE | MBOX_WRITABLE | MBOX_CLOSED);
    cr_assert_eq(mbox_remove(&mbox, true, &ready), 0);
    cr_assert_eq(mbox_poll(&mbox, NULL), MBOX_REMOVED);
}

MBOX_TEST(a_reference_is_not_had_of_what_has_none_left)
{
    struct mbox gone = { .n_refs = 0 };

    cr_assert_null(mbox_try_ref(&gone));
    cr_assert_eq(mbox_try_ref(&mbox), &mbox);
    mbox_unref(&mbox);
}
