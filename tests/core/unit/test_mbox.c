/* What only the engine's users see: messages in flight, watches, cancels. What every mailbox
 * promises is in tests/core/contract. */
#include <pthread.h>

#include "tests/core/unit/mbox_fixture.h"

MBOX_TEST(a_message_in_flight_leaves_its_room)
{
    struct mbox_op waiting = waiting_op();
    struct mbox_entry *entry;

    configure("messages=1");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post_prio("two", 0, &waiting), MBOX_PARKED);
    cr_assert_eq(take(&entry), 0);
    cr_assert_eq(n_completed, 1);
    cr_assert_eq(stat_of().n_messages, 1);
    cr_assert_eq(stat_of().n_received, 1);
    commit(entry);
    expect_next("two");
    cr_assert_eq(stat_of().n_received, 2);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

MBOX_TEST(a_message_is_charged_until_its_receiver_lets_it_go)
{
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    mbox_commit(&mbox, entry, &ready);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES);
    mbox_entry_free(entry);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

MBOX_TEST(a_receiver_may_send_before_it_is_answered)
{
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES);
    mbox_entry_discharge(entry);
    cr_assert_eq(quota_used(&domain.quota), 0);
    abort_delivery(entry);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES, "it is back");
    expect_next("one");
    cr_assert_eq(quota_used(&domain.quota), 0);
}

MBOX_TEST(an_undelivered_message_goes_back_however_full_the_quota_is)
{
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    mbox_entry_discharge(entry);
    cr_assert_eq(quota_charge(&domain.quota, 7, 1 << 20), 0);
    abort_delivery(entry);
    cr_assert_eq(stat_of().n_messages, 1);
    quota_release(&domain.quota, 7, 1 << 20);
    expect_next("one");
}

MBOX_TEST(what_is_kept_counts_for_who_keeps_it_once_it_has_left)
{
    struct mbox_entry *entry;
    struct msg *kept;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(quota_charge(&domain.quota, 8, 1 << 20), -ENOSPC);
    cr_assert_eq(take(&entry), 0);
    abort_delivery(entry);
    kept = mbox_hold(&mbox, entry->msg->id, 8);
    cr_assert_eq(quota_charge(&domain.quota, 7, (1 << 20) - MSG_MIN_CHARGE_BYTES), 0);
    quota_release(&domain.quota, 7, (1 << 20) - MSG_MIN_CHARGE_BYTES);
    cr_assert_eq(take(&entry), 0);
    mbox_entry_discharge(entry);
    commit(entry);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES);
    cr_assert_eq(quota_charge(&domain.quota, 8, 1 << 20), -EDQUOT, "8 holds something");
    cr_assert_eq(quota_charge(&domain.quota, 7, 1 << 20), -ENOSPC, "7 does not");
    msg_let_go(kept);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

MBOX_TEST(what_goes_back_counts_for_its_sender_again)
{
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    cr_assert_eq(mbox_entry_charge_keeper(entry, &domain.quota, 8), 0);
    cr_assert_eq(quota_charge(&domain.quota, 8, 1 << 20), -EDQUOT, "8 keeps the rest");
    abort_delivery(entry);
    cr_assert_eq(quota_charge(&domain.quota, 7, 1 << 20), -EDQUOT);
    cr_assert_eq(quota_charge(&domain.quota, 8, 1 << 20), -ENOSPC);
    expect_next("one");
}

MBOX_TEST(a_keeper_without_room_leaves_it_to_the_sender)
{
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    domain.quota.uid_bytes = 10;
    cr_assert_eq(mbox_entry_charge_keeper(entry, &domain.quota, 8), 0);
    commit(entry);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

MBOX_TEST(an_undelivered_message_returns_to_a_full_mailbox)
{
    struct mbox_entry *entry;

    configure("messages=1");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    cr_assert_eq(post("two"), 0);
    abort_delivery(entry);
    cr_assert_eq(stat_of().n_messages, 2);
    cr_assert_eq(stat_of().n_received, 0);
    cr_assert_eq(quota_used(&domain.quota), 2 * MSG_MIN_CHARGE_BYTES);
    cr_assert_eq(mbox_remove(&mbox, false, &ready), -ENOTEMPTY);
    expect_next("one");
    expect_next("two");
}

MBOX_TEST(undelivered_messages_return_to_their_places)
{
    struct mbox_entry *one;
    struct mbox_entry *two;

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
    struct mbox_entry *none;

    cr_assert_eq(mbox_take(&mbox, &first, &none, &ready), MBOX_PARKED);
    cr_assert_eq(mbox_take(&mbox, &second, &none, &ready), MBOX_PARKED);
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(first.result, 0);
    cr_assert(is(first.entry->msg, "one"));
    abort_delivery(first.entry);
    cr_assert_eq(n_completed, 2);
    cr_assert(is(second.entry->msg, "one"));
    commit(second.entry);
}

MBOX_TEST(drop_oldest_drops_what_returns_to_a_full_mailbox)
{
    struct mbox_entry *one;

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
    struct mbox_entry *entry;

    configure("messages=0");
    cr_assert_eq(post_prio("one", 0, &sender), MBOX_PARKED);
    cr_assert_eq(take(&entry), 0);
    cr_assert_eq(stat_of().n_senders_waiting, 0);
    abort_delivery(entry);
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
    struct mbox_entry *none;

    configure("messages=0");
    sender.nonblock = true;
    cr_assert_eq(mbox_take(&mbox, &receiver, &none, &ready), MBOX_PARKED);
    cr_assert_eq(post_prio("one", 0, &sender), MBOX_PARKED);
    abort_delivery(receiver.entry);
    cr_assert_eq(sender.result, -EAGAIN);
    cr_assert_eq(stat_of().n_sent, 0);
}

MBOX_TEST(an_interrupt_in_flight_counts_only_if_the_delivery_fails)
{
    struct mbox_op first = waiting_op();
    struct mbox_op second = waiting_op();
    struct mbox_entry *entry;

    configure("messages=0");
    cr_assert_eq(post_prio("one", 0, &first), MBOX_PARKED);
    cr_assert_eq(take(&entry), 0);
    mbox_cancel(&mbox, &first, &ready);
    cr_assert_eq(n_completed, 0);
    abort_delivery(entry);
    cr_assert_eq(first.result, -EINTR);

    cr_assert_eq(post_prio("two", 0, &second), MBOX_PARKED);
    cr_assert_eq(take(&entry), 0);
    mbox_cancel(&mbox, &second, &ready);
    commit(entry);
    cr_assert_eq(second.result, 0);
}

MBOX_TEST(who_is_cancelled_before_it_waits_does_not_wait)
{
    struct mbox_op receiver = waiting_op();
    struct mbox_op sender = waiting_op();
    struct mbox_entry *none;

    configure("messages=1");
    mbox_cancel(&mbox, &receiver, &ready);
    cr_assert_eq(mbox_take(&mbox, &receiver, &none, &ready), -EINTR);
    cr_assert_eq(post("one"), 0);
    mbox_cancel(&mbox, &sender, &ready);
    cr_assert_eq(post_prio("two", 0, &sender), -EINTR);
    cr_assert_eq(n_completed, 0);
}

MBOX_TEST(who_is_cancelled_but_need_not_wait_is_served)
{
    struct mbox_op receiver = waiting_op();
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    mbox_cancel(&mbox, &receiver, &ready);
    cr_assert_eq(mbox_take(&mbox, &receiver, &entry, &ready), 0);
    commit(entry);
}

MBOX_TEST(a_delivery_may_end_after_the_mailbox)
{
    struct mbox_entry *one;
    struct mbox_entry *two;

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
    struct mbox_entry *none;

    cr_assert_eq(mbox_take(&mbox, &receiver, &none, &ready), MBOX_PARKED);
    mbox_poll(&mbox, &reader.watch);
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(reader.n_fired, 0);
    abort_delivery(receiver.entry);
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
    struct mbox_entry *none;

    configure("messages=0");
    mbox_poll(&mbox, &reader.watch);
    mbox_poll(&mbox, &writer.watch);
    cr_assert_eq(post_prio("one", 0, &sender), MBOX_PARKED);
    cr_assert_eq(reader.n_fired, 1);
    expect_next("one");
    cr_assert_eq(mbox_take(&mbox, &receiver, &none, &ready), MBOX_PARKED);
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

static bool nobody(const struct mbox_op *op, void *arg)
{
    (void)op;
    (void)arg;
    return false;
}

MBOX_TEST(an_owner_keeps_others_out_and_does_not_send)
{
    struct mbox_op receiver = waiting_op();
    struct mbox_entry *entry;
    struct msg *msg;

    cr_assert_eq(mbox_take(&mbox, &receiver, &entry, &ready), MBOX_PARKED);
    cr_assert_eq(mbox_claim(&mbox, 1, nobody, NULL, &ready), 0);
    mbox_ready_run(&ready);
    cr_assert_eq(receiver.result, -EBUSY);
    cr_assert_eq(mbox_claim(&mbox, 2, nobody, NULL, &ready), -EBUSY);
    cr_assert_eq(mbox_owner(&mbox), 1);
    cr_assert_eq(stat_of().owner_pid, 1);
    msg = msg_new("x", 1, 0, ((struct msg_sender){ .pid = 1, .uid = 7 }));
    cr_assert_eq(mbox_post(&mbox, msg, NULL, &ready), -EPERM);
    msg_unref(msg);
    cr_assert_eq(post("from another"), 0);
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
        struct mbox_entry *entry;
        int r;

        waited_init(&waited);
        r = mbox_take(&mbox, &waited.op, &entry, &mine);
        if (r == MBOX_PARKED) {
            r = waited_result(&waited);
            entry = waited.op.entry;
        }
        if (r == -EIDRM)
            return NULL;
        require(r == 0);
        if (++n_seen % 5 == 0) {
            mbox_abort(&mbox, entry, &mine);
            mbox_ready_run(&mine);
            continue;
        }
        memcpy(&body, entry->msg->data, sizeof(body));
        seen[body.sender][body.number]++;
        mbox_commit(&mbox, entry, &mine);
        mbox_entry_free(entry);
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

/* --- closed --- */

static void close_it(void)
{
    mbox_close(&mbox, &ready);
    mbox_ready_run(&ready);
}

MBOX_TEST(a_closed_mailbox_gives_what_it_has_and_then_ends)
{
    struct mbox_op waiting = waiting_op();
    struct mbox_entry *none;

    cr_assert_eq(post("one"), 0);
    close_it();
    cr_assert_eq(post("two"), -EPIPE);
    cr_assert_eq(quota_used(&domain.quota), MSG_MIN_CHARGE_BYTES);
    expect_next("one");
    cr_assert_eq(take(&none), -EPIPE);
    cr_assert_eq(mbox_take(&mbox, &waiting, &none, &ready), -EPIPE);
    cr_assert_eq(waiting.state, MBOX_OP_IDLE);
}

MBOX_TEST(closing_ends_the_waits_of_both_sides)
{
    struct mbox_op sender = waiting_op();
    struct mbox_op receiver = waiting_op();
    struct mbox_entry *none;

    cr_assert_eq(mbox_take(&mbox, &receiver, &none, &ready), MBOX_PARKED);
    close_it();
    cr_assert_eq(receiver.result, -EPIPE);
    cr_assert_eq(n_completed, 1);
    mbox.closed = false;
    configure("messages=1");
    cr_assert_eq(post("one"), 0);
    cr_assert_eq(post_prio("two", 0, &sender), MBOX_PARKED);
    close_it();
    cr_assert_eq(sender.result, -EPIPE);
    cr_assert_eq(n_completed, 2);
    cr_assert_eq(stat_of().n_senders_waiting, 0);
    expect_next("one");
}

MBOX_TEST(an_undelivered_message_returns_to_a_closed_mailbox)
{
    struct mbox_entry *entry;

    cr_assert_eq(post("one"), 0);
    cr_assert_eq(take(&entry), 0);
    close_it();
    abort_delivery(entry);
    expect_next("one");
    cr_assert_eq(take(&entry), -EPIPE);
}

MBOX_TEST(an_undelivered_rendezvous_ends_when_the_mailbox_is_closed)
{
    struct mbox_op sender = waiting_op();
    struct mbox_entry *entry;

    configure("messages=0");
    cr_assert_eq(post_prio("one", 0, &sender), MBOX_PARKED);
    cr_assert_eq(take(&entry), 0);
    close_it();
    cr_assert_eq(n_completed, 0);
    abort_delivery(entry);
    cr_assert_eq(sender.result, -EPIPE);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

MBOX_TEST(who_watches_learns_of_the_closing)
{
    struct watcher reader = watcher_for(MBOX_READABLE);

    cr_assert_eq(mbox_poll(&mbox, &reader.watch), MBOX_WRITABLE);
    close_it();
    cr_assert_eq(reader.n_fired, 1);
    cr_assert_eq(mbox_poll(&mbox, NULL), MBOX_READABLE | MBOX_WRITABLE | MBOX_CLOSED);
    cr_assert_eq(mbox_remove(&mbox, true, &ready), 0);
    cr_assert_eq(mbox_poll(&mbox, NULL), MBOX_REMOVED);
}

MBOX_TEST(a_reference_is_not_had_of_what_has_none_left)
{
    struct mbox gone = { .n_refs = 0 };

    cr_assert_null(mbox_try_ref(&gone));
    cr_assert_eq(mbox_try_ref(&mbox), &mbox);
    mbox_unref(&mbox);
}

static size_t size_of(const struct mbox_entry *entry)
{
    return entry->msg->size_bytes;
}

/* Takes many within @room. Return: how many, which have arrived; *ret_text: what they say, joined. */
static size_t take_what_fits(size_t room, char *ret_text)
{
    struct mbox_entries entries = TAILQ_HEAD_INITIALIZER(entries);
    size_t n = mbox_take_many(&mbox, size_of, room, &entries, &ready);
    struct mbox_entry *entry;

    mbox_ready_run(&ready);
    while ((entry = TAILQ_FIRST(&entries))) {
        TAILQ_REMOVE(&entries, entry, link);
        ret_text = mempcpy(ret_text, entry->msg->data, entry->msg->size_bytes);
        commit(entry);
    }
    *ret_text = '\0';
    return n;
}

MBOX_TEST(many_are_taken_in_their_order_while_they_fit)
{
    char text[64];

    post_prio("c", 0, NULL);
    post_prio("dd", 0, NULL);
    post_prio("ee", 0, NULL);
    post_prio("ab", 9, NULL);
    cr_assert_eq(take_what_fits(6, text), 3);
    cr_assert_str_eq(text, "abcdd");
    cr_assert_eq(stat_of().n_received, 3);
    cr_assert_eq(stat_of().n_messages, 1);
    cr_assert_eq(take_what_fits(1, text), 0);
    cr_assert_eq(take_what_fits(2, text), 1);
    cr_assert_str_eq(text, "ee");
    cr_assert_eq(take_what_fits(6, text), 0);
}

MBOX_TEST(what_many_leave_tells_who_watches_that_there_is_room)
{
    struct watcher writer = watcher_for(MBOX_WRITABLE);
    char text[64];

    configure("messages=2");
    post("a");
    post("b");
    cr_assert_eq(mbox_poll(&mbox, &writer.watch), MBOX_READABLE);
    cr_assert_eq(take_what_fits(64, text), 2);
    cr_assert_eq(writer.n_fired, 1);
}

/* One who waits to send, and is more urgent, comes next. */
MBOX_TEST(many_are_not_taken_where_a_sender_waits)
{
    struct mbox_op urgent = waiting_op();
    char text[64];

    configure("messages=2");
    post("b");
    post("c");
    cr_assert_eq(post_prio("a", 9, &urgent), MBOX_PARKED);
    cr_assert_eq(take_what_fits(64, text), 0);
    expect_next("b");
    expect_next("a");
    cr_assert_eq(take_what_fits(64, text), 1);
    cr_assert_str_eq(text, "c");
}

MBOX_TEST(many_are_no_more_once_they_have_gone)
{
    char text[64];

    post("a");
    cr_assert_eq(mbox_remove(&mbox, true, &ready), 0);
    cr_assert_eq(take_what_fits(64, text), 0);
}
