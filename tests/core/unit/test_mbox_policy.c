/* What becomes of a message that finds no room, or no receiver: drop-oldest, and senders that do not wait. */
#include "core/mailbox/mbox_cursor.h"
#include "case.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct mbox_domain domain;
static struct mbox box;
static struct mbox other;
static struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
static const struct msg_sender sender = { .pid = 1, .uid = 7 };

static void release(struct mbox *gone)
{
    mbox_deinit(gone);
}

static void set_up(void)
{
    mbox_domain_init(&domain, 8 << 20, 8 << 20);
    mbox_init(&box, &domain, release);
    mbox_init(&other, &domain, release);
}

static void end(struct mbox *mbox)
{
    mbox_remove(mbox, true, &ready);
    mbox_ready_run(&ready);
    mbox_unref(mbox);
}

static void tear_down(void)
{
    end(&box);
    end(&other);
    cr_assert_eq(quota_used(&domain.quota), 0, "a charge was not released");
    mbox_domain_deinit(&domain);
}

#define POLICY_TEST(name) CASE(mbox_policy, name)

static void note(struct mbox_op *op, struct mbox_ready *more)
{
    (void)op;
    (void)more;
}

static struct mbox_op op_for(size_t max_bytes, bool nonblock)
{
    return (struct mbox_op){ .complete = note, .max_bytes = max_bytes, .nonblock = nonblock };
}

static void configure(struct mbox *mbox, const char *text)
{
    cr_assert_eq(mbox_configure(mbox, text, strlen(text), &ready), 0);
    mbox_ready_run(&ready);
}

static int post(const char *text, unsigned int prio, struct mbox_op *op)
{
    struct msg *msg = msg_new(text, strlen(text), prio, sender);
    int r = mbox_post(&box, msg, op, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    return r;
}

static int post_reserved(const char *text, struct mbox_op *op)
{
    struct msg *msg = msg_new(text, strlen(text), 0, sender);
    int r = mbox_post_reserved(&box, msg, op, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    return r;
}

static int take_from(struct mbox *mbox, struct mbox_op *op, struct mbox_entry **ret_entry)
{
    int r = mbox_take(mbox, op, ret_entry, &ready);

    mbox_ready_run(&ready);
    return r;
}

static struct mbox_entry *take(struct mbox *mbox)
{
    struct mbox_op op = op_for(SIZE_MAX, true);
    struct mbox_entry *entry = NULL;

    cr_assert_eq(take_from(mbox, &op, &entry), 0);
    return entry;
}

static void commit(struct mbox *mbox, struct mbox_entry *entry)
{
    mbox_commit(mbox, entry, &ready);
    mbox_entry_free(entry);
    mbox_ready_run(&ready);
}

/* Return: the id of the one message in box. */
static uint64_t only_id(void)
{
    struct mbox_cursor cursor = { 0 };
    struct mbox_place places[2];

    mbox_cursor_rewind(&box, &cursor);
    cr_assert_eq(mbox_cursor_look(&box, &cursor, places, 2), 1);
    mbox_cursor_end(&box, &cursor);
    return places[0].id;
}

static void expect(struct mbox *mbox, const char *text)
{
    struct mbox_entry *entry = take(mbox);

    cr_assert_eq(entry->msg->size_bytes, strlen(text));
    cr_assert_eq(memcmp(entry->msg->data, text, entry->msg->size_bytes), 0, "expected %s", text);
    commit(mbox, entry);
}

static struct mbox_stat stat_of(struct mbox *mbox)
{
    struct mbox_stat stat;

    cr_assert_eq(mbox_get_stat(mbox, &stat), 0);
    return stat;
}

static void expect_dropped(struct mbox *mbox, uint64_t n_sent, uint64_t n_dropped)
{
    struct mbox_stat stat = stat_of(mbox);

    cr_assert_eq(stat.n_sent, n_sent);
    cr_assert_eq(stat.n_dropped, n_dropped);
}

POLICY_TEST(a_place_that_is_filled_is_judged_with_the_rest)
{
    struct mbox_op op = op_for(0, false);

    configure(&box, "messages=2\noverflow=drop-oldest");
    cr_assert_eq(mbox_reserve(&box, sender, NULL, &ready), 0);
    cr_assert_eq(post("h1", 9, NULL), 0);
    cr_assert_eq(post("h2", 9, NULL), 0);
    cr_assert_eq(post_reserved("low", &op), 0);
    expect_dropped(&box, 3, 1);
    expect(&box, "h1");
    expect(&box, "h2");
}

POLICY_TEST(what_returns_is_judged_with_the_rest)
{
    struct mbox_entry *low;

    configure(&box, "messages=1\noverflow=drop-oldest");
    cr_assert_eq(post("low", 0, NULL), 0);
    low = take(&box);
    cr_assert_eq(post("high", 9, NULL), 0);
    mbox_abort(&box, low, &ready);
    expect_dropped(&box, 2, 1);
    expect(&box, "high");
}

POLICY_TEST(what_waits_when_the_policy_changes_is_judged_with_the_rest)
{
    struct mbox_op low = op_for(0, false);
    struct mbox_op high = op_for(0, false);

    configure(&box, "messages=1");
    cr_assert_eq(post("middle", 5, NULL), 0);
    cr_assert_eq(post("low", 0, &low), MBOX_PARKED);
    cr_assert_eq(post("high", 9, &high), MBOX_PARKED);
    configure(&box, "overflow=drop-oldest");
    cr_assert_eq(low.state, MBOX_OP_DONE);
    cr_assert_eq(low.result, 0);
    cr_assert_eq(high.result, 0);
    expect_dropped(&box, 3, 2);
    expect(&box, "high");
}

POLICY_TEST(what_moves_is_judged_with_the_rest)
{
    struct mbox_op op = op_for(SIZE_MAX, true);
    struct msg *msg = msg_new("high", 4, 9, sender);
    struct mbox_entry *entry;
    uint64_t id;

    configure(&other, "messages=1\noverflow=drop-oldest");
    cr_assert_eq(mbox_post(&other, msg, NULL, &ready), 0);
    msg_unref(msg);
    cr_assert_eq(post("low", 0, NULL), 0);
    id = only_id();
    cr_assert_eq(mbox_move(&box, &other, id, NULL, &ready), 0);
    expect_dropped(&other, 2, 1);
    expect(&other, "high");
    cr_assert_eq(take_from(&box, &op, &entry), -EAGAIN);
}

POLICY_TEST(a_large_newcomer_drops_what_is_less_urgent_and_then_itself)
{
    configure(&box, "bytes=10\noverflow=drop-oldest");
    cr_assert_eq(post("1234", 0, NULL), 0);
    cr_assert_eq(post("5678", 9, NULL), 0);
    cr_assert_eq(post("middle", 5, NULL), 0);
    expect_dropped(&box, 3, 1);
    expect(&box, "5678");
    expect(&box, "middle");
    cr_assert_eq(post("high", 9, NULL), 0);
    cr_assert_eq(post("medium-sz", 5, NULL), 0);
    expect_dropped(&box, 5, 2);
    expect(&box, "high");
}

/* A mailbox whose bounds have shrunk gets within them bit by bit. */
POLICY_TEST(a_send_drops_no_more_than_it_has_time_for)
{
    const unsigned int n = 10000;
    unsigned int n_sends = 0;

    configure(&box, "messages=max");
    for (unsigned int i = 0; i < n; i++)
        cr_assert_eq(post("x", 0, NULL), 0);
    configure(&box, "messages=10\noverflow=drop-oldest");
    cr_assert_eq(post("x", 0, NULL), 0);
    cr_assert_gt(stat_of(&box).n_messages, 10);
    for (n_sends = 1; stat_of(&box).n_messages > 10; n_sends++)
        cr_assert_eq(post("x", 0, NULL), 0);
    cr_assert_leq(n_sends, 4);
}

POLICY_TEST(a_rendezvous_with_a_receiver_of_too_little_room_is_none_for_who_does_not_wait)
{
    struct mbox_op receiver = op_for(4, false);
    struct mbox_op op = op_for(0, true);
    struct mbox_entry *entry;

    configure(&box, "messages=0");
    cr_assert_eq(take_from(&box, &receiver, &entry), MBOX_PARKED);
    cr_assert_eq(post("longer than four", 0, &op), -EAGAIN);
    cr_assert_eq(receiver.result, -EMSGSIZE);
    cr_assert_eq(stat_of(&box).n_senders_waiting, 0);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

POLICY_TEST(a_rendezvous_goes_on_to_a_receiver_with_room)
{
    struct mbox_op small = op_for(4, false);
    struct mbox_op large = op_for(SIZE_MAX, false);
    struct mbox_op op = op_for(0, true);
    struct mbox_entry *entry;

    configure(&box, "messages=0");
    cr_assert_eq(take_from(&box, &small, &entry), MBOX_PARKED);
    cr_assert_eq(take_from(&box, &large, &entry), MBOX_PARKED);
    cr_assert_eq(post("longer than four", 0, &op), MBOX_PARKED);
    cr_assert_eq(small.result, -EMSGSIZE);
    cr_assert_eq(large.state, MBOX_OP_DONE);
    commit(&box, large.entry);
    cr_assert_eq(op.result, 0);
}

POLICY_TEST(what_a_receiver_did_not_get_is_not_left_to_one_with_too_little_room)
{
    struct mbox_op large = op_for(SIZE_MAX, false);
    struct mbox_op small = op_for(4, false);
    struct mbox_op op = op_for(0, true);
    struct mbox_entry *entry;

    configure(&box, "messages=0");
    cr_assert_eq(take_from(&box, &large, &entry), MBOX_PARKED);
    cr_assert_eq(take_from(&box, &small, &entry), MBOX_PARKED);
    cr_assert_eq(post("longer than four", 0, &op), MBOX_PARKED);
    mbox_abort(&box, large.entry, &ready);
    mbox_ready_run(&ready);
    cr_assert_eq(small.result, -EMSGSIZE);
    cr_assert_eq(op.state, MBOX_OP_DONE);
    cr_assert_eq(op.result, -EAGAIN);
    cr_assert_eq(stat_of(&box).n_senders_waiting, 0);
}

POLICY_TEST(a_rejecting_rendezvous_does_not_wait_for_another_receiver)
{
    struct mbox_op small = op_for(4, false);
    struct mbox_op op = op_for(0, false);
    struct mbox_entry *entry;

    configure(&box, "messages=0\noverflow=reject");
    cr_assert_eq(take_from(&box, &small, &entry), MBOX_PARKED);
    cr_assert_eq(post("longer than four", 0, &op), -ENOBUFS);
    cr_assert_eq(small.result, -EMSGSIZE);
    cr_assert_eq(stat_of(&box).n_rejected, 1);
    cr_assert_eq(stat_of(&box).n_senders_waiting, 0);
}

POLICY_TEST(what_has_its_place_is_not_refused)
{
    struct mbox_op op = op_for(0, false);

    configure(&box, "messages=0");
    cr_assert_eq(mbox_reserve(&box, sender, NULL, &ready), 0);
    cr_assert_eq(post_reserved("copied in", &op), MBOX_PARKED);
    configure(&box, "overflow=reject\nbytes=1");
    cr_assert_eq(op.state, MBOX_OP_WAITING);
    expect(&box, "copied in");
    cr_assert_eq(op.result, 0);
}

POLICY_TEST(nothing_moves_to_a_rendezvous_where_nobody_has_room_for_it)
{
    struct mbox_op small = op_for(4, false);
    struct mbox_entry *entry;
    uint64_t id;

    configure(&other, "messages=0");
    cr_assert_eq(post("longer than four", 0, NULL), 0);
    id = only_id();
    cr_assert_eq(take_from(&other, &small, &entry), MBOX_PARKED);
    cr_assert_eq(mbox_move(&box, &other, id, NULL, &ready), -EAGAIN);
    cr_assert_eq(stat_of(&other).n_messages, 0);
    expect(&box, "longer than four");
    mbox_cancel(&other, &small, &ready);
    mbox_ready_run(&ready);
}
