/* Questions and their answers: every way out of the table, and what the asker learns of it. */
#include "core/mailbox/call.h"
#include "case.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define ASKER_UID 7
#define SERVER_UID 8

static struct mbox_domain domain;
static struct mbox mbox;
static struct mbox other;
static struct asker asker;
static int n_released;
static struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
static int n_completed;

static void release(struct mbox *gone)
{
    (void)gone;
}

static void release_asker(struct asker *gone)
{
    (void)gone;
    n_released++;
}

static void complete(struct mbox_op *op, struct mbox_ready *more)
{
    (void)op;
    (void)more;
    n_completed++;
}

static struct mbox_op waiting_op(void)
{
    return (struct mbox_op){ .complete = complete, .max_bytes = SIZE_MAX };
}

static void set_up(void)
{
    mbox_domain_init(&domain, 1 << 20, 1 << 20);
    mbox_init(&mbox, &domain, release);
    mbox_init(&other, &domain, release);
    asker_init(&asker, &domain, release_asker);
}

static void tear_down(void)
{
    asker_take_back(&asker);
    mbox_unref(&asker.inbox);
    cr_assert_eq(n_released, 1);
    mbox_remove(&mbox, true, &ready);
    mbox_remove(&other, true, &ready);
    mbox_ready_run(&ready);
    mbox_deinit(&mbox);
    mbox_deinit(&other);
    cr_assert_eq(quota_used(&domain.quota), 0, "a charge was not released");
    mbox_domain_deinit(&domain);
}

#define CALL_TEST(name) CASE(call, name)

static void configure(struct mbox *box, const char *text)
{
    cr_assert_eq(mbox_configure(box, text, strlen(text), &ready), 0);
    mbox_ready_run(&ready);
}

static int ask_with(const char *text, struct mbox_op *op)
{
    struct msg *msg = msg_new(text, strlen(text), 0, (struct msg_sender){ .uid = ASKER_UID });
    int r = asker_ask(&asker, &mbox, msg, ASKER_UID, op, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    return r;
}

static int ask(const char *text)
{
    return ask_with(text, NULL);
}

static int post(struct mbox *box, const char *text, unsigned int prio)
{
    struct msg *msg = msg_new(text, strlen(text), prio, (struct msg_sender){ .uid = ASKER_UID });
    int r = mbox_post(box, msg, NULL, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    return r;
}

static int answer(struct mbox *box, uint64_t id, const char *text)
{
    struct msg *msg = msg_new(text, strlen(text), 0, (struct msg_sender){ .uid = SERVER_UID });
    int r;

    cr_assert_eq(quota_charge(&domain.quota, SERVER_UID, msg_charge_bytes(msg)), 0);
    r = call_answer(box, id, msg, &ready);
    if (r < 0)
        quota_release(&domain.quota, SERVER_UID, msg_charge_bytes(msg));
    msg_unref(msg);
    mbox_ready_run(&ready);
    return r;
}

static int take(struct mbox *box, struct mbox_entry **ret_entry)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    int r = mbox_take(box, &op, ret_entry, &ready);

    mbox_ready_run(&ready);
    return r;
}

static void commit(struct mbox *box, struct mbox_entry *entry)
{
    mbox_commit(box, entry, &ready);
    mbox_entry_free(entry);
    mbox_ready_run(&ready);
}

static uint64_t take_question(struct mbox *box)
{
    struct mbox_entry *entry;
    uint64_t id;

    cr_assert_eq(take(box, &entry), 0);
    cr_assert(entry->msg->is_call);
    id = entry->msg->id;
    commit(box, entry);
    return id;
}

static void expect_answer(const char *text)
{
    struct mbox_entry *entry;

    cr_assert_not(asker_waits(&asker));
    cr_assert(mbox_poll(&asker.inbox, NULL) & MBOX_READABLE);
    cr_assert_eq(take(&asker.inbox, &entry), 0);
    cr_assert_eq(entry->msg->size_bytes, strlen(text));
    cr_assert_arr_eq(entry->msg->data, text, strlen(text));
    commit(&asker.inbox, entry);
}

/* Once, and no longer. */
static void expect_failure(int result)
{
    struct mbox_entry *entry;

    cr_assert_not(asker_waits(&asker));
    cr_assert(mbox_poll(&asker.inbox, NULL) & MBOX_READABLE);
    cr_assert_eq(take(&asker.inbox, &entry), result);
    cr_assert_eq(take(&asker.inbox, &entry), -EAGAIN);
}

CALL_TEST(a_question_is_answered)
{
    uint64_t id;

    cr_assert_eq(ask("2+2"), 0);
    cr_assert(asker_waits(&asker));
    id = take_question(&mbox);
    cr_assert(call_is_open(&mbox, id));
    cr_assert_eq(answer(&mbox, id, "4"), 0);
    cr_assert_not(call_is_open(&mbox, id));
    expect_answer("4");
    cr_assert_eq(answer(&mbox, id, "5"), -EPIPE, "answered twice");
}

CALL_TEST(it_can_be_answered_while_it_waits_in_the_queue)
{
    uint64_t id = atomic_load(&domain.last_id) + 1;

    cr_assert_eq(ask("2+2"), 0);
    cr_assert_eq(answer(&mbox, id, "4"), 0);
    expect_answer("4");
    cr_assert_eq(take_question(&mbox), id);
}

CALL_TEST(one_question_is_open_at_a_time)
{
    cr_assert_eq(ask("one"), 0);
    cr_assert_eq(ask("two"), -EBUSY);
    cr_assert_eq(answer(&mbox, take_question(&mbox), "1"), 0);
    cr_assert_eq(ask("two"), 0);
    cr_assert_eq(answer(&mbox, take_question(&mbox), "2"), 0);
    expect_answer("2");
}

CALL_TEST(what_was_no_question_has_no_answer)
{
    struct mbox_entry *entry;

    cr_assert_eq(post(&mbox, "hello", 0), 0);
    cr_assert_eq(take(&mbox, &entry), 0);
    cr_assert_eq(answer(&mbox, entry->msg->id, "4"), -EPIPE);
    cr_assert_eq(answer(&mbox, entry->msg->id + 1, "4"), -EPIPE);
    commit(&mbox, entry);
}

CALL_TEST(another_mailbox_has_no_such_question)
{
    uint64_t id;

    cr_assert_eq(ask("2+2"), 0);
    id = take_question(&mbox);
    cr_assert_eq(answer(&other, id, "4"), -EPIPE);
    cr_assert_eq(answer(&mbox, id, "4"), 0);
}

CALL_TEST(an_asker_that_is_gone_gets_nothing)
{
    uint64_t id;

    cr_assert_eq(ask("2+2"), 0);
    id = take_question(&mbox);
    asker_take_back(&asker);
    cr_assert_not(call_is_open(&mbox, id));
    cr_assert_eq(answer(&mbox, id, "4"), -EPIPE);
}

CALL_TEST(what_was_asked_stays_when_its_asker_is_gone)
{
    cr_assert_eq(ask("2+2"), 0);
    asker_take_back(&asker);
    take_question(&mbox);
}

CALL_TEST(a_picked_question_is_cancelled)
{
    uint64_t id = atomic_load(&domain.last_id) + 1;

    cr_assert_eq(ask("2+2"), 0);
    cr_assert_eq(mbox_pick(&mbox, id, NULL, &ready), 0);
    expect_failure(-ECANCELED);
}

CALL_TEST(a_dropped_question_is_cancelled)
{
    configure(&mbox, "messages=1\noverflow=drop-oldest\n");
    cr_assert_eq(ask("2+2"), 0);
    cr_assert_eq(post(&mbox, "newer", 0), 0);
    expect_failure(-ECANCELED);
}

CALL_TEST(a_question_that_is_dropped_as_it_comes_is_cancelled)
{
    configure(&mbox, "messages=1\noverflow=drop-oldest\n");
    cr_assert_eq(post(&mbox, "urgent", 9), 0);
    cr_assert_eq(ask("2+2"), 0);
    expect_failure(-ECANCELED);
}

CALL_TEST(removal_of_the_mailbox_ends_it)
{
    cr_assert_eq(ask("2+2"), 0);
    take_question(&mbox);
    cr_assert_eq(mbox_remove(&mbox, false, &ready), 0);
    expect_failure(-EIDRM);
    cr_assert_eq(ask("2+2"), -EIDRM);
}

CALL_TEST(whoever_waits_for_the_answer_gets_it)
{
    struct mbox_op op = waiting_op();
    struct mbox_entry *none;

    cr_assert_eq(ask("2+2"), 0);
    cr_assert_eq(mbox_take(&asker.inbox, &op, &none, &ready), MBOX_PARKED);
    cr_assert_eq(answer(&mbox, take_question(&mbox), "4"), 0);
    cr_assert_eq(n_completed, 1);
    cr_assert_eq(op.result, 0);
    commit(&asker.inbox, op.entry);
}

CALL_TEST(all_who_wait_for_it_learn_that_it_failed)
{
    struct mbox_op ops[] = { waiting_op(), waiting_op() };
    struct mbox_entry *none;

    cr_assert_eq(ask("2+2"), 0);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(mbox_take(&asker.inbox, &ops[i], &none, &ready), MBOX_PARKED);
    mbox_remove(&mbox, true, &ready);
    mbox_ready_run(&ready);
    cr_assert_eq(n_completed, 2);
    cr_assert_eq(ops[0].result, -EIDRM);
    cr_assert_eq(ops[1].result, -EIDRM);
    cr_assert_eq(take(&asker.inbox, &none), -EAGAIN);
}

CALL_TEST(a_question_that_waits_for_room_can_not_be_answered_yet)
{
    struct mbox_op op = waiting_op();
    struct mbox_entry *entry;
    uint64_t id;

    configure(&mbox, "messages=1\n");
    cr_assert_eq(post(&mbox, "first", 0), 0);
    id = atomic_load(&domain.last_id) + 1;
    cr_assert_eq(ask_with("2+2", &op), MBOX_PARKED);
    cr_assert_not(call_is_open(&mbox, id));
    cr_assert_eq(answer(&mbox, id, "4"), -EPIPE);
    cr_assert_eq(take(&mbox, &entry), 0);
    commit(&mbox, entry);
    cr_assert_eq(n_completed, 1);
    cr_assert_eq(op.result, 0);
    cr_assert_eq(take_question(&mbox), id);
    cr_assert_eq(answer(&mbox, id, "4"), 0);
    expect_answer("4");
}

CALL_TEST(a_question_that_finds_no_room_leaves_all_as_it_was)
{
    cr_assert_eq(ask("one"), 0);
    cr_assert_eq(answer(&mbox, take_question(&mbox), "1"), 0);
    configure(&mbox, "messages=1\n");
    cr_assert_eq(post(&mbox, "first", 0), 0);
    cr_assert_eq(ask("two"), -EAGAIN);
    expect_answer("1");
}

CALL_TEST(a_new_question_forgets_the_last_answer)
{
    cr_assert_eq(ask("one"), 0);
    cr_assert_eq(answer(&mbox, take_question(&mbox), "1"), 0);
    cr_assert_eq(ask("two"), 0);
    cr_assert_not(mbox_poll(&asker.inbox, NULL) & MBOX_READABLE);
    cr_assert_eq(answer(&mbox, take_question(&mbox), "2"), 0);
    expect_answer("2");
}

CALL_TEST(a_new_question_forgets_the_last_failure)
{
    uint64_t id = atomic_load(&domain.last_id) + 1;

    cr_assert_eq(ask("one"), 0);
    cr_assert_eq(mbox_pick(&mbox, id, NULL, &ready), 0);
    cr_assert_eq(ask("two"), 0);
    cr_assert_eq(answer(&mbox, take_question(&mbox), "2"), 0);
    expect_answer("2");
}

CALL_TEST(a_question_that_comes_back_is_open_still)
{
    struct mbox_entry *entry;

    cr_assert_eq(ask("2+2"), 0);
    cr_assert_eq(take(&mbox, &entry), 0);
    mbox_abort(&mbox, entry, &ready);
    cr_assert_eq(answer(&mbox, take_question(&mbox), "4"), 0);
    expect_answer("4");
}

CALL_TEST(in_a_rendezvous_it_can_be_answered_before_its_sender_is_told)
{
    struct mbox_op op = waiting_op();
    struct mbox_entry *entry;

    configure(&mbox, "messages=0\n");
    cr_assert_eq(ask_with("2+2", &op), MBOX_PARKED);
    cr_assert_eq(take(&mbox, &entry), 0);
    cr_assert_eq(answer(&mbox, entry->msg->id, "4"), 0);
    commit(&mbox, entry);
    cr_assert_eq(op.result, 0);
    expect_answer("4");
}

CALL_TEST(a_moved_question_is_answered_where_it_is)
{
    uint64_t id = atomic_load(&domain.last_id) + 1;

    cr_assert_eq(ask("2+2"), 0);
    cr_assert_eq(mbox_move(&mbox, &other, id, NULL, &ready), 0);
    cr_assert_not(call_is_open(&mbox, id));
    mbox_remove(&mbox, true, &ready);
    cr_assert(asker_waits(&asker));
    cr_assert_eq(take_question(&other), id);
    cr_assert_eq(answer(&other, id, "4"), 0);
    expect_answer("4");
}

CALL_TEST(the_asker_of_a_moved_question_can_go)
{
    uint64_t id = atomic_load(&domain.last_id) + 1;

    cr_assert_eq(ask("2+2"), 0);
    cr_assert_eq(mbox_move(&mbox, &other, id, NULL, &ready), 0);
    asker_take_back(&asker);
    cr_assert_eq(answer(&other, id, "4"), -EPIPE);
}

CALL_TEST(a_move_that_drops_it_cancels_it)
{
    uint64_t id = atomic_load(&domain.last_id) + 1;

    configure(&other, "messages=1\noverflow=drop-oldest\n");
    cr_assert_eq(ask("2+2"), 0);
    cr_assert_eq(post(&other, "urgent", 9), 0);
    cr_assert_eq(mbox_move(&mbox, &other, id, NULL, &ready), 0);
    expect_failure(-ECANCELED);
}

CALL_TEST(an_answer_counts_for_its_asker_alone)
{
    char text[1000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    cr_assert_eq(ask("2+2"), 0);
    cr_assert_eq(answer(&mbox, take_question(&mbox), text), 0);
    cr_assert_eq(quota_used(&domain.quota), sizeof(text) - 1);
    /* All that the server has left. */
    cr_assert_eq(quota_charge(&domain.quota, SERVER_UID, domain.quota.uid_bytes - 1000), 0);
    quota_release(&domain.quota, SERVER_UID, domain.quota.uid_bytes - 1000);
    expect_answer(text);
    cr_assert_eq(quota_used(&domain.quota), 0);
}

CALL_TEST(an_asker_without_room_for_the_answer_is_told)
{
    uint64_t n = (1 << 20) - 200;

    domain.quota.max_bytes = 4 << 20;
    cr_assert_eq(ask("2+2"), 0);
    take_question(&mbox);
    cr_assert_eq(quota_charge(&domain.quota, ASKER_UID, n), 0);
    cr_assert_eq(answer(&mbox, atomic_load(&domain.last_id),
                        "an answer that is longer than what is left of the asker's quota, which "
                        "is two hundred bytes, so that it has to have some more words than these, "
                        "and then again some more, as long as it takes to be over that bound"),
                 0);
    expect_failure(-EDQUOT);
    quota_release(&domain.quota, ASKER_UID, n);
}

CALL_TEST(a_cursor_meets_each_once)
{
    enum { N = 5 };
    static struct asker askers[N];
    struct call_cursor cursor = { 0 };
    struct call_place places[2];
    uint64_t ids[N];
    size_t n = 0;

    for (int i = 0; i < N; i++) {
        struct msg *msg = msg_new("?", 1, 0, (struct msg_sender){ .uid = ASKER_UID });

        asker_init(&askers[i], &domain, release_asker);
        cr_assert_eq(asker_ask(&askers[i], &mbox, msg, ASKER_UID, NULL, &ready), 0);
        ids[i] = msg->id;
        msg_unref(msg);
    }
    call_cursor_rewind(&mbox, &cursor, 0);
    cr_assert_eq(call_cursor_next(&mbox, &cursor, places, 2), 2);
    cr_assert_eq(places[0].id, ids[0]);
    cr_assert_eq(places[1].id, ids[1]);
    cr_assert_lt(places[0].key, places[1].key);
    /* One that the cursor stands at, one before it, and one that comes. */
    cr_assert_eq(answer(&mbox, ids[2], "!"), 0);
    cr_assert_eq(answer(&mbox, ids[0], "!"), 0);
    cr_assert_eq(ask("late"), 0);
    cr_assert_eq(call_cursor_next(&mbox, &cursor, places, 2), 2);
    cr_assert_eq(places[0].id, ids[3]);
    cr_assert_eq(places[1].id, ids[4]);
    cr_assert_eq(call_cursor_next(&mbox, &cursor, places, 2), 0);
    call_cursor_rewind(&mbox, &cursor, places[0].key);
    cr_assert_eq(call_cursor_next(&mbox, &cursor, places, 2), 2);
    cr_assert_eq(places[0].id, ids[4]);
    call_cursor_end(&mbox, &cursor);
    for (int i = 0; i < N; i++) {
        n += asker_waits(&askers[i]);
        asker_take_back(&askers[i]);
        mbox_unref(&askers[i].inbox);
    }
    cr_assert_eq(n, 3);
    n_released = 0;
}
