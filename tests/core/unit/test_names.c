#include "core/mailbox/names.h"
#include "case.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct mbox_domain domain;
static struct names names;
static struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
static int n_released;

static void release(struct mbox *mbox)
{
    n_released++;
    mbox_deinit(mbox);
    free(mbox);
}

static void set_up(void)
{
    mbox_domain_init(&domain, 1 << 20, 1 << 20);
    names_init(&names);
}

static void tear_down(void)
{
    names_remove_all(&names, &ready);
    names_deinit(&names);
    mbox_domain_deinit(&domain);
}

#define NAMES_TEST(name) CASE(names, name)

/* The table holds the only reference. */
static struct mbox *add(const char *text)
{
    struct mbox *mbox = malloc(sizeof(*mbox));

    mbox_init(mbox, &domain, release);
    cr_assert_eq(names_add(&names, text, mbox), 0);
    mbox_unref(mbox);
    return mbox;
}

static void fill(struct mbox *mbox)
{
    struct msg *msg = msg_new("x", 1, 0, (struct msg_sender){ 0 });

    cr_assert_eq(mbox_post(mbox, msg, NULL, &ready), 0);
    msg_unref(msg);
}

static void expect(const char *text, const struct mbox *expected)
{
    struct mbox *mbox = names_find(&names, text);

    cr_assert_eq(mbox, expected, "%s", text);
    if (mbox)
        mbox_unref(mbox);
}

static int rename_to(const char *from, const char *to, enum names_rename how)
{
    return names_rename(&names, from, to, how, &ready);
}

NAMES_TEST(a_name_is_found_until_it_is_removed)
{
    struct mbox *mbox = add("orders");

    expect("orders", mbox);
    expect("order", NULL);
    cr_assert_eq(names_remove(&names, "orders", &ready), 0);
    expect("orders", NULL);
    cr_assert_eq(n_released, 1);
    cr_assert_eq(names_remove(&names, "orders", &ready), -ENOENT);
}

NAMES_TEST(a_name_is_unique)
{
    struct mbox *mbox = add("orders");

    cr_assert_eq(names_add(&names, "orders", mbox), -EEXIST);
    expect("orders", mbox);
}

NAMES_TEST(a_name_has_at_most_255_bytes)
{
    char text[257];

    memset(text, 'n', sizeof(text));
    text[256] = '\0';
    cr_assert_eq(rename_to("none", text, NAMES_RENAME_REPLACE), -ENOENT);
    add("orders");
    cr_assert_eq(rename_to("orders", text, NAMES_RENAME_REPLACE), -ENAMETOOLONG);
    text[255] = '\0';
    cr_assert_eq(rename_to("orders", text, NAMES_RENAME_REPLACE), 0);
}

NAMES_TEST(a_mailbox_with_messages_stays)
{
    struct mbox *mbox = add("orders");

    fill(mbox);
    cr_assert_eq(names_remove(&names, "orders", &ready), -ENOTEMPTY);
    expect("orders", mbox);
}

NAMES_TEST(rename_keeps_the_mailbox)
{
    struct mbox *mbox = add("a");

    fill(mbox);
    cr_assert_eq(rename_to("a", "b", NAMES_RENAME_REPLACE), 0);
    expect("a", NULL);
    expect("b", mbox);
    cr_assert_eq(rename_to("b", "b", NAMES_RENAME_REPLACE), 0);
    cr_assert_eq(rename_to("b", "b", NAMES_RENAME_NEW), -EEXIST);
    expect("b", mbox);
}

NAMES_TEST(rename_replaces_only_what_is_empty)
{
    struct mbox *a = add("a");
    struct mbox *b = add("b");

    cr_assert_eq(rename_to("a", "b", NAMES_RENAME_NEW), -EEXIST);
    fill(b);
    cr_assert_eq(rename_to("a", "b", NAMES_RENAME_REPLACE), -ENOTEMPTY);
    expect("a", a);
    expect("b", b);
    cr_assert_eq(rename_to("b", "a", NAMES_RENAME_REPLACE), 0);
    expect("a", b);
    expect("b", NULL);
    cr_assert_eq(n_released, 1);
}

NAMES_TEST(rename_exchanges)
{
    struct mbox *a = add("a");
    struct mbox *b = add("b");

    fill(a);
    fill(b);
    cr_assert_eq(rename_to("a", "c", NAMES_RENAME_EXCHANGE), -ENOENT);
    cr_assert_eq(rename_to("a", "b", NAMES_RENAME_EXCHANGE), 0);
    expect("a", b);
    expect("b", a);
    cr_assert_eq(rename_to("a", "x", NAMES_RENAME_REPLACE), 0);
    expect("x", b);
}

static int count_visit(const char *text, struct mbox *mbox, void *arg)
{
    (void)mbox;
    *(int *)arg += 1;
    return strcmp(text, "b") == 0 ? -ENOMEM : 0;
}

NAMES_TEST(each_visits_in_order_of_age_until_told_to_stop)
{
    int n = 0;

    add("a");
    add("b");
    add("c");
    cr_assert_eq(names_each(&names, count_visit, &n), -ENOMEM);
    cr_assert_eq(n, 2);
    cr_assert_eq(names_count(&names), 3);
}

/* Goes through all, and writes the names one behind the other. */
static void walk(struct names_cursor *cursor, size_t n, char ret_texts[64])
{
    char text[NAME_BYTES_MAX + 1];
    struct mbox *mbox;

    ret_texts[0] = '\0';
    while (n-- > 0 && (mbox = names_next(cursor, text))) {
        strcat(ret_texts, text);
        mbox_unref(mbox);
    }
}

NAMES_TEST(names_may_come_and_go_while_somebody_goes_through_them)
{
    struct names_cursor cursor;
    struct names_cursor other;
    char texts[64];

    add("a");
    add("b");
    add("c");
    add("d");
    names_begin(&names, &cursor);
    names_begin(&names, &other);
    walk(&cursor, 2, texts);
    cr_assert_str_eq(texts, "ab");
    cr_assert_eq(names_remove(&names, "b", &ready), 0);
    cr_assert_eq(names_remove(&names, "c", &ready), 0);
    add("e");
    walk(&cursor, 9, texts);
    cr_assert_str_eq(texts, "d", "what is younger than the walk is not met");
    walk(&other, 9, texts);
    cr_assert_str_eq(texts, "ad");
    names_end(&other);
    names_end(&cursor);
}

NAMES_TEST(what_is_renamed_meanwhile_is_met_once)
{
    struct names_cursor cursor;
    char texts[64];

    add("a");
    add("b");
    add("c");
    names_begin(&names, &cursor);
    walk(&cursor, 1, texts);
    cr_assert_eq(rename_to("a", "x", NAMES_RENAME_REPLACE), 0);
    cr_assert_eq(rename_to("b", "y", NAMES_RENAME_REPLACE), 0);
    walk(&cursor, 9, texts);
    cr_assert_str_eq(texts, "yc");
    names_end(&cursor);
    names_begin(&names, &cursor);
    cr_assert_eq(rename_to("c", "x", NAMES_RENAME_REPLACE), 0);
    walk(&cursor, 9, texts);
    cr_assert_str_eq(texts, "yx");
    names_end(&cursor);
}

static int find_visit(const char *text, struct mbox *mbox, void *arg)
{
    expect(text, mbox);
    cr_assert_eq(names_remove(&names, text, &ready), 0);
    (void)arg;
    return 0;
}

NAMES_TEST(others_get_the_lock_between_two_visits)
{
    add("a");
    add("b");
    names_each(&names, find_visit, NULL);
    cr_assert_eq(names_count(&names), 0);
}

NAMES_TEST(many_names_are_all_found)
{
    char text[16];

    for (int i = 0; i < 5000; i++) {
        snprintf(text, sizeof(text), "box%d", i);
        add(text);
    }
    for (int i = 0; i < 5000; i++) {
        snprintf(text, sizeof(text), "box%d", i);
        cr_assert_eq(names_remove(&names, text, &ready), 0);
    }
    cr_assert_eq(n_released, 5000);
}
