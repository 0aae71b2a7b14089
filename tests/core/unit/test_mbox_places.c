/* Places that are taken before there is a message, by who is going to fill them. */
#include "tests/core/unit/mbox_fixture.h"

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
