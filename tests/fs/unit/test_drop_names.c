/* Names of files that were sent: who finds them, how long, and how many there are. */
#include "fs/mailbox/drop_names.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/kernel/node.h"

#define DIR 7

static struct drop_names names;
static time_t seconds;

static time_t test_clock(void)
{
    return seconds;
}

static void set_up(void)
{
    drop_names_init(&names);
    names.clock = test_clock;
}

static void tear_down(void)
{
    drop_names_deinit(&names);
}

TestSuite(drop_names, .init = set_up, .fini = tear_down);

static struct caller me(uid_t uid)
{
    return (struct caller){ .tid = getpid(), .uid = uid };
}

static void remember(const char *name, off_t size)
{
    struct caller caller = me(1);
    struct drop_name *new = drop_name_new(DIR, name, &caller);
    struct stat attr = { .st_size = size };

    cr_assert(new);
    drop_names_remember(&names, new, &attr);
}

/* Return: the size of the file; a negative errno. */
static long find(const char *name)
{
    struct caller caller = me(1);
    struct stat attr;
    int r = drop_names_find(&names, DIR, name, &caller, &attr);

    return r < 0 ? r : attr.st_size;
}

/* Return: what @function returns in a child. */
static int in_child(int (*function)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(function());
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int finds_x(void)
{
    return find("x") == 1;
}

static int grandchild_finds_x(void)
{
    return in_child(finds_x);
}

Test(drop_names, answer_to_their_sender_and_its_children)
{
    remember("x", 1);
    cr_assert_eq(find("x"), 1);
    cr_assert_eq(find("y"), -ENOENT);
    cr_assert(in_child(finds_x));
    cr_assert(in_child(grandchild_finds_x));
}

static int remember_x(void)
{
    remember("x", 1);
    return find("x") == 1;
}

Test(drop_names, answer_to_nobody_else)
{
    struct caller other = me(2);
    struct caller caller = me(1);
    struct stat attr;
    int go[2];
    pid_t sender;

    remember("x", 1);
    cr_assert_eq(drop_names_find(&names, DIR, "x", &other, &attr), -ENOENT);
    cr_assert_eq(drop_names_find(&names, DIR + 1, "x", &caller, &attr), -ENOENT);
    drop_names_forget(&names, DIR, "x", &caller);
    /* A process that has not inherited this table's memory, but a copy, is no help: ask for it from here. */
    cr_assert_eq(pipe(go), 0);
    sender = fork();
    if (sender == 0) {
        char byte;

        _exit(read(go[0], &byte, 1) == 1);
    }
    caller.tid = sender;
    drop_names_remember(&names, drop_name_new(DIR, "x", &caller), &attr);
    cr_assert_eq(find("x"), -ENOENT, "a child's name is not its parent's");
    cr_assert_eq(drop_names_find(&names, DIR, "x", &caller, &attr), 0);
    kill(sender, SIGKILL);
    waitpid(sender, NULL, 0);
    cr_assert(in_child(remember_x));
}

Test(drop_names, are_over_after_a_while)
{
    remember("x", 1);
    seconds += 5;
    cr_assert_eq(find("x"), 1);
    seconds += 5;
    cr_assert_eq(find("x"), -ENOENT);
    remember("x", 2);
    cr_assert_eq(find("x"), 2);
}

Test(drop_names, newest_of_one_name_answers)
{
    remember("x", 1);
    remember("x", 2);
    cr_assert_eq(find("x"), 2);
}

Test(drop_names, can_be_forgotten)
{
    struct caller caller = me(1);

    remember("x", 1);
    remember("x", 2);
    remember("y", 3);
    cr_assert_eq(drop_names_forget(&names, DIR, "x", &caller), 0);
    cr_assert_eq(find("x"), -ENOENT);
    cr_assert_eq(drop_names_forget(&names, DIR, "x", &caller), -ENOENT);
    cr_assert_eq(find("y"), 3);
}

Test(drop_names, can_be_renamed)
{
    struct caller caller = me(1);

    remember("x", 1);
    remember("y", 2);
    cr_assert_eq(drop_names_rename(&names, DIR, "x", "x", &caller), 0);
    cr_assert_eq(find("x"), 1);
    cr_assert_eq(drop_names_rename(&names, DIR, "x", "y", &caller), 0);
    cr_assert_eq(find("x"), -ENOENT);
    cr_assert_eq(find("y"), 1);
    cr_assert_eq(drop_names_rename(&names, DIR, "x", "z", &caller), -ENOENT);
    cr_assert_eq(drop_names_forget(&names, DIR, "y", &caller), 0);
    cr_assert_eq(find("y"), -ENOENT, "what was replaced is gone");
}

Test(drop_names, oldest_give_way)
{
    char name[32];

    for (int i = 0; i < 3 * DROP_NAMES_RING_SIZE; i++) {
        snprintf(name, sizeof(name), "%d", i);
        remember(name, i);
    }
    for (int i = 0; i < 3 * DROP_NAMES_RING_SIZE; i++) {
        snprintf(name, sizeof(name), "%d", i);
        cr_assert_eq(find(name), i < 2 * DROP_NAMES_RING_SIZE ? -ENOENT : i);
    }
}
