/* What the tests of a mailbox share: one, and steps with it that complete at once. */
#ifndef IPCFS_TESTS_MBOX_FIXTURE_H
#define IPCFS_TESTS_MBOX_FIXTURE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/mailbox/mbox_cursor.h"
#include "case.h"

static struct mbox_domain domain;
static struct mbox mbox;
static struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

static inline void release(struct mbox *gone)
{
    mbox_deinit(gone);
}

static inline void set_up(void)
{
    mbox_domain_init(&domain, 1 << 20, 1 << 20);
    mbox_init(&mbox, &domain, release);
}

static inline void tear_down(void)
{
    mbox_remove(&mbox, true, &ready);
    mbox_ready_run(&ready);
    mbox_unref(&mbox);
    cr_assert_eq(quota_used(&domain.quota), 0, "a charge was not released");
    mbox_domain_deinit(&domain);
}

/* Not Criterion's fixtures: a crash in those does not fail the test. */
#define MBOX_TEST(name) CASE(mbox, name)

static int n_completed;

static inline void count_completion(struct mbox_op *op, struct mbox_ready *more)
{
    (void)op;
    (void)more;
    n_completed++;
}

static inline struct mbox_op waiting_op(void)
{
    return (struct mbox_op){ .complete = count_completion, .max_bytes = SIZE_MAX };
}

static inline int post_prio(const char *text, unsigned int prio, struct mbox_op *op)
{
    struct msg *msg = msg_new(text, strlen(text), prio, (struct msg_sender){ .uid = 7 });
    int r = mbox_post(&mbox, msg, op, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    return r;
}

static inline int post(const char *text)
{
    return post_prio(text, 0, NULL);
}

static inline int take(struct mbox_entry **ret_entry)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };

    int r = mbox_take(&mbox, &op, ret_entry, &ready);

    mbox_ready_run(&ready);
    return r;
}

static inline bool is(const struct msg *msg, const char *text)
{
    return msg->size_bytes == strlen(text) && memcmp(msg->data, text, msg->size_bytes) == 0;
}

static inline void commit(struct mbox_entry *entry)
{
    mbox_commit(&mbox, entry, &ready);
    mbox_entry_free(entry);
    mbox_ready_run(&ready);
}

static inline void abort_delivery(struct mbox_entry *entry)
{
    mbox_abort(&mbox, entry, &ready);
    mbox_ready_run(&ready);
}

static inline void expect_next(const char *text)
{
    struct mbox_entry *entry;

    cr_assert_eq(take(&entry), 0);
    cr_assert(is(entry->msg, text), "expected %s", text);
    commit(entry);
}

static inline void configure(const char *text)
{
    cr_assert_eq(mbox_configure(&mbox, text, strlen(text), &ready), 0);
    mbox_ready_run(&ready);
}

static inline struct mbox_stat stat_of(void)
{
    struct mbox_stat stat;

    cr_assert_eq(mbox_get_stat(&mbox, &stat), 0);
    return stat;
}

#endif
