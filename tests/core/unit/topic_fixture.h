/* What the tests of a topic share: one, those who subscribe to it, and steps with them that complete at once. */
#ifndef IPCFS_TESTS_TOPIC_FIXTURE_H
#define IPCFS_TESTS_TOPIC_FIXTURE_H

#include "core/mailbox/topic.h"
#include "case.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UID_BYTES (1 << 20)
#define PUBLISHER 7
#define READER 8

struct topic_box {
    struct mbox mbox;
    struct topic topic;
};

struct sub {
    struct mbox mbox;
    struct subscription subscription;
};

static struct mbox_domain domain;
static struct topic_box *news;
static struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
static const struct msg_sender sender = { .pid = 1, .uid = PUBLISHER };
static atomic_int n_subs;

static inline void release_topic(struct mbox *mbox)
{
    struct topic_box *gone = (struct topic_box *)mbox;

    topic_deinit(&gone->topic);
    mbox_deinit(mbox);
    free(gone);
}

static inline void release_sub(struct mbox *mbox)
{
    struct sub *gone = (struct sub *)mbox;

    subscription_deinit(&gone->subscription);
    mbox_deinit(mbox);
    free(gone);
    n_subs--;
}

static inline void set_up(void)
{
    mbox_domain_init(&domain, 8 << 20, UID_BYTES);
    news = calloc(1, sizeof(*news));
    mbox_init(&news->mbox, &domain, release_topic);
    topic_init(&news->topic, &news->mbox, READER);
    n_subs = 0;
}

static inline struct sub *new_sub(bool is_kept, struct mbox_ready *to)
{
    struct sub *sub = calloc(1, sizeof(*sub));

    mbox_init(&sub->mbox, &domain, release_sub);
    subscription_init(&sub->subscription, &news->topic, &sub->mbox, READER, is_kept);
    n_subs++;
    cr_assert_eq(subscription_begin(&sub->subscription, to), 0);
    mbox_ready_run(to);
    return sub;
}

static inline struct sub *subscribe(void)
{
    return new_sub(false, &ready);
}

static inline void remove_sub(struct sub *sub)
{
    mbox_remove(&sub->mbox, true, &ready);
    mbox_ready_run(&ready);
}

static inline void end(struct sub *sub)
{
    remove_sub(sub);
    mbox_unref(&sub->mbox);
}

static inline void tear_down(void)
{
    mbox_remove(&news->mbox, true, &ready);
    mbox_ready_run(&ready);
    mbox_unref(&news->mbox);
    cr_assert_eq(n_subs, 0, "%d subscriptions are held", n_subs);
    cr_assert_eq(quota_used(&domain.quota), 0, "a charge was not released");
    mbox_domain_deinit(&domain);
}

#define TOPIC_TEST(name) CASE(topic, name)

static inline void note(struct mbox_op *op, struct mbox_ready *more)
{
    (void)op;
    (void)more;
}

static inline struct mbox_op waiting(void)
{
    return (struct mbox_op){ .complete = note, .max_bytes = SIZE_MAX };
}

static inline int publish_bytes(const void *data, size_t n, unsigned int prio, struct mbox_op *op)
{
    struct msg *msg = msg_new(data, n, prio, sender);
    int r = mbox_post(&news->mbox, msg, op, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    return r;
}

static inline int publish(const char *text, struct mbox_op *op)
{
    return publish_bytes(text, strlen(text), 0, op);
}

static inline void configure(struct sub *sub, const char *text)
{
    cr_assert_eq(mbox_configure(&sub->mbox, text, strlen(text), &ready), 0);
    mbox_ready_run(&ready);
}

static inline int configure_topic(const char *text)
{
    int r = topic_configure(&news->topic, text, strlen(text), &ready);

    mbox_ready_run(&ready);
    return r;
}

static inline struct mbox_entry *take(struct sub *sub)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct mbox_entry *entry = NULL;

    if (mbox_take(&sub->mbox, &op, &entry, &ready) < 0)
        return NULL;
    mbox_commit(&sub->mbox, entry, &ready);
    mbox_ready_run(&ready);
    return entry;
}

static inline bool says(const struct mbox_entry *entry, const char *text)
{
    return entry && entry->msg->size_bytes == strlen(text) &&
           memcmp(entry->msg->data, text, strlen(text)) == 0;
}

static inline void expect(struct sub *sub, const char *text, uint64_t n_missed)
{
    struct mbox_entry *entry = take(sub);

    cr_assert(says(entry, text), "not %s", text);
    cr_assert_eq(entry->n_missed, n_missed, "%s: %d missed", text, (int)entry->n_missed);
    mbox_entry_free(entry);
}

static inline void expect_none(struct sub *sub)
{
    cr_assert_null(take(sub));
}

static inline struct topic_stat topic_stat(void)
{
    struct topic_stat stat;

    cr_assert_eq(topic_get_stat(&news->topic, &stat), 0);
    return stat;
}

static inline uint64_t used_by(uid_t uid)
{
    uint64_t left = UID_BYTES;

    /* What can be charged beside it. */
    while (left > 0 && quota_charge(&domain.quota, uid, left) < 0)
        left--;
    quota_release(&domain.quota, uid, left);
    return UID_BYTES - left;
}

#endif
