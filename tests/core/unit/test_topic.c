/* Topics: who gets what is published, in which order, who waits, and who pays. */
#include "topic_fixture.h"

TOPIC_TEST(all_get_the_one_message_in_one_order)
{
    struct sub *a = subscribe();
    struct sub *b = subscribe();
    struct mbox_entry *at_a;
    struct mbox_entry *at_b;

    cr_assert_eq(publish("one", NULL), 0);
    cr_assert_eq(publish("two", NULL), 0);
    at_a = take(a);
    at_b = take(b);
    cr_assert(says(at_a, "one"));
    cr_assert_eq(at_a->msg, at_b->msg);
    mbox_entry_free(at_a);
    mbox_entry_free(at_b);
    expect(a, "two", 0);
    expect(b, "two", 0);
    expect_none(a);
    cr_assert_eq(topic_stat().n_published, 2);
    cr_assert_eq(topic_stat().n_delivered, 4);
    cr_assert_eq(topic_stat().n_subscriptions, 2);
    end(a);
    end(b);
    cr_assert_eq(topic_stat().n_subscriptions, 0);
}

TOPIC_TEST(the_urgent_come_first)
{
    struct sub *a = subscribe();

    publish("late", NULL);
    publish_bytes("urgent", 6, 31, NULL);
    expect(a, "urgent", 0);
    expect(a, "late", 0);
    end(a);
}

TOPIC_TEST(without_subscriptions_it_is_dropped_and_counted)
{
    struct sub *late;

    cr_assert_eq(publish("one", NULL), 0);
    cr_assert_eq(topic_stat().n_published, 1);
    cr_assert_eq(topic_stat().n_dropped, 1);
    cr_assert_eq(quota_used(&domain.quota), 0);
    late = subscribe();
    expect_none(late);
    end(late);
}

TOPIC_TEST(a_receiver_that_waits_gets_it_at_once)
{
    struct sub *a = subscribe();
    struct mbox_op op = waiting();
    struct mbox_entry *none;

    cr_assert_eq(mbox_take(&a->mbox, &op, &none, &ready), MBOX_PARKED);
    cr_assert_eq(publish("one", NULL), 0);
    cr_assert_eq(op.state, MBOX_OP_DONE);
    cr_assert(says(op.entry, "one"));
    mbox_commit(&a->mbox, op.entry, &ready);
    mbox_entry_free(op.entry);
    end(a);
}

TOPIC_TEST(a_full_subscription_loses_what_is_oldest_and_is_told)
{
    struct sub *slow = subscribe();
    struct sub *other = subscribe();

    configure(slow, "messages=2");
    publish("1", NULL);
    publish("2", NULL);
    publish("3", NULL);
    publish("4", NULL);
    expect(slow, "3", 2);
    expect(slow, "4", 0);
    expect(other, "1", 0);
    cr_assert_eq(topic_stat().n_dropped, 2);
    end(slow);
    end(other);
}

TOPIC_TEST(what_goes_back_says_again_what_was_missed)
{
    struct sub *slow = subscribe();
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct mbox_entry *entry;

    configure(slow, "messages=1");
    publish("1", NULL);
    publish("2", NULL);
    cr_assert_eq(mbox_take(&slow->mbox, &op, &entry, &ready), 0);
    cr_assert_eq(entry->n_missed, 1);
    mbox_abort(&slow->mbox, entry, &ready);
    expect(slow, "2", 1);
    end(slow);
}

TOPIC_TEST(one_that_rejects_loses_the_new)
{
    struct sub *a = subscribe();
    struct mbox_stat stat;

    configure(a, "messages=1\noverflow=reject");
    cr_assert_eq(publish("1", NULL), 0);
    cr_assert_eq(publish("2", NULL), 0);
    mbox_get_stat(&a->mbox, &stat);
    cr_assert_eq(stat.n_rejected, 1);
    expect(a, "1", 1);
    publish("3", NULL);
    expect(a, "3", 0);
    end(a);
}

TOPIC_TEST(one_that_blocks_makes_wait_before_anybody_has_it)
{
    struct sub *first = subscribe();
    struct sub *blocking = subscribe();
    struct mbox_op op = waiting();

    configure(blocking, "messages=1\noverflow=block");
    cr_assert_eq(mbox_poll(&news->mbox, NULL), MBOX_WRITABLE);
    cr_assert_eq(publish("1", NULL), 0);
    cr_assert_eq(mbox_poll(&news->mbox, NULL), 0);
    expect(first, "1", 0);
    cr_assert_eq(publish("2", NULL), -EAGAIN);
    cr_assert_eq(publish("2", &op), MBOX_PARKED);
    expect_none(first);
    expect(blocking, "1", 0);
    cr_assert_eq(op.state, MBOX_OP_DONE);
    cr_assert_eq(op.result, 0);
    expect(first, "2", 0);
    expect(blocking, "2", 0);
    cr_assert_eq(mbox_poll(&news->mbox, NULL), MBOX_WRITABLE);
    end(first);
    end(blocking);
}

TOPIC_TEST(those_who_wait_publish_in_their_order)
{
    struct sub *a = subscribe();
    struct mbox_op ops[3] = { waiting(), waiting(), waiting() };

    configure(a, "messages=1\noverflow=block");
    publish("0", NULL);
    cr_assert_eq(publish_bytes("1", 1, 0, &ops[0]), MBOX_PARKED);
    cr_assert_eq(publish_bytes("2", 1, 0, &ops[1]), MBOX_PARKED);
    cr_assert_eq(publish_bytes("u", 1, 5, &ops[2]), MBOX_PARKED);
    expect(a, "0", 0);
    expect(a, "u", 0);
    expect(a, "1", 0);
    expect(a, "2", 0);
    end(a);
}

/* What ends the wait, beside a receiver. */
TOPIC_TEST(a_publisher_waits_no_longer_for_one_that_is_gone_or_does_not_block)
{
    struct sub *a = subscribe();
    struct sub *b = subscribe();
    struct mbox_op op = waiting();

    configure(a, "messages=1\noverflow=block");
    publish("1", NULL);
    cr_assert_eq(publish("2", &op), MBOX_PARKED);
    configure(a, "overflow=drop-oldest");
    cr_assert_eq(op.state, MBOX_OP_DONE);
    expect(a, "2", 1);
    expect(b, "1", 0);
    expect(b, "2", 0);

    configure(a, "overflow=block");
    publish("3", NULL);
    op = waiting();
    cr_assert_eq(publish("4", &op), MBOX_PARKED);
    remove_sub(a);
    cr_assert_eq(op.state, MBOX_OP_DONE);
    cr_assert_eq(op.result, 0);
    expect(b, "3", 0);
    expect(b, "4", 0);
    cr_assert_eq(mbox_poll(&news->mbox, NULL), MBOX_WRITABLE);
    mbox_unref(&a->mbox);
    end(b);
}

TOPIC_TEST(a_publisher_that_is_cancelled_has_sent_nothing)
{
    struct sub *a = subscribe();
    struct mbox_op op = waiting();

    configure(a, "messages=1\noverflow=block");
    publish("1", NULL);
    cr_assert_eq(publish("2", &op), MBOX_PARKED);
    mbox_cancel(&news->mbox, &op, &ready);
    mbox_ready_run(&ready);
    cr_assert_eq(op.result, -EINTR);
    expect(a, "1", 0);
    expect_none(a);
    end(a);
}

TOPIC_TEST(a_large_message_waits_for_room_for_it)
{
    static char large[1000];
    struct sub *a = subscribe();
    struct mbox_op op = waiting();

    configure(a, "bytes=1500\noverflow=block");
    cr_assert_eq(publish_bytes(large, 1000, 0, NULL), 0);
    cr_assert_eq(publish_bytes(large, 400, 0, NULL), 0);
    cr_assert_eq(publish_bytes(large, 500, 0, &op), MBOX_PARKED);
    mbox_entry_free(take(a));
    cr_assert_eq(op.state, MBOX_OP_DONE);
    end(a);
}

TOPIC_TEST(one_that_can_never_have_it_makes_nobody_wait)
{
    struct sub *a = subscribe();

    configure(a, "bytes=2\noverflow=block");
    cr_assert_eq(publish("too long", NULL), 0);
    cr_assert_eq(publish("ok", NULL), 0);
    expect(a, "ok", 1);
    end(a);
}

TOPIC_TEST(a_rendezvous_takes_what_a_receiver_waits_for)
{
    struct sub *a = subscribe();
    struct mbox_op receiver = waiting();
    struct mbox_op op = waiting();
    struct mbox_entry *none;

    configure(a, "messages=0");
    cr_assert_eq(publish("lost", NULL), 0);
    expect_none(a);
    configure(a, "overflow=block");
    cr_assert_eq(publish("met", &op), MBOX_PARKED);
    cr_assert_eq(mbox_take(&a->mbox, &receiver, &none, &ready), MBOX_PARKED);
    mbox_ready_run(&ready);
    cr_assert_eq(receiver.state, MBOX_OP_DONE);
    cr_assert_eq(op.state, MBOX_OP_DONE);
    cr_assert(says(receiver.entry, "met"));
    cr_assert_eq(receiver.entry->n_missed, 1);
    mbox_commit(&a->mbox, receiver.entry, &ready);
    mbox_entry_free(receiver.entry);
    end(a);
}

TOPIC_TEST(who_comes_late_begins_with_the_history)
{
    struct sub *a;
    struct sub *b;

    cr_assert_eq(configure_topic("history=2\n"), 0);
    publish("1", NULL);
    publish("2", NULL);
    publish("3", NULL);
    a = subscribe();
    publish("4", NULL);
    expect(a, "2", 0);
    expect(a, "3", 0);
    expect(a, "4", 0);
    cr_assert_eq(configure_topic("history=1\n"), 0);
    b = subscribe();
    expect(b, "4", 0);
    expect_none(b);
    cr_assert_eq(configure_topic("history=0\n"), 0);
    cr_assert_eq(topic_stat().n_published, 4);
    end(a);
    end(b);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

TOPIC_TEST(the_history_is_bounded_in_bytes)
{
    static char large[1001];
    struct sub *a;

    cr_assert_eq(configure_topic("history=100\nbytes=1000"), 0);
    publish_bytes(large, 600, 0, NULL);
    publish_bytes(large, 500, 0, NULL);
    publish_bytes(large, 400, 0, NULL);
    cr_assert_eq(publish_bytes(large, 1001, 0, NULL), -EMSGSIZE);
    a = subscribe();
    for (size_t size = 500; size >= 400; size -= 100) {
        struct mbox_entry *entry = take(a);

        cr_assert_eq(entry->msg->size_bytes, size);
        mbox_entry_free(entry);
    }
    expect_none(a);
    end(a);
}

TOPIC_TEST(settings_are_taken_whole_or_not_at_all)
{
    char text[TOPIC_CONFIG_TEXT_MAX];

    cr_assert_eq(configure_topic("history=3\nmessages=1"), -EINVAL);
    cr_assert_eq(configure_topic("history=x"), -EINVAL);
    cr_assert_eq(configure_topic("history=7\nmessage_bytes=4K"), 0);
    cr_assert_eq(topic_get_config(&news->topic, text), 0);
    cr_assert_str_eq(text, "history=7\nmessage_bytes=4096\nbytes=16777216\ndurable=no\n");
}

TOPIC_TEST(a_message_counts_once_for_its_sender)
{
    enum { N = 50, SIZE = 100000 };
    static char large[SIZE];
    struct sub *subs[N];

    configure_topic("message_bytes=1M\n");
    for (int i = 0; i < N; i++)
        subs[i] = subscribe();
    configure_topic("message_bytes=200000\n");
    publish_bytes(large, SIZE, 0, NULL);
    cr_assert_eq(used_by(PUBLISHER), SIZE);
    for (int i = 0; i < N; i++) {
        cr_assert_eq(used_by(PUBLISHER), SIZE);
        mbox_entry_free(take(subs[i]));
    }
    cr_assert_eq(quota_used(&domain.quota), 0);
    for (int i = 0; i < N; i++)
        end(subs[i]);
}

TOPIC_TEST(the_history_counts_for_the_topics_owner_alone)
{
    struct sub *a = subscribe();
    static char large[1000];

    configure_topic("history=5\n");
    publish_bytes(large, 1000, 0, NULL);
    cr_assert_eq(used_by(PUBLISHER), 1000);
    mbox_entry_free(take(a));
    cr_assert_eq(used_by(PUBLISHER), 0);
    cr_assert_geq(used_by(READER), 1000);
    end(a);
}

TOPIC_TEST(what_the_history_has_too_counts_for_its_sender_while_a_subscription_has_it)
{
    static char data[1000];
    uint64_t before;
    struct sub *a;
    struct sub *b;

    cr_assert_eq(configure_topic("history=1"), 0);
    a = subscribe();
    b = subscribe();
    before = used_by(PUBLISHER);
    cr_assert_eq(publish_bytes(data, sizeof(data), 0, NULL), 0);
    cr_assert_eq(used_by(PUBLISHER), before + sizeof(data));
    cr_assert_lt(used_by(READER), sizeof(data));
    mbox_entry_free(take(a));
    cr_assert_eq(used_by(PUBLISHER), before + sizeof(data));
    mbox_entry_free(take(b));
    cr_assert_eq(used_by(PUBLISHER), before);
    cr_assert_geq(used_by(READER), sizeof(data));
    end(a);
    end(b);
}

TOPIC_TEST(what_waits_counts_for_who_subscribes)
{
    enum { N = 100 };
    struct sub *a = subscribe();

    for (int i = 0; i < N; i++)
        publish("x", NULL);
    cr_assert_geq(used_by(READER), (N - MBOX_FEED_FREE_ENTRIES) * MBOX_ENTRY_CHARGE_BYTES);
    cr_assert_leq(used_by(READER), (N + 32) * MBOX_ENTRY_CHARGE_BYTES);
    for (int i = 0; i < N; i++)
        mbox_entry_free(take(a));
    cr_assert_eq(used_by(READER), 0);
    end(a);
}

TOPIC_TEST(what_is_received_counts_no_longer_long_before_all_is)
{
    enum { N = 200, N_LEFT = 50, N_SLACK = 64 };
    struct sub *a = subscribe();

    for (int i = 0; i < N; i++)
        publish("x", NULL);
    for (int i = N_LEFT; i < N; i++)
        mbox_entry_free(take(a));
    cr_assert_leq(used_by(READER), (N_LEFT + N_SLACK) * MBOX_ENTRY_CHARGE_BYTES);
    end(a);
}

#define HEIR 9

TOPIC_TEST(a_new_owner_pays_for_what_waits_and_for_what_comes)
{
    enum { N = 50 };
    struct sub *a = subscribe();

    for (int i = 0; i < N; i++)
        publish("x", NULL);
    cr_assert_eq(mbox_feed_set_uid(&a->mbox, HEIR), 0);
    cr_assert_eq(used_by(READER), 0);
    for (int i = 0; i < N; i++)
        publish("x", NULL);
    cr_assert_eq(used_by(READER), 0);
    cr_assert_geq(used_by(HEIR), (2 * N - MBOX_FEED_FREE_ENTRIES) * MBOX_ENTRY_CHARGE_BYTES);
    end(a);
    cr_assert_eq(used_by(HEIR), 0);
}

TOPIC_TEST(a_new_owner_pays_for_what_history_comes)
{
    static char data[1000];

    configure_topic("history=5");
    publish_bytes(data, sizeof(data), 0, NULL);
    topic_set_uid(&news->topic, HEIR);
    cr_assert_eq(used_by(HEIR), 0);
    publish_bytes(data, sizeof(data), 0, NULL);
    cr_assert_geq(used_by(HEIR), sizeof(data));
    cr_assert_lt(used_by(READER), 2 * sizeof(data));
}

TOPIC_TEST(one_that_may_have_no_more_loses_and_makes_nobody_wait)
{
    uint64_t rest = UID_BYTES - MBOX_ENTRY_CHARGE_BYTES;
    struct sub *a = subscribe();

    configure(a, "overflow=block");
    cr_assert_eq(quota_charge(&domain.quota, READER, rest), 0);
    for (int i = 0; i < MBOX_FEED_FREE_ENTRIES + 3; i++)
        cr_assert_eq(publish("x", NULL), 0);
    expect(a, "x", 2);
    for (int i = 0; i < MBOX_FEED_FREE_ENTRIES; i++)
        expect(a, "x", 0);
    expect_none(a);
    quota_release(&domain.quota, READER, rest);
    end(a);
}

TOPIC_TEST(a_sender_that_may_have_no_more_is_told_and_nobody_has_it)
{
    struct sub *a = subscribe();

    cr_assert_eq(quota_charge(&domain.quota, PUBLISHER, UID_BYTES), 0);
    cr_assert_eq(publish("1", NULL), -EDQUOT);
    quota_release(&domain.quota, PUBLISHER, UID_BYTES);
    expect_none(a);
    cr_assert_eq(topic_stat().n_published, 0);
    end(a);
}

TOPIC_TEST(a_kept_subscription_keeps_the_topic)
{
    struct sub *kept = new_sub(true, &ready);
    struct sub *other = subscribe();

    cr_assert_eq(mbox_remove(&news->mbox, false, &ready), -ENOTEMPTY);
    remove_sub(kept);
    cr_assert_eq(mbox_remove(&news->mbox, false, &ready), 0);
    mbox_ready_run(&ready);
    cr_assert_eq(mbox_poll(&other->mbox, NULL), MBOX_REMOVED);
    mbox_unref(&kept->mbox);
    mbox_unref(&other->mbox);
}

TOPIC_TEST(a_removed_topic_ends_all_waits)
{
    struct sub *a = subscribe();
    struct mbox_op publisher = waiting();
    struct mbox_op reader = waiting();
    struct sub *b = subscribe();
    struct mbox_entry *none;
    struct sub *late = calloc(1, sizeof(*late));

    configure(a, "messages=1\noverflow=block");
    publish("1", NULL);
    expect(b, "1", 0);
    cr_assert_eq(publish("2", &publisher), MBOX_PARKED);
    cr_assert_eq(mbox_take(&b->mbox, &reader, &none, &ready), MBOX_PARKED);
    cr_assert_eq(mbox_remove(&news->mbox, false, &ready), 0);
    mbox_ready_run(&ready);
    cr_assert_eq(publisher.result, -EIDRM);
    cr_assert_eq(reader.result, -EIDRM);
    mbox_init(&late->mbox, &domain, release_sub);
    n_subs++;
    subscription_init(&late->subscription, &news->topic, &late->mbox, READER, true);
    cr_assert_eq(subscription_begin(&late->subscription, &ready), -EIDRM);
    end(late);
    mbox_unref(&a->mbox);
    mbox_unref(&b->mbox);
}

TOPIC_TEST(a_message_that_came_bit_by_bit_waits_at_its_end)
{
    struct sub *a = subscribe();
    struct mbox_op op = waiting();
    struct msg *msg = msg_new("whole", 5, 0, sender);

    configure(a, "messages=1\noverflow=block");
    publish("1", NULL);
    cr_assert_eq(mbox_reserve(&news->mbox, sender, NULL, &ready), 0);
    cr_assert_eq(mbox_post_reserved(&news->mbox, msg, &op, &ready), MBOX_PARKED);
    msg_unref(msg);
    expect(a, "1", 0);
    cr_assert_eq(op.state, MBOX_OP_DONE);
    expect(a, "whole", 0);
    cr_assert_eq(mbox_reserve(&news->mbox, sender, NULL, &ready), 0);
    mbox_unreserve(&news->mbox, sender, &ready);
    end(a);
}

TOPIC_TEST(two_places_of_one_message_are_not_joined)
{
    struct sub *a = subscribe();
    struct sub *b = subscribe();
    struct mbox_entry *entry;
    uint64_t id;

    publish("1", NULL);
    entry = take(a);
    id = entry->msg->id;
    mbox_entry_free(entry);
    publish("2", NULL);
    cr_assert_eq(mbox_move(&b->mbox, &a->mbox, id + 1, NULL, &ready), -EEXIST);
    cr_assert_eq(mbox_move(&b->mbox, &a->mbox, id, NULL, &ready), 0);
    expect(a, "2", 0);
    expect(a, "1", 0);
    end(a);
    end(b);
}

/* --- all at once --- */

enum { N_PUBLISHERS = 3, N_EACH = 400, N_ROUNDS = 200 };

static void *publisher_main(void *arg)
{
    struct mbox_ready mine = TAILQ_HEAD_INITIALIZER(mine);
    int which = (int)(intptr_t)arg;

    for (int i = 0; i < N_EACH; i++) {
        char text[32];
        struct msg *msg;
        int r;

        snprintf(text, sizeof(text), "%d.%d", which, i);
        msg = msg_new(text, strlen(text), 0, sender);
        do {
            r = mbox_post(&news->mbox, msg, NULL, &mine);
            mbox_ready_run(&mine);
        } while (r == -EAGAIN);
        cr_assert_eq(r, 0);
        msg_unref(msg);
    }
    return NULL;
}

static void *comer_main(void *arg)
{
    struct mbox_ready mine = TAILQ_HEAD_INITIALIZER(mine);

    (void)arg;
    for (int i = 0; i < N_ROUNDS; i++) {
        struct sub *sub = new_sub(i % 2, &mine);

        mbox_configure(&sub->mbox, "messages=3\noverflow=block", 25, &mine);
        mbox_ready_run(&mine);
        mbox_remove(&sub->mbox, true, &mine);
        mbox_ready_run(&mine);
        mbox_unref(&sub->mbox);
    }
    return NULL;
}

TOPIC_TEST(one_order_for_all_whoever_publishes_comes_and_goes)
{
    pthread_t threads[N_PUBLISHERS + 2];
    struct sub *subs[3];

    for (int i = 0; i < 3; i++) {
        subs[i] = subscribe();
        configure(subs[i], "messages=max");
    }
    for (intptr_t i = 0; i < N_PUBLISHERS + 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL,
                                    i < N_PUBLISHERS ? publisher_main : comer_main, (void *)i),
                     0);
    for (int i = 0; i < N_PUBLISHERS + 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < N_PUBLISHERS * N_EACH; i++) {
        struct mbox_entry *entry = take(subs[0]);

        cr_assert_not_null(entry);
        for (int j = 1; j < 3; j++) {
            struct mbox_entry *same = take(subs[j]);

            cr_assert(same && same->msg == entry->msg);
            mbox_entry_free(same);
        }
        mbox_entry_free(entry);
    }
    cr_assert_eq(topic_stat().n_subscriptions, 3);
    for (int i = 0; i < 3; i++)
        end(subs[i]);
}
