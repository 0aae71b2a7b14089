#include "core/quota.h"

#include <criterion/criterion.h>
#include <errno.h>

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
