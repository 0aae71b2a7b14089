#include "fs/mailbox/door.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct mbox_domain domain;
static struct mbox mbox;
static struct door *door;
static int n_released;

static void release(struct mbox *released)
{
    struct mbox_ready nobody = TAILQ_HEAD_INITIALIZER(nobody);

    n_released++;
    mbox_remove(released, true, &nobody);
    mbox_deinit(released);
    door_disown(door);
}

static void set_up(void)
{
    mbox_domain_init(&domain, 1 << 20, 1 << 20);
    mbox_init(&mbox, &domain, release);
    door = door_new(&mbox, NULL, 3);
    cr_assert_not_null(door);
}

static void shut(void)
{
    struct attr attr = { .ino = 7 };

    door_shut(door, &attr);
}

Test(door, a_node_holds_the_mailbox_until_the_door_is_shut)
{
    set_up();
    cr_assert(door_add_node(door));
    cr_assert(door_add_node(door));
    cr_assert_eq(door_pass(door), &mbox);
    shut();
    cr_assert_null(door_pass(door));
    cr_assert_not(door_add_node(door));
    mbox_unref(&mbox);
    mbox_unref(&mbox);
    cr_assert_eq(n_released, 1, "nodes don't hold what is removed");
    cr_assert_eq(door->attr.ino, 7);
    door_remove_node(door);
    door_remove_node(door);
    mbox_domain_deinit(&domain);
}

Test(door, the_last_node_lets_go_of_the_mailbox)
{
    set_up();
    cr_assert(door_add_node(door));
    mbox_unref(&mbox);
    cr_assert_eq(n_released, 0);
    cr_assert(door_add_node(door));
    door_remove_node(door);
    cr_assert_eq(n_released, 0);
    door_remove_node(door);
    cr_assert_eq(n_released, 1);
    mbox_domain_deinit(&domain);
}

Test(door, nodes_may_come_and_go_while_the_mailbox_is_there)
{
    set_up();
    for (int i = 0; i < 3; i++) {
        cr_assert(door_add_node(door));
        door_remove_node(door);
    }
    cr_assert_eq(atomic_load(&mbox.n_refs), 1);
    shut();
    mbox_unref(&mbox);
    cr_assert_eq(n_released, 1);
    mbox_domain_deinit(&domain);
}
