#include "core/mailbox/quota.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdbool.h>
#include <sys/resource.h>

Test(quota, one_user_has_a_bound)
{
    struct quota q;

    quota_init(&q, 100, 40);
    cr_assert_eq(quota_charge(&q, 1, 40), 0);
    cr_assert_eq(quota_charge(&q, 1, 1), -EDQUOT);
    cr_assert_eq(quota_charge(&q, 2, 41), -EDQUOT);
    cr_assert_eq(quota_used(&q), 40);
    quota_release(&q, 1, 1);
    cr_assert_eq(quota_charge(&q, 1, 1), 0);
    quota_release(&q, 1, 40);
    quota_deinit(&q);
}

Test(quota, all_together_have_a_bound)
{
    struct quota q;

    quota_init(&q, 100, 60);
    cr_assert_eq(quota_charge(&q, 1, 60), 0);
    cr_assert_eq(quota_charge(&q, 2, 41), -ENOSPC);
    cr_assert_eq(quota_charge(&q, 2, 40), 0);
    cr_assert_eq(quota_charge(&q, 3, 1), -ENOSPC);
    quota_release(&q, 1, 60);
    cr_assert_eq(quota_charge(&q, 3, 60), 0);
    quota_release(&q, 2, 40);
    quota_release(&q, 3, 60);
    cr_assert_eq(quota_used(&q), 0);
    quota_deinit(&q);
}

Test(quota, what_changes_hands_needs_no_room_for_all)
{
    struct quota q;

    quota_init(&q, 100, 60);
    cr_assert_eq(quota_charge(&q, 1, 60), 0);
    cr_assert_eq(quota_charge(&q, 2, 40), 0);
    cr_assert_eq(quota_move(&q, 1, 2, 60), -EDQUOT);
    cr_assert_eq(quota_move(&q, 1, 3, 60), 0);
    cr_assert_eq(quota_used(&q), 100);
    cr_assert_eq(quota_charge(&q, 1, 1), -ENOSPC);
    cr_assert_eq(quota_charge(&q, 3, 1), -EDQUOT);
    quota_release(&q, 2, 40);
    quota_release(&q, 3, 60);
    cr_assert_eq(quota_used(&q), 0);
    quota_deinit(&q);
}

Test(quota, a_charge_beyond_all_numbers_is_refused)
{
    struct quota q;

    quota_init(&q, UINT64_MAX, UINT64_MAX);
    cr_assert_eq(quota_charge(&q, 1, UINT64_MAX), 0);
    cr_assert_eq(quota_charge(&q, 1, UINT64_MAX), -EDQUOT);
    cr_assert_eq(quota_charge(&q, 2, UINT64_MAX), -ENOSPC);
    quota_release(&q, 1, UINT64_MAX);
    quota_deinit(&q);
}

Test(quota, users_who_hold_nothing_are_forgotten)
{
    struct quota q;

    quota_init(&q, 1 << 20, 1 << 20);
    for (uid_t uid = 0; uid < 10000; uid++) {
        cr_assert_eq(quota_charge(&q, uid, 5), 0);
        quota_release(&q, uid, 5);
    }
    cr_assert_leq(quota_n_users(&q), 64);
    quota_deinit(&q);
}

static uint64_t max_fds;

static uint64_t read_max_fds(void)
{
    return max_fds;
}

static void init_with_fds(struct quota *q, uint64_t max)
{
    quota_init(q, 100, 100);
    max_fds = max;
    q->max_fds = read_max_fds;
}

Test(quota, one_user_gets_a_quarter_of_the_descriptors)
{
    struct quota q;

    init_with_fds(&q, 2000);
    for (int i = 0; i < 500; i++)
        cr_assert_eq(quota_charge_fds(&q, 1, 1), 0);
    cr_assert_eq(quota_charge_fds(&q, 1, 1), -EDQUOT);
    cr_assert_eq(quota_charge_fds(&q, 2, 501), -EDQUOT);
    cr_assert_eq(quota_charge_fds(&q, 2, UINT64_MAX), -EDQUOT);
    cr_assert_eq(quota_charge_fds(&q, 2, 500), 0);
    cr_assert_eq(quota_used_fds(&q), 1000);
    quota_release_fds(&q, 1, 1);
    cr_assert_eq(quota_charge_fds(&q, 1, 1), 0);
    quota_release_fds(&q, 1, 500);
    quota_release_fds(&q, 2, 500);
    quota_deinit(&q);
}

Test(quota, all_users_together_leave_descriptors_to_root)
{
    struct quota q;

    init_with_fds(&q, 2000);
    for (uid_t uid = 1; uid <= 3; uid++)
        cr_assert_eq(quota_charge_fds(&q, uid, 500), 0);
    cr_assert_eq(quota_charge_fds(&q, 4, 250), 0);
    cr_assert_eq(quota_charge_fds(&q, 5, 1), -ENFILE);
    cr_assert_eq(quota_charge_fds(&q, 0, 200), 0);
    cr_assert_eq(quota_charge_fds(&q, 0, 19), -ENFILE, "the daemon itself needs some");
    cr_assert_eq(quota_charge_fds(&q, 0, UINT64_MAX), -ENFILE);
    for (uid_t uid = 1; uid <= 3; uid++)
        quota_release_fds(&q, uid, 500);
    quota_release_fds(&q, 4, 250);
    quota_release_fds(&q, 0, 200);
    cr_assert_eq(quota_used_fds(&q), 0);
    quota_deinit(&q);
}

Test(quota, the_bound_on_descriptors_is_read_anew)
{
    struct quota q;

    init_with_fds(&q, 2000);
    cr_assert_eq(quota_charge_fds(&q, 1, 500), 0);
    max_fds = 200;
    cr_assert_eq(quota_charge_fds(&q, 2, 1), -ENFILE, "more are open than there may be now");
    cr_assert_eq(quota_charge_fds(&q, 1, 1), -EDQUOT);
    cr_assert_eq(quota_charge_fds(&q, 0, 1), -ENFILE);
    max_fds = 20;
    cr_assert_eq(quota_charge_fds(&q, 0, 1), -ENFILE);
    max_fds = 4000;
    cr_assert_eq(quota_charge_fds(&q, 1, 1), 0);
    quota_release_fds(&q, 1, 501);
    quota_deinit(&q);
}

Test(quota, descriptors_that_change_hands_need_no_room_for_all)
{
    struct quota q;

    init_with_fds(&q, 400);
    cr_assert_eq(quota_charge_fds(&q, 1, 100), 0);
    cr_assert_eq(quota_charge_fds(&q, 2, 100), 0);
    cr_assert_eq(quota_charge_fds(&q, 3, 100), 0);
    cr_assert_eq(quota_charge_fds(&q, 0, 60), 0);
    cr_assert_eq(quota_move_fds(&q, 1, 2, 1), -EDQUOT);
    cr_assert_eq(quota_move_fds(&q, 1, 4, 100), 0);
    cr_assert_eq(quota_move_fds(&q, 4, 4, 100), 0);
    cr_assert_eq(quota_used_fds(&q), 360);
    quota_release_fds(&q, 4, 100);
    quota_release_fds(&q, 2, 100);
    quota_release_fds(&q, 3, 100);
    quota_release_fds(&q, 0, 60);
    quota_deinit(&q);
}

Test(quota, who_holds_descriptors_is_not_forgotten)
{
    struct quota q;

    init_with_fds(&q, 1 << 20);
    for (uid_t uid = 0; uid < 1000; uid++) {
        cr_assert_eq(quota_charge_fds(&q, uid, 1), 0);
        cr_assert_eq(quota_charge(&q, uid, 1), 0);
        quota_release(&q, uid, 1);
    }
    cr_assert_eq(quota_n_users(&q), 1000);
    for (uid_t uid = 0; uid < 1000; uid++)
        quota_release_fds(&q, uid, 1);
    cr_assert_leq(quota_n_users(&q), 64);
    quota_deinit(&q);
}

Test(quota, descriptors_are_bounded_by_what_the_process_may_open)
{
    struct quota q;
    struct rlimit limit;

    quota_init(&q, 100, 100);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 400;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(quota_charge_fds(&q, 1, 101), -EDQUOT);
    cr_assert_eq(quota_charge_fds(&q, 1, 100), 0);
    quota_release_fds(&q, 1, 100);
    quota_deinit(&q);
}

/* --- what is kept --- */

#define SHARE QUOTA_KEPT_MIN_BYTES

Test(quota, what_is_made_leaves_room_for_what_is_opened)
{
    struct quota q;

    quota_init(&q, 4 * SHARE, SHARE);
    cr_assert_eq(quota_charge_kept(&q, 1, SHARE - SHARE / 8, QUOTA_MADE), 0);
    cr_assert_eq(quota_charge_kept(&q, 1, 1, QUOTA_MADE), -EDQUOT);
    cr_assert_eq(quota_charge_kept(&q, 1, SHARE / 8, QUOTA_OPEN), 0);
    cr_assert_eq(quota_charge_kept(&q, 1, 1, QUOTA_OPEN), -EDQUOT);
    cr_assert_eq(quota_charge_kept(&q, 2, UINT64_MAX, QUOTA_OPEN), -EDQUOT);
    cr_assert_eq(quota_charge(&q, 1, SHARE), 0, "what is queued has an account of its own");
    cr_assert_eq(quota_used_kept(&q, QUOTA_OPEN), SHARE / 8);
    cr_assert_eq(quota_used_kept(&q, QUOTA_MADE), SHARE - SHARE / 8);
    cr_assert_eq(quota_used(&q), SHARE);
    quota_release(&q, 1, SHARE);
    quota_release_kept(&q, 1, SHARE / 8, QUOTA_OPEN);
    quota_release_kept(&q, 1, SHARE - SHARE / 8, QUOTA_MADE);
    quota_deinit(&q);
}

Test(quota, users_leave_room_to_root)
{
    struct quota q;

    quota_init(&q, 4 * SHARE, 2 * SHARE);
    cr_assert_eq(quota_charge_kept(&q, 1, 2 * SHARE, QUOTA_OPEN), 0);
    cr_assert_eq(quota_charge_kept(&q, 2, 3 * SHARE / 2, QUOTA_OPEN), 0);
    cr_assert_eq(quota_charge_kept(&q, 3, 1, QUOTA_OPEN), -ENOSPC);
    cr_assert_eq(quota_charge_kept(&q, 0, SHARE / 2, QUOTA_OPEN), 0);
    cr_assert_eq(quota_charge_kept(&q, 0, 1, QUOTA_OPEN), -ENOSPC);
    cr_assert_eq(quota_move_kept(&q, 2, 1, 1), -EDQUOT);
    cr_assert_eq(quota_move_kept(&q, 2, 3, 3 * SHARE / 2), 0);
    quota_release_kept(&q, 0, SHARE / 2, QUOTA_OPEN);
    quota_release_kept(&q, 1, 2 * SHARE, QUOTA_OPEN);
    quota_release_kept(&q, 3, 3 * SHARE / 2, QUOTA_OPEN);
    cr_assert_eq(quota_used_kept(&q, QUOTA_OPEN), 0);
    quota_deinit(&q);
}

Test(quota, the_smallest_mount_keeps_a_little)
{
    struct quota q;

    quota_init(&q, 1, 1);
    cr_assert_eq(quota_charge_kept(&q, 1, SHARE / 2, QUOTA_MADE), 0);
    cr_assert_eq(quota_charge_kept(&q, 1, SHARE, QUOTA_MADE), -EDQUOT);
    quota_release_kept(&q, 1, SHARE / 2, QUOTA_MADE);
    quota_deinit(&q);
}

/* Return: whether @uid holds just @bytes, where one user may hold 40. */
static bool holds(struct quota *q, uid_t uid, uint64_t bytes)
{
    bool fits = quota_charge(q, uid, 40 - bytes) == 0;

    if (fits)
        quota_release(q, uid, 40 - bytes);
    return fits && quota_charge(q, uid, 41 - bytes) == -EDQUOT;
}

Test(quota, what_is_handed_on_counts_for_who_goes_on_holding_it)
{
    struct quota_charge charge = { 0 };
    struct quota q;

    quota_init(&q, 100, 40);
    cr_assert_eq(quota_charge_begin(&charge, &q, 1, 10), 0);
    quota_charge_hold(&charge, &q, 2);
    cr_assert(holds(&q, 1, 10) && holds(&q, 2, 0));
    quota_charge_hand_on(&charge);
    cr_assert(holds(&q, 1, 0) && holds(&q, 2, 10));
    cr_assert_eq(quota_used(&q), 10);
    quota_charge_drop(&charge);
    cr_assert(holds(&q, 2, 0));
    cr_assert_eq(quota_used(&q), 0);
    quota_deinit(&q);
}

Test(quota, while_one_first_holder_is_left_it_counts_for_that)
{
    struct quota_charge charge = { 0 };
    struct quota q;

    quota_init(&q, 100, 40);
    cr_assert_eq(quota_charge_join(&charge, &q, 1, 10), 0);
    cr_assert_eq(quota_charge_join(&charge, &q, 1, 10), 0);
    quota_charge_hold(&charge, &q, 2);
    cr_assert_eq(quota_charge_join(&charge, &q, 1, 10), 0);
    cr_assert_eq(quota_used(&q), 10);
    quota_charge_hand_on(&charge);
    quota_charge_hand_on(&charge);
    cr_assert(holds(&q, 1, 10) && holds(&q, 2, 0));
    quota_charge_hand_on(&charge);
    cr_assert(holds(&q, 1, 0) && holds(&q, 2, 10));
    quota_charge_drop(&charge);
    cr_assert_eq(quota_used(&q), 0);
    quota_deinit(&q);
}

Test(quota, who_has_no_room_for_it_is_not_handed_it)
{
    struct quota_charge charge = { 0 };
    struct quota q;

    quota_init(&q, 100, 40);
    cr_assert_eq(quota_charge(&q, 2, 31), 0);
    cr_assert_eq(quota_charge_begin(&charge, &q, 1, 10), 0);
    quota_charge_hold(&charge, &q, 2);
    quota_charge_hand_on(&charge);
    cr_assert(holds(&q, 1, 10) && holds(&q, 2, 31));
    quota_charge_drop(&charge);
    cr_assert(holds(&q, 1, 0));
    quota_release(&q, 2, 31);
    quota_deinit(&q);
}

#define N_HOLDERS 4
#define N_TURNS 20000

static struct quota shared;
static struct quota_charge shared_charge;

static void *come_and_go(void *arg)
{
    for (int i = 0; i < N_TURNS; i++) {
        if (quota_charge_join(&shared_charge, &shared, 1, 10) < 0)
            return arg;
        quota_charge_hand_on(&shared_charge);
    }
    return NULL;
}

static void *come_and_look(void *arg)
{
    for (int i = 0; i < N_TURNS; i++) {
        if (quota_charge_join(&shared_charge, &shared, 1, 10) < 0)
            return arg;
        quota_charge_hold(&shared_charge, &shared, 2);
        quota_charge_hand_on(&shared_charge);
        quota_charge_drop(&shared_charge);
    }
    return NULL;
}

static void all_at_once(void *(*first)(void *), void *(*others)(void *))
{
    pthread_t threads[N_HOLDERS];
    void *failed;

    quota_init(&shared, 100, 40);
    for (int i = 0; i < N_HOLDERS; i++)
        pthread_create(&threads[i], NULL, i == 0 ? first : others, &shared);
    for (int i = 0; i < N_HOLDERS; i++) {
        pthread_join(threads[i], &failed);
        cr_assert_null(failed);
    }
    cr_assert_eq(quota_used(&shared), 0);
    quota_deinit(&shared);
}

Test(quota, whoever_comes_and_goes_at_once_it_counts_once_and_then_for_nobody)
{
    all_at_once(come_and_go, come_and_go);
}

Test(quota, who_holds_it_as_well_meanwhile_is_in_nobodys_way)
{
    all_at_once(come_and_look, come_and_go);
}
