/* What only the engine's users see: messages in flight, watches, cancels. What every mailbox
 * promises is in tests/contract. */
#include "core/mbox.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct mbox_domain domain;
static struct mbox mbox;
static struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

static void release(struct mbox *gone)
{
    mbox_deinit(gone);
}

static void set_up(void)
{
    mbox_domain_init(&domain, 1 << 20, 1 << 20);
    mbox_init(&mbox, &domain, release);
}

static void tear_down(void)
{
    mbox_remove(&mbox, true, &ready);
    mbox_ready_run(&ready);
    mbox_unref(&mbox);
    cr_assert_eq(quota_used(&domain.quota), 0, "a charge was not released");
    mbox_domain_deinit(&domain);
}

/* Not Criterion's fixtures: a crash in those does not fail the test. */
#define MBOX_TEST(name)                                                                            \
    static void run_##name(void);                                                                  \
    Test(mbox, name)                                                                               \
    {                                                                                              \
        set_up();                                                                                  \
        run_##name();                                                                              \
        tear_down();                                                                               \
    }                                                                                              \
    static void run_##name(void)

static int n_completed;

static void count_completion(struct mbox_op *op, struct mbox_ready *more)
{
    (void)op;
    (void)more;
    n_completed++;
}

static struct mbox_op waiting_op(void)
{
    return (struct mbox_op){ .complete = count_completion, .max_bytes = SIZE_MAX };
}

static int post_prio(const char *text, unsigned int prio, struct mbox_op *op)
{
    struct msg *msg = msg_new(text, strlen(text), prio, (struct msg_sender){ .uid = 7 });
    int r = mbox_post(&mbox, msg, op, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    return r;
}

static int post(const char *text)
{
    return post_prio(text, 0, NULL);
}

static int take(struct msg **ret_msg)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };

    return mbox_take(&mbox, &op, ret_msg);
}

static bool is(const struct msg *msg, const char *text)
{
    return msg->size_bytes == strlen(text) && memcmp(msg->data, text, msg->size_bytes) == 0;
}

static void commit(struct msg *msg)
{
    mbox_commit(&mbox, msg, &ready);
    msg_unref(msg);
    mbox_ready_run(&ready);
}

static void abort_delivery(struct msg *msg)
{
    mbox_abort(&mbox, msg, &ready);
    mbox_ready_run(&ready);
}

static void expect_next(const char *text)
{
    struct msg *msg;

    cr_assert_eq(take(&msg), 0);
    cr_assert(is(msg, text), "expected %s", text);
    commit(msg);
}

static void configure(const char *text)
{
    cr_assert_eq(mbox_configure(&mbox, text, strlen(text), &ready), 0);
    mbox_ready_run(&ready);
}

static struct mbox_stat stat_of(void)
{
    struct mbox_stat stat;

    cr_assert_eq(mbox_get_stat(&mbox, &stat), 0);
    return stat;
}

MBOX_TEST(a_message_in_flight_still_counts)
{
    struct msg *msg;

    configure("messages=1");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&msg), 0);
    cr_assert_eq(stat_of().n_messages, 1);
    cr_assert_eq(stat_of().n_bytes, 3);
    cr_assert_eq(stat_of().n_received, 0);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES);
    cr_assert_eq(post("two"), -EAGAIN);
    cr_assert_eq(mbox_remove(&mbox, false, &ready), -ENOTEMPTY);
    commit(msg);
    cr_assert_eq(stat_of().n_messages, 0);
    cr_assert_eq(stat_of().n_received, 1);
    cr_assert_eq(quota_used(&domain.quota), 0);
    cr_assert_eq(post("two"), 0);
}

MBOX_TEST(undelivered_messages_return_to_their_places)
{
    struct msg *one;
    struct msg *two;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post("two"), 0);
    cr_assert_eq(post("three"), 0);
    cr_assert_eq(take(&one), 0);
    cr_assert_eq(take(&two), 0);
    abort_delivery(two);
    abort_delivery(one);
    expect_next("one");
    expect_next("two");
    expect_next("three");
    cr_assert_eq(stat_of().n_received, 3);
}

MBOX_TEST(an_undelivered_message_goes_to_the_next_who_waits)
{
    struct mbox_op first = waiting_op();
    struct mbox_op second = waiting_op();
    struct msg *none;

    cr_assert_eq(mbox_take(&mbox, &first, &none), MBOX_PARKED);
    cr_assert_eq(mbox_take(&mbox, &second, &none), MBOX_PARKED);
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(first.result, 0);
    cr_assert(is(first.msg, "one"));
    abort_delivery(first.msg);
    cr_assert_eq(n_completed, 2);
    cr_assert(is(second.msg, "one"));
    commit(second.msg);
}

MBOX_TEST(drop_oldest_does_not_wait_for_what_is_in_flight)
{
    struct msg *one;

    configure("messages=1\noverflow=drop-oldest");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&one), 0);
    cr_assert_eq(post("two"), 0);
    cr_assert_eq(stat_of().n_dropped, 0);
    abort_delivery(one);
    cr_assert_eq(stat_of().n_dropped, 1);
    expect_next("two");
    cr_assert_eq(take(&one), -EAGAIN);
}

MBOX_TEST(a_rendezvous_sender_waits_on_when_the_delivery_fails)
{
    struct mbox_op sender = waiting_op();
    struct msg *msg;

    configure("messages=0");
    cr_assert_eq(post_prio("one", 0, &sender), MBOX_PARKED);
    cr_assert_eq(take(&msg), 0);
    cr_assert_eq(stat_of().n_senders_waiting, 0);
    abort_delivery(msg);
    cr_assert_eq(n_completed, 0);
    cr_assert_eq(stat_of().n_senders_waiting, 1);
    expect_next("one");
    cr_assert_eq(n_completed, 1);
    cr_assert_eq(sender.result, 0);
}

MBOX_TEST(a_rendezvous_sender_that_does_not_wait_learns_that_the_delivery_failed)
{
    struct mbox_op receiver = waiting_op();
    struct mbox_op sender = waiting_op();
    struct msg *none;

    configure("messages=0");
    sender.nonblock = true;
    cr_assert_eq(mbox_take(&mbox, &receiver, &none), MBOX_PARKED);
    cr_assert_eq(post_prio("one", 0, &sender), MBOX_PARKED);
    abort_delivery(receiver.msg);
    cr_assert_eq(sender.result, -EAGAIN);
    cr_assert_eq(stat_of().n_sent, 0);
}

MBOX_TEST(an_interrupt_in_flight_counts_only_if_the_delivery_fails)
{
    struct mbox_op first = waiting_op();
    struct mbox_op second = waiting_op();
    struct msg *msg;

    configure("messages=0");
    cr_assert_eq(post_prio("one", 0, &first), MBOX_PARKED);
    cr_assert_eq(take(&msg), 0);
    mbox_cancel(&mbox, &first, &ready);
    cr_assert_eq(n_completed, 0);
    abort_delivery(msg);
    cr_assert_eq(first.result, -EINTR);

    cr_assert_eq(post_prio("two", 0, &second), MBOX_PARKED);
    cr_assert_eq(take(&msg), 0);
    mbox_cancel(&mbox, &second, &ready);
    commit(msg);
    cr_assert_eq(second.result, 0);
}

MBOX_TEST(who_is_cancelled_before_it_waits_does_not_wait)
{
    struct mbox_op receiver = waiting_op();
    struct mbox_op sender = waiting_op();
    struct msg *none;

    configure("messages=1");
    mbox_cancel(&mbox, &receiver, &ready);
    cr_assert_eq(mbox_take(&mbox, &receiver, &none), -EINTR);
    cr_assert_eq(post("one"), 0);
    mbox_cancel(&mbox, &sender, &ready);
    cr_assert_eq(post_prio("two", 0, &sender), -EINTR);
    cr_assert_eq(n_completed, 0);
}

MBOX_TEST(who_is_cancelled_but_need_not_wait_is_served)
{
    struct mbox_op receiver = waiting_op();
    struct msg *msg;

    cr_assert_eq(post("one"), 0);
    mbox_cancel(&mbox, &receiver, &ready);
    cr_assert_eq(mbox_take(&mbox, &receiver, &msg), 0);
    commit(msg);
}

MBOX_TEST(a_delivery_may_end_after_the_mailbox)
{
    struct msg *one;
    struct msg *two;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post("two"), 0);
    cr_assert_eq(take(&one), 0);
    cr_assert_eq(take(&two), 0);
    cr_assert_eq(mbox_remove(&mbox, true, &ready), 0);
    commit(one);
    abort_delivery(two);
    cr_assert_eq(mbox_remove(&mbox, true, &ready), -EIDRM);
}

MBOX_TEST(waiting_senders_are_charged)
{
    struct mbox_op sender = waiting_op();

    configure("messages=1");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post_prio("two", 0, &sender), MBOX_PARKED);
    cr_assert_eq(quota_used(&domain.quota), 2 * MSG_MIN_CHARGE_BYTES);
    mbox_cancel(&mbox, &sender, &ready);
    mbox_ready_run(&ready);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES);
}

MBOX_TEST(a_quota_refuses_and_never_waits)
{
    static char large[1 << 16];
    struct mbox_op sender = waiting_op();
    uint64_t n_fit = (1 << 20) / sizeof(large);

    configure("messages=max\nbytes=1G");
    for (uint64_t i = 0; i < n_fit; i++) {
        struct msg *msg = msg_new(large, sizeof(large), 0, (struct msg_sender){ .uid = 7 });

        cr_assert_eq(mbox_post(&mbox, msg, NULL, &ready), 0);
        msg_unref(msg);
    }
    cr_assert_eq(post_prio("x", 0, &sender), -EDQUOT);
    cr_assert_eq(stat_of().n_messages, n_fit);
}

struct watcher {
    struct mbox_watch watch;
    int n_fired;
};

static void count_fire(struct mbox_watch *watch)
{
    ((struct watcher *)watch)->n_fired++;
}

static struct watcher watcher_for(unsigned int events)
{
    return (struct watcher){ .watch = { .events = events, .fire = count_fire } };
}

MBOX_TEST(a_watch_fires_once_for_what_it_watches)
{
    struct watcher reader = watcher_for(MBOX_READABLE);
    struct watcher writer = watcher_for(MBOX_WRITABLE);

    configure("messages=2");
    mbox_poll(&mbox, &reader.watch);
    mbox_poll(&mbox, &writer.watch);
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post("two"), 0);
    cr_assert_eq(reader.n_fired, 1);
    cr_assert_eq(writer.n_fired, 0);
    expect_next("one");
    cr_assert_eq(writer.n_fired, 1);
    mbox_poll(&mbox, &reader.watch);
    cr_assert_eq(post("three"), 0);
    cr_assert_eq(reader.n_fired, 2, "a new message is news also where one waits");
}

MBOX_TEST(a_message_that_a_receiver_waits_for_wakes_nobody_else)
{
    struct watcher reader = watcher_for(MBOX_READABLE);
    struct mbox_op receiver = waiting_op();
    struct msg *none;

    cr_assert_eq(mbox_take(&mbox, &receiver, &none), MBOX_PARKED);
    mbox_poll(&mbox, &reader.watch);
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(reader.n_fired, 0);
    abort_delivery(receiver.msg);
    cr_assert_eq(reader.n_fired, 1);
}

MBOX_TEST(an_unwatched_watch_does_not_fire)
{
    struct watcher reader = watcher_for(MBOX_READABLE);

    mbox_poll(&mbox, &reader.watch);
    mbox_unwatch(&mbox, &reader.watch);
    mbox_unwatch(&mbox, &reader.watch);
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(reader.n_fired, 0);
}

MBOX_TEST(a_rendezvous_partner_wakes_those_who_watch)
{
    struct watcher reader = watcher_for(MBOX_READABLE);
    struct watcher writer = watcher_for(MBOX_WRITABLE);
    struct mbox_op sender = waiting_op();
    struct mbox_op receiver = waiting_op();
    struct msg *none;

    configure("messages=0");
    mbox_poll(&mbox, &reader.watch);
    mbox_poll(&mbox, &writer.watch);
    cr_assert_eq(post_prio("one", 0, &sender), MBOX_PARKED);
    cr_assert_eq(reader.n_fired, 1);
    expect_next("one");
    cr_assert_eq(mbox_take(&mbox, &receiver, &none), MBOX_PARKED);
    cr_assert_eq(writer.n_fired, 1);
    mbox_cancel(&mbox, &receiver, &ready);
    mbox_ready_run(&ready);
    cr_assert_eq(n_completed, 2);
}

MBOX_TEST(removal_wakes_all_who_watch)
{
    struct watcher reader = watcher_for(MBOX_READABLE);
    struct watcher writer = watcher_for(MBOX_WRITABLE);

    mbox_poll(&mbox, &reader.watch);
    mbox_poll(&mbox, &writer.watch);
    cr_assert_eq(mbox_remove(&mbox, false, &ready), 0);
    cr_assert_eq(reader.n_fired, 1);
    cr_assert_eq(writer.n_fired, 1);
    cr_assert_eq(mbox_poll(&mbox, &reader.watch), MBOX_REMOVED);
    cr_assert_not(reader.watch.armed);
}

/* Two threads post, two take; one in five deliveries fails. Every message arrives once, and those
 * of one sender that one receiver gets come in order. */
#define N_POSTED 20000

static _Atomic int n_taken;
static _Atomic unsigned char seen[2][N_POSTED];

struct waited {
    struct mbox_op op;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool completed;
};

static void signal_completion(struct mbox_op *op, struct mbox_ready *more)
{
    struct waited *waited = (struct waited *)op;

    (void)more;
    pthread_mutex_lock(&waited->lock);
    waited->completed = true;
    pthread_cond_signal(&waited->done);
    pthread_mutex_unlock(&waited->lock);
}

static void waited_init(struct waited *waited)
{
    *waited = (struct waited){ .op = { .complete = signal_completion, .max_bytes = SIZE_MAX } };
    pthread_mutex_init(&waited->lock, NULL);
    pthread_cond_init(&waited->done, NULL);
}

static int waited_result(struct waited *waited)
{
    pthread_mutex_lock(&waited->lock);
    while (!waited->completed)
        pthread_cond_wait(&waited->done, &waited->lock);
    pthread_mutex_unlock(&waited->lock);
    return waited->op.result;
}

/* In a thread, where Criterion's assertions can't end the test. */
static void require(bool held)
{
    if (!held)
        abort();
}

struct numbered {
    int sender;
    int number;
};

static void *post_many(void *arg)
{
    struct mbox_ready mine = TAILQ_HEAD_INITIALIZER(mine);

    for (int i = 0; i < N_POSTED; i++) {
        struct numbered body = { .sender = (int)(intptr_t)arg, .number = i };
        struct msg *msg = msg_new(&body, sizeof(body), 0, (struct msg_sender){ 0 });
        struct waited waited;
        int r;

        waited_init(&waited);
        r = mbox_post(&mbox, msg, &waited.op, &mine);
        mbox_ready_run(&mine);
        if (r == MBOX_PARKED)
            r = waited_result(&waited);
        require(r == 0);
        msg_unref(msg);
    }
    return NULL;
}

static void *take_many(void *arg)
{
    struct mbox_ready mine = TAILQ_HEAD_INITIALIZER(mine);
    int n_seen = 0;

    (void)arg;
    for (;;) {
        struct waited waited;
        struct numbered body;
        struct msg *msg;
        int r;

        waited_init(&waited);
        r = mbox_take(&mbox, &waited.op, &msg);
        if (r == MBOX_PARKED) {
            r = waited_result(&waited);
            msg = waited.op.msg;
        }
        if (r == -EIDRM)
            return NULL;
        require(r == 0);
        if (++n_seen % 5 == 0) {
            mbox_abort(&mbox, msg, &mine);
            mbox_ready_run(&mine);
            continue;
        }
        memcpy(&body, msg->data, sizeof(body));
        seen[body.sender][body.number]++;
        mbox_commit(&mbox, msg, &mine);
        msg_unref(msg);
        mbox_ready_run(&mine);
        n_taken++;
    }
}

static void exchange_many(const char *settings)
{
    pthread_t posters[2];
    pthread_t takers[2];

    configure(settings);
    for (intptr_t i = 0; i < 2; i++) {
        pthread_create(&posters[i], NULL, post_many, (void *)i);
        pthread_create(&takers[i], NULL, take_many, NULL);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(posters[i], NULL);
    while (n_taken < 2 * N_POSTED)
        sched_yield();
    mbox_remove(&mbox, true, &ready);
    mbox_ready_run(&ready);
    for (int i = 0; i < 2; i++)
        pthread_join(takers[i], NULL);
    for (int sender = 0; sender < 2; sender++) {
        for (int i = 0; i < N_POSTED; i++)
            cr_assert_eq(seen[sender][i], 1);
    }
}

MBOX_TEST(threads_exchange_all_messages_once)
{
    exchange_many("messages=4");
}

MBOX_TEST(threads_exchange_all_messages_once_in_a_rendezvous)
{
    exchange_many("messages=0");
}
