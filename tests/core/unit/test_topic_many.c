/* Topics: what is published together goes to all as if it came one by one. */
#include "topic_fixture.h"

enum { N_MANY = 5 };

/* Publishes the first @n of "a", "b", ... together. Return: how many were. */
static size_t publish_many(size_t n)
{
    struct msg *msgs[N_MANY];
    size_t n_posted;

    for (size_t i = 0; i < n; i++)
        msgs[i] = msg_new(&"abcde"[i], 1, 0, sender);
    n_posted = mbox_post_many(&news->mbox, msgs, n, &ready);
    mbox_ready_run(&ready);
    for (size_t i = 0; i < n; i++)
        msg_unref(msgs[i]);
    return n_posted;
}

TOPIC_TEST(many_at_once_are_for_all_in_one_order)
{
    struct sub *a = subscribe();
    struct sub *b = subscribe();
    struct sub *late;

    configure_topic("history=2");
    cr_assert_eq(publish_many(3), 3);
    cr_assert_eq(topic_stat().n_published, 3);
    cr_assert_eq(topic_stat().n_delivered, 6);
    cr_assert_eq(used_by(PUBLISHER), 3 * MSG_MIN_CHARGE_BYTES);
    late = subscribe();
    for (int i = 0; i < 3; i++) {
        expect(a, (char[]){ (char)('a' + i), 0 }, 0);
        expect(b, (char[]){ (char)('a' + i), 0 }, 0);
    }
    expect(late, "b", 0);
    expect(late, "c", 0);
    expect_none(late);
    cr_assert_eq(used_by(PUBLISHER), 0);
    end(a);
    end(b);
    end(late);
}

TOPIC_TEST(many_at_once_that_nobody_hears_are_counted)
{
    cr_assert_eq(publish_many(N_MANY), N_MANY);
    cr_assert_eq(topic_stat().n_published, N_MANY);
    cr_assert_eq(topic_stat().n_dropped, N_MANY);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

/* Who waits takes the first: then there is room for the second. */
TOPIC_TEST(of_many_at_once_a_waiting_receiver_has_the_first)
{
    struct mbox_entry *entry;
    struct mbox_op op = waiting();
    struct sub *a = subscribe();

    configure(a, "overflow=reject\nmessages=1\n");
    cr_assert_eq(mbox_take(&a->mbox, &op, &entry, &ready), MBOX_PARKED);
    cr_assert_eq(publish_many(3), 3);
    cr_assert(op.result == 0 && says(op.entry, "a"));
    mbox_commit(&a->mbox, op.entry, &ready);
    mbox_entry_free(op.entry);
    expect(a, "b", 1);
    expect_none(a);
    end(a);
}

static int n_told;

static void count_told(struct mbox_watch *watch)
{
    (void)watch;
    n_told++;
}

TOPIC_TEST(of_many_at_once_who_watches_is_told_once)
{
    struct mbox_watch watch = { .events = MBOX_READABLE, .fire = count_told };
    struct sub *a = subscribe();

    n_told = 0;
    cr_assert_eq(mbox_poll(&a->mbox, &watch) & MBOX_READABLE, 0);
    cr_assert_eq(publish_many(N_MANY), N_MANY);
    cr_assert_eq(n_told, 1);
    end(a);
}

TOPIC_TEST(many_at_once_stop_at_one_that_blocks_before_anybody_has_the_next)
{
    struct sub *a = subscribe();
    struct sub *full = subscribe();

    configure(full, "overflow=block\nmessages=2\n");
    cr_assert_eq(publish_many(N_MANY), 2);
    expect(a, "a", 0);
    expect(a, "b", 0);
    expect_none(a);
    end(a);
    end(full);
}

TOPIC_TEST(of_many_at_once_those_are_published_that_their_sender_may_have)
{
    struct sub *a = subscribe();
    uint64_t rest = UID_BYTES - 2 * MSG_MIN_CHARGE_BYTES;

    cr_assert_eq(quota_charge(&domain.quota, PUBLISHER, rest), 0);
    cr_assert_eq(publish_many(N_MANY), 2);
    quota_release(&domain.quota, PUBLISHER, rest);
    expect(a, "a", 0);
    expect(a, "b", 0);
    expect_none(a);
    end(a);
}

TOPIC_TEST(many_at_once_do_not_overtake_one_that_waits)
{
    static const char room[] = "overflow=drop-oldest\nmessages=9\n";
    struct mbox_ready told = TAILQ_HEAD_INITIALIZER(told);
    struct sub *full = subscribe();
    struct mbox_op first = waiting();

    configure(full, "overflow=block\nmessages=1\n");
    cr_assert_eq(publish("x", NULL), 0);
    cr_assert_eq(publish("y", &first), MBOX_PARKED);
    cr_assert_eq(publish_many(N_MANY), 0);
    /* There is room, and nobody has been told yet. */
    cr_assert_eq(mbox_configure(&full->mbox, room, strlen(room), &told), 0);
    cr_assert_eq(publish_many(1), 1);
    mbox_ready_run(&told);
    expect(full, "x", 0);
    expect(full, "y", 0);
    expect(full, "a", 0);
    end(full);
}

TOPIC_TEST(of_many_at_once_one_that_is_too_long_stops_the_rest)
{
    struct msg *msgs[3] = { msg_new("a", 1, 0, sender), msg_new("long", 4, 0, sender),
                            msg_new("b", 1, 0, sender) };
    struct sub *a = subscribe();

    configure_topic("message_bytes=3");
    cr_assert_eq(mbox_post_many(&news->mbox, msgs, 3, &ready), 1);
    for (int i = 0; i < 3; i++)
        msg_unref(msgs[i]);
    expect(a, "a", 0);
    expect_none(a);
    end(a);
}

/* What one call does, and one lock covers, is bounded by the places that it makes. */
TOPIC_TEST(of_many_at_once_fewer_are_published_to_very_many)
{
    enum { N_SUBS = 3000 };
    struct sub **subs = calloc(N_SUBS, sizeof(struct sub *));

    for (int i = 0; i < N_SUBS; i++)
        subs[i] = subscribe();
    cr_assert_eq(publish_many(N_MANY), 2);
    for (int i = 0; i < N_SUBS; i++) {
        expect(subs[i], "a", 0);
        expect(subs[i], "b", 0);
        expect_none(subs[i]);
        end(subs[i]);
    }
    free(subs);
}
