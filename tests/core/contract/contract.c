#include "tests/core/contract/contract.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One case at work. */
struct box {
    const struct driver *driver;
    void *handle;
};

static struct box open_box(const struct driver *driver, const char *settings)
{
    struct box box = { .driver = driver, .handle = driver->make() };

    if (settings)
        cr_assert_eq(driver->configure(box.handle, settings), 0);
    return box;
}

static void close_box(struct box *box)
{
    box->driver->destroy(box->handle);
}

static struct call *start_send_prio(struct box *box, const char *text, unsigned int prio)
{
    return box->driver->start_send(box->handle, text, strlen(text), prio, false);
}

static struct call *start_send(struct box *box, const char *text)
{
    return start_send_prio(box, text, 0);
}

static struct call *start_recv(struct box *box)
{
    return box->driver->start_recv(box->handle, MBOX_MESSAGE_BYTES_MAX, false);
}

static bool has_ended(struct box *box, struct call *call)
{
    return box->driver->has_ended(call);
}

static ssize_t finish(struct box *box, struct call *call)
{
    return box->driver->finish(call, NULL);
}

static ssize_t try_send(struct box *box, const char *text, unsigned int prio)
{
    return finish(box, box->driver->start_send(box->handle, text, strlen(text), prio, true));
}

static void send_ok(struct box *box, const char *text)
{
    cr_assert_eq(try_send(box, text, 0), (ssize_t)strlen(text), "send of %s", text);
}

static ssize_t try_recv(struct box *box)
{
    return finish(box, box->driver->start_recv(box->handle, MBOX_MESSAGE_BYTES_MAX, true));
}

/* The receive @call brings @text. */
static void expect_received(struct box *box, struct call *call, const char *text)
{
    char *data = malloc(MBOX_MESSAGE_BYTES_MAX + 1);
    ssize_t n = box->driver->finish(call, data);

    cr_assert_geq(n, 0, "expected %s, got error %zd", text, n);
    data[n] = '\0';
    cr_assert_str_eq(data, text);
    cr_assert_eq((size_t)n, strlen(text));
    free(data);
}

static void expect_next(struct box *box, const char *text)
{
    struct call *call = box->driver->start_recv(box->handle, MBOX_MESSAGE_BYTES_MAX, true);

    expect_received(box, call, text);
}

static void expect_empty(struct box *box)
{
    cr_assert_eq(try_recv(box), -EAGAIN);
}

static struct mbox_stat stat_of(struct box *box)
{
    struct mbox_stat stat;

    cr_assert_eq(box->driver->stat(box->handle, &stat), 0);
    return stat;
}

static int configure(struct box *box, const char *text)
{
    return box->driver->configure(box->handle, text);
}

static unsigned int poll_box(struct box *box)
{
    return box->driver->poll(box->handle);
}

static ssize_t send_bytes(struct box *box, size_t size)
{
    char *data = malloc(size);
    ssize_t n;

    memset(data, 'x', size);
    n = finish(box, box->driver->start_send(box->handle, data, size, 0, true));
    free(data);
    return n;
}

/* Each case starts with a new box and ends with it. */
#define CASE(name, settings)                                                                       \
    static void run_##name(struct box *box);                                                       \
    Test(mailbox, name)                                                                            \
    {                                                                                              \
        struct box box = open_box(&contract_driver, settings);                                     \
                                                                                                   \
        run_##name(&box);                                                                          \
        close_box(&box);                                                                           \
    }                                                                                              \
    static void run_##name(struct box *box)

CASE(a_message_arrives_byte_for_byte, NULL)
{
    static const char bytes[] = "a\0b\n\xff\x80\r\n\0";
    char received[MBOX_MESSAGE_BYTES_MAX];
    struct call *call;

    call = box->driver->start_send(box->handle, bytes, sizeof(bytes), 0, false);
    cr_assert_eq(finish(box, call), (ssize_t)sizeof(bytes));
    call = start_recv(box);
    cr_assert_eq(box->driver->finish(call, received), (ssize_t)sizeof(bytes));
    cr_assert_arr_eq(received, bytes, sizeof(bytes));
}

CASE(messages_arrive_in_the_order_sent, NULL)
{
    send_ok(box, "one");
    send_ok(box, "two");
    send_ok(box, "three");
    expect_next(box, "one");
    expect_next(box, "two");
    expect_next(box, "three");
    expect_empty(box);
}

CASE(the_higher_priority_overtakes, NULL)
{
    cr_assert_gt(try_send(box, "low", 0), 0);
    cr_assert_gt(try_send(box, "high1", 31), 0);
    cr_assert_gt(try_send(box, "middle", 9), 0);
    cr_assert_gt(try_send(box, "high2", 31), 0);
    expect_next(box, "high1");
    expect_next(box, "high2");
    expect_next(box, "middle");
    expect_next(box, "low");
}

CASE(an_empty_box_does_not_wait_when_told_so, NULL)
{
    cr_assert_eq(try_recv(box), -EAGAIN);
    cr_assert_eq(stat_of(box).n_receivers_waiting, 0);
}

CASE(a_receiver_waits_for_a_message, NULL)
{
    struct call *receiver = start_recv(box);

    cr_assert_not(has_ended(box, receiver));
    cr_assert_eq(stat_of(box).n_receivers_waiting, 1);
    send_ok(box, "hello");
    expect_received(box, receiver, "hello");
    cr_assert_eq(stat_of(box).n_receivers_waiting, 0);
    cr_assert_eq(stat_of(box).n_messages, 0);
}

CASE(receivers_are_served_in_the_order_they_came, NULL)
{
    struct call *first = start_recv(box);
    struct call *second = start_recv(box);
    struct call *third = start_recv(box);

    send_ok(box, "one");
    expect_received(box, first, "one");
    cr_assert_not(has_ended(box, second));
    send_ok(box, "two");
    send_ok(box, "three");
    expect_received(box, third, "three");
    expect_received(box, second, "two");
}

CASE(an_interrupted_receiver_takes_nothing, NULL)
{
    struct call *first = start_recv(box);
    struct call *second = start_recv(box);

    box->driver->interrupt(first);
    cr_assert_eq(finish(box, first), -EINTR);
    cr_assert_eq(stat_of(box).n_receivers_waiting, 1);
    send_ok(box, "one");
    expect_received(box, second, "one");
    expect_empty(box);
}

CASE(a_full_box_makes_senders_wait_in_order, "messages=1")
{
    struct call *second;
    struct call *third;

    send_ok(box, "one");
    second = start_send(box, "two");
    third = start_send(box, "three");
    cr_assert_not(has_ended(box, second));
    cr_assert_not(has_ended(box, third));
    cr_assert_eq(stat_of(box).n_senders_waiting, 2);
    cr_assert_eq(stat_of(box).n_messages, 1);

    expect_next(box, "one");
    cr_assert_eq(finish(box, second), 3);
    cr_assert_not(has_ended(box, third));
    expect_next(box, "two");
    cr_assert_eq(finish(box, third), 5);
    expect_next(box, "three");
    expect_empty(box);
}

CASE(a_full_box_does_not_wait_when_told_so, "messages=2")
{
    send_ok(box, "one");
    send_ok(box, "two");
    cr_assert_eq(try_send(box, "three", 0), -EAGAIN);
    cr_assert_eq(try_send(box, "urgent", 31), -EAGAIN);
    expect_next(box, "one");
    send_ok(box, "four");
    expect_next(box, "two");
    expect_next(box, "four");
    expect_empty(box);
}

CASE(an_interrupted_sender_leaves_nothing, "messages=1")
{
    struct call *second;
    struct call *third;

    send_ok(box, "one");
    second = start_send(box, "two");
    third = start_send(box, "three");
    box->driver->interrupt(second);
    cr_assert_eq(finish(box, second), -EINTR);
    expect_next(box, "one");
    cr_assert_eq(finish(box, third), 5);
    expect_next(box, "three");
    expect_empty(box);
}

CASE(a_small_message_does_not_overtake_a_waiting_large_one, "bytes=10")
{
    struct call *large;
    struct call *small;

    send_ok(box, "sixsix");
    large = start_send(box, "sevenxx");
    small = start_send(box, "s");
    cr_assert_eq(try_send(box, "t", 0), -EAGAIN);
    cr_assert_not(has_ended(box, small));
    expect_next(box, "sixsix");
    cr_assert_eq(finish(box, large), 7);
    cr_assert_eq(finish(box, small), 1);
    expect_next(box, "sevenxx");
    expect_next(box, "s");
}

CASE(an_interrupted_large_sender_lets_the_small_one_in, "bytes=10")
{
    struct call *large;
    struct call *small;

    send_ok(box, "sixsix");
    large = start_send(box, "sevenxx");
    small = start_send(box, "s");
    box->driver->interrupt(large);
    cr_assert_eq(finish(box, large), -EINTR);
    cr_assert_eq(finish(box, small), 1);
    expect_next(box, "sixsix");
    expect_next(box, "s");
}

CASE(an_urgent_sender_is_let_in_first, "messages=1")
{
    struct call *calm;
    struct call *urgent;

    send_ok(box, "one");
    calm = start_send_prio(box, "calm", 1);
    urgent = start_send_prio(box, "urgent", 2);
    expect_next(box, "one");
    cr_assert_eq(finish(box, urgent), 6);
    cr_assert_not(has_ended(box, calm));
    expect_next(box, "urgent");
    cr_assert_eq(finish(box, calm), 4);
}

CASE(a_message_over_message_bytes_is_refused, "message_bytes=8")
{
    cr_assert_eq(try_send(box, "ninebytes", 0), -EMSGSIZE);
    send_ok(box, "12345678");
    expect_next(box, "12345678");
    expect_empty(box);
}

CASE(a_message_over_bytes_is_refused, "bytes=8")
{
    cr_assert_eq(try_send(box, "ninebytes", 0), -EMSGSIZE);
    send_ok(box, "12345678");
}

CASE(the_largest_message_of_all_arrives, "message_bytes=1044480")
{
    struct call *call;

    cr_assert_eq(send_bytes(box, MBOX_MESSAGE_BYTES_MAX), MBOX_MESSAGE_BYTES_MAX);
    cr_assert_eq(send_bytes(box, MBOX_MESSAGE_BYTES_MAX + 1), -EMSGSIZE);
    cr_assert_eq(stat_of(box).n_messages, 1);
    call = start_recv(box);
    cr_assert_eq(finish(box, call), MBOX_MESSAGE_BYTES_MAX);
}

CASE(a_buffer_too_small_leaves_the_message, NULL)
{
    send_ok(box, "four");
    cr_assert_eq(finish(box, box->driver->start_recv(box->handle, 3, true)), -EMSGSIZE);
    cr_assert_eq(finish(box, box->driver->start_recv(box->handle, 3, false)), -EMSGSIZE);
    cr_assert_eq(stat_of(box).n_messages, 1);
    cr_assert_eq(finish(box, box->driver->start_recv(box->handle, 4, true)), 4);
}

CASE(a_waiting_receiver_with_a_small_buffer_leaves_the_message, NULL)
{
    struct call *small = box->driver->start_recv(box->handle, 3, false);
    struct call *large = start_recv(box);

    send_ok(box, "four");
    cr_assert_eq(finish(box, small), -EMSGSIZE);
    expect_received(box, large, "four");
}

CASE(bytes_bound_the_queue, "bytes=10")
{
    send_ok(box, "12345");
    send_ok(box, "6789");
    cr_assert_eq(try_send(box, "ab", 0), -EAGAIN);
    send_ok(box, "a");
    cr_assert_eq(stat_of(box).n_bytes, 10);
}

CASE(messages_max_is_no_bound, "messages=max")
{
    for (int i = 0; i < 3000; i++)
        send_ok(box, "x");
    cr_assert_eq(stat_of(box).n_messages, 3000);
}

CASE(reject_refuses_what_finds_no_room, "messages=1\noverflow=reject")
{
    struct call *call;

    send_ok(box, "one");
    cr_assert_eq(try_send(box, "two", 0), -ENOBUFS);
    call = start_send(box, "three");
    cr_assert_eq(finish(box, call), -ENOBUFS);
    cr_assert_eq(stat_of(box).n_rejected, 2);
    expect_next(box, "one");
    send_ok(box, "four");
    expect_next(box, "four");
}

CASE(drop_oldest_drops_the_oldest_of_the_lowest_priority, "messages=3\noverflow=drop-oldest")
{
    cr_assert_gt(try_send(box, "urgent", 5), 0);
    send_ok(box, "one");
    send_ok(box, "two");
    send_ok(box, "three");
    cr_assert_eq(stat_of(box).n_dropped, 1);
    cr_assert_eq(stat_of(box).n_messages, 3);
    expect_next(box, "urgent");
    expect_next(box, "two");
    expect_next(box, "three");
}

CASE(drop_oldest_makes_room_for_a_large_message, "bytes=10\noverflow=drop-oldest")
{
    send_ok(box, "123");
    send_ok(box, "456");
    send_ok(box, "789");
    send_ok(box, "sevenxx");
    cr_assert_eq(stat_of(box).n_dropped, 2);
    expect_next(box, "789");
    expect_next(box, "sevenxx");
    expect_empty(box);
}

CASE(drop_oldest_drops_a_newcomer_that_is_less_urgent_than_all, "messages=2\noverflow=drop-oldest")
{
    cr_assert_gt(try_send(box, "one", 9), 0);
    cr_assert_gt(try_send(box, "two", 9), 0);
    send_ok(box, "lowly");
    cr_assert_eq(stat_of(box).n_dropped, 1);
    cr_assert_eq(stat_of(box).n_messages, 2);
    expect_next(box, "one");
    expect_next(box, "two");
    expect_empty(box);
}

CASE(a_rendezvous_sender_waits_for_its_receiver, "messages=0")
{
    struct call *sender = start_send(box, "hello");

    cr_assert_not(has_ended(box, sender));
    cr_assert_eq(stat_of(box).n_messages, 0);
    cr_assert_eq(stat_of(box).n_senders_waiting, 1);
    expect_next(box, "hello");
    cr_assert_eq(finish(box, sender), 5);
    cr_assert_eq(stat_of(box).n_senders_waiting, 0);
    cr_assert_eq(stat_of(box).n_sent, 1);
    cr_assert_eq(stat_of(box).n_received, 1);
}

CASE(a_rendezvous_receiver_waits_for_its_sender, "messages=0")
{
    struct call *receiver = start_recv(box);
    struct call *sender = start_send(box, "hello");

    expect_received(box, receiver, "hello");
    cr_assert_eq(finish(box, sender), 5);
}

CASE(a_rendezvous_without_a_partner_does_not_wait_when_told_so, "messages=0")
{
    cr_assert_eq(try_send(box, "hello", 0), -EAGAIN);
    expect_empty(box);
    cr_assert_eq(stat_of(box).n_sent, 0);
}

CASE(a_rendezvous_meets_a_sender_that_does_not_wait, "messages=0")
{
    struct call *receiver = start_recv(box);

    send_ok(box, "hello");
    expect_received(box, receiver, "hello");
}

CASE(a_rendezvous_takes_the_most_urgent_sender, "messages=0")
{
    struct call *calm = start_send_prio(box, "calm", 0);
    struct call *urgent = start_send_prio(box, "urgent", 1);

    expect_next(box, "urgent");
    cr_assert_eq(finish(box, urgent), 6);
    cr_assert_not(has_ended(box, calm));
    expect_next(box, "calm");
    cr_assert_eq(finish(box, calm), 4);
}

CASE(an_interrupted_rendezvous_sends_nothing, "messages=0")
{
    struct call *sender = start_send(box, "hello");

    box->driver->interrupt(sender);
    cr_assert_eq(finish(box, sender), -EINTR);
    expect_empty(box);
}

CASE(a_rejecting_rendezvous_refuses_without_a_receiver, "messages=0\noverflow=reject")
{
    struct call *receiver;

    cr_assert_eq(try_send(box, "one", 0), -ENOBUFS);
    receiver = start_recv(box);
    send_ok(box, "two");
    expect_received(box, receiver, "two");
}

CASE(bad_settings_change_nothing, NULL)
{
    static const char *const bad[] = {
        "colour=red",
        "messages",
        "messages=",
        "messages=-1",
        "messages=1x",
        "messages= 1",
        "messages=99999999999999999999",
        "bytes=0",
        "bytes=max",
        "bytes=99999999999G",
        "message_bytes=0",
        "message_bytes=1044481",
        "overflow=",
        "overflow=explode",
        "overflow=Block",
        "=1",
        "messages=1\nbytes=x\n",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(configure(box, bad[i]), -EINVAL, "%s", bad[i]);
    send_ok(box, "one");
    send_ok(box, "two");
}

CASE(settings_may_come_together_or_one_by_one, NULL)
{
    cr_assert_eq(configure(box, "messages=1\nmessage_bytes=4\noverflow=reject\n"), 0);
    send_ok(box, "one");
    cr_assert_eq(try_send(box, "two", 0), -ENOBUFS);
    cr_assert_eq(configure(box, "overflow=block"), 0);
    cr_assert_eq(try_send(box, "two", 0), -EAGAIN);
    cr_assert_eq(try_send(box, "twenty", 0), -EMSGSIZE);
}

CASE(more_capacity_lets_waiting_senders_in, "messages=1")
{
    struct call *second;
    struct call *third;

    send_ok(box, "one");
    second = start_send(box, "two");
    third = start_send(box, "three");
    cr_assert_eq(configure(box, "messages=2"), 0);
    cr_assert_eq(finish(box, second), 3);
    cr_assert_not(has_ended(box, third));
    cr_assert_eq(configure(box, "messages=max"), 0);
    cr_assert_eq(finish(box, third), 5);
}

CASE(less_capacity_keeps_what_is_there, NULL)
{
    send_ok(box, "one");
    send_ok(box, "two");
    cr_assert_eq(configure(box, "messages=1\nbytes=1"), 0);
    cr_assert_eq(stat_of(box).n_messages, 2);
    cr_assert_eq(try_send(box, "x", 0), -EAGAIN);
    expect_next(box, "one");
    cr_assert_eq(try_send(box, "x", 0), -EAGAIN);
    expect_next(box, "two");
    send_ok(box, "x");
}

CASE(a_new_policy_judges_waiting_senders, "messages=1")
{
    struct call *second;
    struct call *third;

    send_ok(box, "one");
    second = start_send(box, "two");
    cr_assert_eq(configure(box, "overflow=reject"), 0);
    cr_assert_eq(finish(box, second), -ENOBUFS);
    cr_assert_eq(configure(box, "overflow=block"), 0);
    third = start_send(box, "three");
    cr_assert_eq(configure(box, "overflow=drop-oldest"), 0);
    cr_assert_eq(finish(box, third), 5);
    expect_next(box, "three");
    expect_empty(box);
}

CASE(counters_count, "messages=2\noverflow=reject")
{
    struct mbox_stat stat = stat_of(box);

    cr_assert_eq(stat.last_send.tv_sec, 0);
    cr_assert_eq(stat.last_receive.tv_sec, 0);
    send_ok(box, "one");
    send_ok(box, "three");
    cr_assert_eq(try_send(box, "x", 0), -ENOBUFS);
    expect_next(box, "one");
    stat = stat_of(box);
    cr_assert_eq(stat.n_messages, 1);
    cr_assert_eq(stat.n_bytes, 5);
    cr_assert_eq(stat.n_sent, 2);
    cr_assert_eq(stat.n_received, 1);
    cr_assert_eq(stat.n_rejected, 1);
    cr_assert_eq(stat.n_dropped, 0);
    cr_assert_gt(stat.last_send.tv_sec, 0);
    cr_assert_geq(stat.last_receive.tv_sec, stat.last_send.tv_sec);
}

CASE(poll_tells_what_would_not_wait, "messages=1")
{
    struct call *call;

    cr_assert_eq(poll_box(box), MBOX_WRITABLE);
    send_ok(box, "one");
    cr_assert_eq(poll_box(box), MBOX_READABLE);
    cr_assert_eq(configure(box, "overflow=drop-oldest"), 0);
    cr_assert_eq(poll_box(box), MBOX_READABLE | MBOX_WRITABLE);
    expect_next(box, "one");
    cr_assert_eq(configure(box, "messages=0\noverflow=block"), 0);
    cr_assert_eq(poll_box(box), 0);
    call = start_send(box, "two");
    cr_assert_eq(poll_box(box), MBOX_READABLE);
    box->driver->interrupt(call);
    cr_assert_eq(finish(box, call), -EINTR);
    call = start_recv(box);
    cr_assert_eq(poll_box(box), MBOX_WRITABLE);
    send_ok(box, "three");
    expect_received(box, call, "three");
}

CASE(a_box_with_messages_is_not_removed, NULL)
{
    send_ok(box, "one");
    cr_assert_eq(box->driver->remove(box->handle), -ENOTEMPTY);
    expect_next(box, "one");
    cr_assert_eq(box->driver->remove(box->handle), 0);
}

CASE(removal_ends_waiting_receivers, NULL)
{
    struct call *first = start_recv(box);
    struct call *second = start_recv(box);

    cr_assert_eq(box->driver->remove(box->handle), 0);
    cr_assert_eq(finish(box, first), -EIDRM);
    cr_assert_eq(finish(box, second), -EIDRM);
}

CASE(removal_ends_waiting_rendezvous_senders, "messages=0")
{
    struct call *sender = start_send(box, "one");

    cr_assert_eq(box->driver->remove(box->handle), 0);
    cr_assert_eq(finish(box, sender), -EIDRM);
}

CASE(a_removed_box_refuses_all, NULL)
{
    cr_assert_eq(box->driver->remove(box->handle), 0);
    cr_assert_eq(try_send(box, "x", 0), -EIDRM);
    cr_assert_eq(try_recv(box), -EIDRM);
    cr_assert_eq(finish(box, start_send(box, "x")), -EIDRM);
    cr_assert_eq(finish(box, start_recv(box)), -EIDRM);
    cr_assert_eq(poll_box(box), MBOX_REMOVED);
}
