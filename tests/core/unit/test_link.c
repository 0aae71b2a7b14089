/* The two ends of a link, and what each is told when the other is left. */
#include "core/mailbox/pair.h"
#include "case.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static struct mbox_domain domain;
static struct link pair;
static struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
static int n_released;

static void release(struct link *gone)
{
    cr_assert_eq(gone, &pair);
    n_released++;
}

static void set_up(void)
{
    mbox_domain_init(&domain, 1 << 20, 1 << 20);
    link_init(&pair, &domain, release);
}

static void tear_down(void)
{
    mbox_unref(&pair.ends[0].inbox);
    cr_assert_eq(n_released, 0, "released while an end was held");
    mbox_unref(&pair.ends[1].inbox);
    cr_assert_eq(n_released, 1);
    cr_assert_eq(quota_used(&domain.quota), 0, "a charge was not released");
    mbox_domain_deinit(&domain);
}

#define LINK_TEST(name) CASE(link, name)

/* Return: as who sends from @end is told. */
static int send_from(struct link_end *end, const char *text)
{
    struct msg *msg = msg_new(text, strlen(text), 0, (struct msg_sender){ .uid = 7 });
    int r = mbox_post(&link_other(end)->inbox, msg, NULL, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    return link_send_result(r);
}

static int receive_at(struct link_end *end, char *ret_first)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct mbox_entry *entry;
    int r = mbox_take(&end->inbox, &op, &entry, &ready);

    if (r < 0)
        return r;
    *ret_first = (char)entry->msg->data[0];
    mbox_commit(&end->inbox, entry, &ready);
    mbox_entry_free(entry);
    return 0;
}

static void expect_at(struct link_end *end, char expected)
{
    char first = 0;

    cr_assert_eq(receive_at(end, &first), 0);
    cr_assert_eq(first, expected);
}

static void leave(struct link_end *end)
{
    link_leave(end, &ready);
    mbox_ready_run(&ready);
}

LINK_TEST(each_end_receives_what_the_other_sent)
{
    char none;

    cr_assert_eq(link_other(&pair.ends[0]), &pair.ends[1]);
    cr_assert_eq(link_other(&pair.ends[1]), &pair.ends[0]);
    cr_assert_eq(send_from(&pair.ends[0], "a"), 0);
    cr_assert_eq(send_from(&pair.ends[1], "b"), 0);
    expect_at(&pair.ends[0], 'b');
    expect_at(&pair.ends[1], 'a');
    cr_assert_eq(receive_at(&pair.ends[0], &none), -EAGAIN);
}

LINK_TEST(who_stays_reads_what_was_sent_and_then_the_end)
{
    char none;

    cr_assert_eq(send_from(&pair.ends[0], "a"), 0);
    cr_assert_eq(send_from(&pair.ends[1], "never read"), 0);
    leave(&pair.ends[0]);
    cr_assert_eq(send_from(&pair.ends[1], "b"), -EPIPE);
    expect_at(&pair.ends[1], 'a');
    cr_assert_eq(receive_at(&pair.ends[1], &none), -EPIPE);
}

LINK_TEST(who_is_still_at_an_end_that_was_left_is_told_that_it_is_gone)
{
    char none;

    leave(&pair.ends[0]);
    cr_assert_eq(send_from(&pair.ends[0], "a"), -EIDRM);
    cr_assert_eq(receive_at(&pair.ends[0], &none), -EIDRM);
}

LINK_TEST(both_ends_may_be_left)
{
    char none;

    cr_assert_eq(send_from(&pair.ends[0], "never read"), 0);
    leave(&pair.ends[0]);
    leave(&pair.ends[1]);
    for (unsigned int i = 0; i < 2; i++)
        cr_assert_eq(receive_at(&pair.ends[i], &none), -EIDRM);
}

LINK_TEST(what_nobody_reads_goes_with_its_end)
{
    cr_assert_eq(send_from(&pair.ends[0], "never read"), 0);
}
