/* Messages that are looked at, picked and moved where they wait. */
#include "tests/core/unit/mbox_fixture.h"

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
    cr_assert_eq(mbox_move(&mbox, &mbox, id, NULL, &ready), 0);
    cr_assert_eq(mbox_move(&mbox, &other, id, NULL, &ready), 0);
    cr_assert_eq(mbox_move(&mbox, &other, id, NULL, &ready), -ENOENT);
    cr_assert_eq(mbox_move(&mbox, &other, id + 1, NULL, &ready), -EAGAIN, "it is full");
    msg = mbox_find(&other, id);
    cr_assert(msg && is(msg, "one"));
    msg_unref(msg);
    cr_assert_eq(mbox_pick(&other, id, NULL, &ready), 0);
    cr_assert_eq(mbox_take(&other, &receiver, &entry, &ready), MBOX_PARKED);
    cr_assert_eq(mbox_move(&mbox, &other, id + 1, NULL, &ready), 0);
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
    cr_assert_eq(mbox_move(&mbox, &other, id, NULL, &ready), -EMSGSIZE);
    cr_assert_eq(mbox_configure(&other, "bytes=9\nmessages=0", 18, &ready), 0);
    cr_assert_eq(mbox_move(&mbox, &other, id, NULL, &ready), -EAGAIN);
    cr_assert_eq(mbox_remove(&other, false, &ready), 0);
    cr_assert_eq(mbox_move(&mbox, &other, id, NULL, &ready), -EIDRM);
    close_other();
    expect_next("one");
}
