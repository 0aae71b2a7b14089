/* Each call of mbox.h and names.h, with each of its allocations failing. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mailbox/pair.h"
#include "fault.h"
#include "scenario.h"

#define FAULT_TEST(suite, scenario_name, ...)                                                      \
    Test(suite, scenario_name)                                                                     \
    {                                                                                              \
        static const struct scenario scenario = { .name = #scenario_name, __VA_ARGS__ };           \
        scenario_run(&scenario);                                                                   \
    }

static const struct msg_sender sender = { .pid = 1, .uid = WORLD_UID };

/* --- Sending --- */

static int post_hello(struct world *world)
{
    return world_post(world, world->mbox, "hello", NULL);
}

static int post_hello_and_wait(struct world *world)
{
    return world_post(world, world->mbox, "hello", &world->ops[0]);
}

static void has_hello_if_it_was_said(struct world *world, int result)
{
    cr_assert_eq(world_receive(world, world->mbox, "hello"), result == 0);
}

FAULT_TEST(fault_mbox, post, .act = post_hello, .verify = has_hello_if_it_was_said,
           .errnos = { ENOMEM })

static void fill(struct world *world)
{
    world_configure(world, world->mbox, "messages=1\n");
    cr_assert_eq(world_post(world, world->mbox, "first", NULL), 0);
}

static void first_then_hello(struct world *world, int result)
{
    cr_assert(world_receive(world, world->mbox, "first"));
    cr_assert_eq(world->n_completed, result == MBOX_PARKED);
    cr_assert_eq(world_receive(world, world->mbox, "hello"), result == MBOX_PARKED);
}

FAULT_TEST(fault_mbox, post_to_a_full_one, .prepare = fill, .act = post_hello_and_wait,
           .verify = first_then_hello, .expected = MBOX_PARKED, .errnos = { ENOMEM })

static void fill_drop_oldest(struct world *world)
{
    fill(world);
    world_configure(world, world->mbox, "overflow=drop-oldest\n");
}

static void hello_or_first(struct world *world, int result)
{
    cr_assert(world_receive(world, world->mbox, result == 0 ? "hello" : "first"));
}

FAULT_TEST(fault_mbox, post_that_drops, .prepare = fill_drop_oldest, .act = post_hello,
           .verify = hello_or_first, .errnos = { ENOMEM })

static void meet(struct world *world)
{
    struct mbox_entry *entry;

    world_configure(world, world->mbox, "messages=0\n");
    world->ops[1] = world_op();
    cr_assert_eq(mbox_take(world->mbox, &world->ops[1], &entry, &world->ready), MBOX_PARKED);
}

static void both_are_done(struct world *world, int result)
{
    cr_assert_eq(world->n_completed, result == MBOX_PARKED ? 2 : 0);
}

FAULT_TEST(fault_mbox, post_to_a_rendezvous, .prepare = meet, .act = post_hello_and_wait,
           .verify = both_are_done, .expected = MBOX_PARKED, .errnos = { ENOMEM })

static int reserve(struct world *world)
{
    return mbox_reserve(world->mbox, sender, &world->ops[0], &world->ready);
}

static void give_place_back(struct world *world, int result)
{
    if (result == 0)
        mbox_unreserve(world->mbox, sender, &world->ready);
}

FAULT_TEST(fault_mbox, reserve_, .act = reserve, .verify = give_place_back, .errnos = { ENOMEM })

static void give_up(struct world *world, int result)
{
    if (result == MBOX_PARKED)
        mbox_cancel(world->mbox, &world->ops[0], &world->ready);
}

FAULT_TEST(fault_mbox, reserve_in_a_full_one, .prepare = fill, .act = reserve, .verify = give_up,
           .expected = MBOX_PARKED, .errnos = { ENOMEM })

static void reserve_for_hello(struct world *world)
{
    cr_assert_eq(reserve(world), 0);
    world->own = msg_new("hello", 5, 0, sender);
}

static int post_reserved(struct world *world)
{
    int r = mbox_post_reserved(world->mbox, world->own, &world->ops[0], &world->ready);

    msg_unref(world->own);
    world->own = NULL;
    return r;
}

FAULT_TEST(fault_mbox, post_reserved, .prepare = reserve_for_hello, .act = post_reserved,
           .verify = has_hello_if_it_was_said, .errnos = { ENOMEM })

/* --- Receiving --- */

static void send_hello(struct world *world)
{
    cr_assert_eq(post_hello(world), 0);
}

static int take_hello(struct world *world)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    int r = mbox_take(world->mbox, &op, &world->in_flight, &world->ready);

    return r;
}

static void commit_what_was_taken(struct world *world, int result)
{
    if (result == 0) {
        mbox_commit(world->mbox, world->in_flight, &world->ready);
        mbox_entry_free(world->in_flight);
        mbox_ready_run(&world->ready);
    } else {
        cr_assert(world_receive(world, world->mbox, "hello"));
    }
    cr_assert_eq(world_n_queued(world->mbox), 0);
}

FAULT_TEST(fault_mbox, take, .prepare = send_hello, .act = take_hello,
           .verify = commit_what_was_taken, .errnos = { ENOMEM })

static int take_and_wait(struct world *world)
{
    struct mbox_entry *entry;

    return mbox_take(world->mbox, &world->ops[0], &entry, &world->ready);
}

FAULT_TEST(fault_mbox, take_from_an_empty_one, .act = take_and_wait, .expected = MBOX_PARKED,
           .errnos = { ENOMEM })

static void take_first(struct world *world)
{
    send_hello(world);
    cr_assert_eq(take_hello(world), 0);
}

static int commit(struct world *world)
{
    mbox_commit(world->mbox, world->in_flight, &world->ready);
    mbox_entry_free(world->in_flight);
    return 0;
}

FAULT_TEST(fault_mbox, commit_, .prepare = take_first, .act = commit)

static int abort_it(struct world *world)
{
    mbox_abort(world->mbox, world->in_flight, &world->ready);
    return 0;
}

static void hello_is_back(struct world *world, int result)
{
    (void)result;
    cr_assert(world_receive(world, world->mbox, "hello"),
              "a message that was not delivered is lost");
}

FAULT_TEST(fault_mbox, abort_, .prepare = take_first, .act = abort_it, .verify = hello_is_back)

/* More users than the quota remembers when they hold nothing. */
#define FIRST_UID 1000
#define LAST_UID 1200

static void take_first_of_a_forgotten_sender(struct world *world)
{
    for (uid_t uid = FIRST_UID; uid <= LAST_UID; uid++)
        cr_assert_eq(quota_charge(&world->domain.quota, uid, 1), 0);
    take_first(world);
    mbox_entry_discharge(world->in_flight);
}

static void hello_is_back_among_many(struct world *world, int result)
{
    for (uid_t uid = FIRST_UID; uid <= LAST_UID; uid++)
        quota_release(&world->domain.quota, uid, 1);
    hello_is_back(world, result);
}

FAULT_TEST(fault_mbox, abort_for_a_stranger, .prepare = take_first_of_a_forgotten_sender,
           .act = abort_it, .verify = hello_is_back_among_many)

static void hold_hello(struct world *world)
{
    send_hello(world);
    world->held = mbox_hold(world->mbox, atomic_load(&world->domain.last_id), WORLD_UID + 1);
    cr_assert(world->held);
}

static int receive_what_is_held(struct world *world)
{
    return world_receive(world, world->mbox, "hello") ? 0 : -EIO;
}

static void let_go(struct world *world, int result)
{
    cr_assert_eq(result, 0);
    cr_assert_eq(quota_used(&world->domain.quota), MSG_MIN_CHARGE_BYTES,
                 "who holds it is not charged");
    msg_let_go(world->held);
}

FAULT_TEST(fault_mbox, receive_what_another_holds, .prepare = hold_hello,
           .act = receive_what_is_held, .verify = let_go)

static int hold(struct world *world)
{
    struct msg *msg = mbox_hold(world->mbox, atomic_load(&world->domain.last_id), WORLD_UID + 1);

    if (msg)
        msg_let_go(msg);
    return msg ? 0 : -ENOMEM;
}

FAULT_TEST(fault_mbox, hold_, .prepare = send_hello, .act = hold, .errnos = { ENOMEM })

static int keep_rest(struct world *world)
{
    return mbox_entry_charge_keeper(world->in_flight, &world->domain.quota, WORLD_UID + 1);
}

static void end_rest(struct world *world, int result)
{
    (void)result;
    commit(world);
}

FAULT_TEST(fault_mbox, keep_the_rest, .prepare = take_first, .act = keep_rest, .verify = end_rest,
           .errnos = { ENOMEM })

static void wait_to_send(struct world *world)
{
    fill(world);
    cr_assert_eq(post_hello_and_wait(world), MBOX_PARKED);
}

static int cancel(struct world *world)
{
    mbox_cancel(world->mbox, &world->ops[0], &world->ready);
    return 0;
}

static void is_cancelled(struct world *world, int result)
{
    (void)result;
    cr_assert_eq(world->n_completed, 1);
    cr_assert_eq(world->ops[0].result, -EINTR);
}

FAULT_TEST(fault_mbox, cancel_, .prepare = wait_to_send, .act = cancel, .verify = is_cancelled)

static void note(struct mbox_watch *watch)
{
    (void)watch;
}

static int poll_it(struct world *world)
{
    struct mbox_watch watch = { .events = MBOX_READABLE, .fire = note };
    unsigned int events = mbox_poll(world->mbox, &watch);

    mbox_unwatch(world->mbox, &watch);
    return (int)events;
}

FAULT_TEST(fault_mbox, poll, .act = poll_it, .expected = MBOX_WRITABLE)

/* --- Changing --- */

static int configure(struct world *world)
{
    static const char text[] = "messages=2\noverflow=drop-oldest\nbytes=100\n";

    return mbox_configure(world->mbox, text, sizeof(text) - 1, &world->ready);
}

FAULT_TEST(fault_mbox, configure_, .prepare = wait_to_send, .act = configure, .errnos = { ENOMEM })

static void send_many(struct world *world)
{
    for (unsigned int i = 0; i < 100; i++)
        cr_assert_eq(post_hello(world), 0);
}

static uint64_t last_id(struct world *world)
{
    return atomic_load(&world->domain.last_id);
}

static int find(struct world *world)
{
    struct msg *msg = mbox_find(world->mbox, last_id(world) - 5);

    msg_unref(msg);
    return msg ? 0 : -ENOENT;
}

FAULT_TEST(fault_mbox, find_, .prepare = send_many, .act = find)

static int pick(struct world *world)
{
    return mbox_pick(world->mbox, last_id(world) - 5, NULL, &world->ready);
}

static void one_is_gone(struct world *world, int result)
{
    cr_assert_eq(world_n_queued(world->mbox), result == 0 ? 99 : 100);
}

FAULT_TEST(fault_mbox, pick_, .prepare = send_many, .act = pick, .verify = one_is_gone)

static int pick_after_find(struct world *world)
{
    find(world);
    post_hello(world);
    return pick(world);
}

FAULT_TEST(fault_mbox, pick_by_index, .prepare = send_many, .act = pick_after_find)

static int move(struct world *world)
{
    return mbox_move(world->mbox, world->other, last_id(world) - 5, NULL, &world->ready);
}

static void one_has_moved(struct world *world, int result)
{
    one_is_gone(world, result);
    cr_assert_eq(world_n_queued(world->other), result == 0);
}

FAULT_TEST(fault_mbox, move_, .prepare = send_many, .act = move, .verify = one_has_moved,
           .errnos = { ENOMEM })

static bool nobody(const struct mbox_op *op, void *arg)
{
    (void)op;
    (void)arg;
    return false;
}

static int claim(struct world *world)
{
    return mbox_claim(world->mbox, 1, nobody, NULL, &world->ready);
}

FAULT_TEST(fault_mbox, claim_, .act = claim)

static int end(struct world *world)
{
    return mbox_remove(world->mbox, true, &world->ready);
}

FAULT_TEST(fault_mbox, remove_, .prepare = wait_to_send, .act = end)

/* --- Names --- */

struct table {
    struct names names;
};

static void new_table(struct world *world)
{
    struct table *table = malloc(sizeof(*table));

    names_init(&table->names);
    world->own = table;
}

static struct names *names_of(struct world *world)
{
    return &((struct table *)world->own)->names;
}

static void end_table(struct world *world)
{
    names_remove_all(names_of(world), &world->ready);
    mbox_ready_run(&world->ready);
    names_deinit(names_of(world));
}

static int add_name(struct world *world)
{
    return names_add(names_of(world), "orders", world->mbox);
}

/* Return: whether @text stands for @mbox. */
static bool is_called(struct world *world, const char *text, struct mbox *mbox)
{
    struct mbox *found = names_find(names_of(world), text);

    if (found)
        mbox_unref(found);
    return found == mbox;
}

static void has_name(struct world *world, int result)
{
    cr_assert(is_called(world, "orders", result == 0 ? world->mbox : NULL));
    cr_assert_eq(names_count(names_of(world)), result == 0);
    if (result < 0)
        cr_assert_eq(add_name(world), 0);
}

FAULT_TEST(fault_names, add, .prepare = new_table, .act = add_name, .verify = has_name,
           .finish = end_table, .errnos = { ENOMEM })

static void new_table_with_a_name(struct world *world)
{
    new_table(world);
    cr_assert_eq(add_name(world), 0);
    cr_assert_eq(post_hello(world), 0);
}

static int rename_it(struct world *world)
{
    return names_rename(names_of(world), "orders", "invoices", NAMES_RENAME_REPLACE, &world->ready);
}

static void is_renamed(struct world *world, int result)
{
    cr_assert(is_called(world, "orders", result == 0 ? NULL : world->mbox));
    cr_assert(is_called(world, "invoices", result == 0 ? world->mbox : NULL));
}

FAULT_TEST(fault_names, rename_, .prepare = new_table_with_a_name, .act = rename_it,
           .verify = is_renamed, .finish = end_table, .errnos = { ENOMEM })

static void new_table_with_two_names(struct world *world)
{
    new_table_with_a_name(world);
    cr_assert_eq(names_add(names_of(world), "invoices", world->other), 0);
}

static void is_renamed_over(struct world *world, int result)
{
    cr_assert(is_called(world, "orders", result == 0 ? NULL : world->mbox));
    cr_assert(is_called(world, "invoices", result == 0 ? world->mbox : world->other));
}

FAULT_TEST(fault_names, rename_over_another, .prepare = new_table_with_two_names, .act = rename_it,
           .verify = is_renamed_over, .finish = end_table, .errnos = { ENOMEM })

static int exchange_names(struct world *world)
{
    return names_rename(names_of(world), "orders", "invoices", NAMES_RENAME_EXCHANGE,
                        &world->ready);
}

FAULT_TEST(fault_names, exchange, .prepare = new_table_with_two_names, .act = exchange_names,
           .finish = end_table, .errnos = { ENOMEM })

/* The table of a hundred names grows. */
static int add_many_names(struct world *world)
{
    char text[16];
    int r = 0;

    for (unsigned int i = 0; i < 100 && r == 0; i++) {
        struct mbox *mbox = malloc(sizeof(*mbox));

        if (!mbox)
            return -ENOMEM;
        mbox_init(mbox, &world->domain, world->mbox->release);
        snprintf(text, sizeof(text), "%u", i);
        r = names_add(names_of(world), text, mbox);
        if (r < 0)
            mbox_remove(mbox, true, &world->ready);
        mbox_unref(mbox);
    }
    return r;
}

Test(fault_names, add_many)
{
    static const struct scenario scenario = { .name = "add_many",
                                              .prepare = new_table,
                                              .act = add_many_names,
                                              .finish = end_table,
                                              .errnos = { ENOMEM } };

    scenario_run_up_to(&scenario, 1000);
}

/* --- Quota --- */

static int charge(struct world *world)
{
    return quota_charge(&world->domain.quota, 4242, 100);
}

static void discharge(struct world *world, int result)
{
    if (result == 0)
        quota_release(&world->domain.quota, 4242, 100);
}

FAULT_TEST(fault_quota, charge_, .act = charge, .verify = discharge, .errnos = { ENOMEM })

static void charge_one(struct world *world)
{
    cr_assert_eq(charge(world), 0);
}

static int charge_another(struct world *world)
{
    return quota_move(&world->domain.quota, 4242, 4243, 100);
}

static void discharge_one(struct world *world, int result)
{
    quota_release(&world->domain.quota, result == 0 ? 4243 : 4242, 100);
}

FAULT_TEST(fault_quota, move_, .prepare = charge_one, .act = charge_another,
           .verify = discharge_one, .errnos = { ENOMEM })

static int charge_fds(struct world *world)
{
    return quota_charge_fds(&world->domain.quota, 4242, 2);
}

static void discharge_fds(struct world *world, int result)
{
    if (result == 0)
        quota_release_fds(&world->domain.quota, 4242, 2);
}

FAULT_TEST(fault_quota, charge_descriptors, .act = charge_fds, .verify = discharge_fds,
           .errnos = { ENOMEM, ENFILE })
