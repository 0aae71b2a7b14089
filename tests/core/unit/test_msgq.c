#include "core/mailbox/msgq.h"

#include <criterion/criterion.h>

static struct mbox_entry *new_entry(unsigned int prio, uint64_t seq, size_t size)
{
    static const char data[16];
    struct msg *msg = msg_new(data, size, prio, (struct msg_sender){ 0 });
    struct mbox_entry *entry = mbox_entry_new(msg);

    msg_unref(msg);
    entry->seq = seq;
    return entry;
}

static struct mbox_entry *pop(struct msgq *q)
{
    struct mbox_entry *entry = msgq_first(q);

    msgq_remove(q, entry);
    return entry;
}

static void expect_pop(struct msgq *q, unsigned int prio, uint64_t seq)
{
    struct mbox_entry *entry = pop(q);

    cr_expect_eq(entry->msg->prio, prio);
    cr_expect_eq(entry->seq, seq);
    mbox_entry_free(entry);
}

Test(msgq, delivers_by_priority_then_by_arrival)
{
    struct msgq q;

    msgq_init(&q);
    msgq_push(&q, new_entry(0, 1, 1));
    msgq_push(&q, new_entry(31, 2, 2));
    msgq_push(&q, new_entry(7, 3, 3));
    msgq_push(&q, new_entry(31, 4, 4));
    cr_assert_eq(q.n_messages, 4);
    cr_assert_eq(q.n_bytes, 10);
    cr_assert_eq(msgq_least(&q)->seq, 1);
    expect_pop(&q, 31, 2);
    expect_pop(&q, 31, 4);
    expect_pop(&q, 7, 3);
    expect_pop(&q, 0, 1);
    cr_assert_null(msgq_first(&q));
    cr_assert_null(msgq_least(&q));
    cr_assert_eq(q.n_bytes, 0);
}

Test(msgq, messages_put_back_in_any_order_are_in_their_places)
{
    struct mbox_entry *entries[4];
    struct msgq q;

    msgq_init(&q);
    for (uint64_t seq = 0; seq < 4; seq++)
        msgq_push(&q, new_entry(3, seq, 1));
    for (int i = 0; i < 4; i++)
        entries[i] = pop(&q);
    msgq_put_back(&q, entries[2]);
    msgq_put_back(&q, entries[0]);
    msgq_put_back(&q, entries[3]);
    msgq_put_back(&q, entries[1]);
    for (uint64_t seq = 0; seq < 4; seq++)
        expect_pop(&q, 3, seq);
}

Test(msgq, many_that_are_put_back_are_in_their_places)
{
    struct mbox_entries others = TAILQ_HEAD_INITIALIZER(others);
    struct msgq q;

    msgq_init(&q);
    for (uint64_t seq = 0; seq < 20; seq++) {
        struct mbox_entry *entry = new_entry(seq % 2, seq, 1);

        if (seq % 3)
            TAILQ_INSERT_TAIL(&others, entry, link);
        else
            msgq_push(&q, entry);
    }
    msgq_put_all_back(&q, &others);
    cr_assert(TAILQ_EMPTY(&others));
    cr_assert_eq(q.n_messages, 20);
    for (uint64_t seq = 1; seq < 20; seq += 2)
        expect_pop(&q, 1, seq);
    for (uint64_t seq = 0; seq < 20; seq += 2)
        expect_pop(&q, 0, seq);
}

Test(msgq, next_walks_all_in_delivery_order)
{
    static const uint64_t order[] = { 2, 4, 3, 1, 5 };
    struct mbox_entry *entry;
    struct msgq q;
    size_t n = 0;

    msgq_init(&q);
    msgq_push(&q, new_entry(0, 1, 0));
    msgq_push(&q, new_entry(31, 2, 0));
    msgq_push(&q, new_entry(7, 3, 0));
    msgq_push(&q, new_entry(31, 4, 0));
    msgq_push(&q, new_entry(0, 5, 0));
    for (entry = msgq_first(&q); entry; entry = msgq_next(&q, entry))
        cr_assert_eq(entry->seq, order[n++]);
    cr_assert_eq(n, 5);
    while (msgq_first(&q))
        mbox_entry_free(pop(&q));
}

Test(msgq, knows_whether_one_of_at_least_a_priority_waits)
{
    struct msgq q;

    msgq_init(&q);
    cr_assert_not(msgq_has_at_least(&q, 0));
    msgq_push(&q, new_entry(5, 1, 0));
    cr_assert(msgq_has_at_least(&q, 0));
    cr_assert(msgq_has_at_least(&q, 5));
    cr_assert_not(msgq_has_at_least(&q, 6));
    cr_assert_not(msgq_has_at_least(&q, 31));
    mbox_entry_free(pop(&q));
}
