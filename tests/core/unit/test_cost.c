/* How the work grows with the number of what there is: the instructions of a call are counted, so that it does not
 * matter how busy the machine is. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/mailbox/mbox.h"
#include "core/mailbox/mbox_cursor.h"
#include "core/mailbox/names.h"

/* A hash table may be scanned a little further, and a sanitizer or valgrind's allocator does what it likes. */
#define SLACK 3

static struct mbox_domain domain;
static struct mbox mbox;
static struct mbox other;
static struct names names;
static struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

/* Return: how many instructions @call takes, in a process of its own. */
static unsigned long instructions_of(void (*call)(void))
{
    pid_t pid = fork();
    unsigned long n = 0;
    int status;

    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        call();
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    do {
        cr_assert(WIFSTOPPED(status));
        ptrace(PTRACE_SINGLESTEP, pid, 0, 0);
        waitpid(pid, &status, 0);
        n++;
    } while (WIFSTOPPED(status) && WSTOPSIG(status) != SIGSTOP);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return n;
}

static void post_some(unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        struct msg *msg = msg_new("x", 1, i % MSG_N_PRIOS, (struct msg_sender){ .uid = i % 50 });

        cr_assert_eq(mbox_post(&mbox, msg, NULL, &ready), 0);
        msg_unref(msg);
    }
}

static uint64_t middle_id(void)
{
    return atomic_load(&domain.last_id) / 2;
}

static void release(struct mbox *gone)
{
    (void)gone;
}

static void set_up(void)
{
    static const char unbounded[] = "messages=max\n";

    mbox_domain_init(&domain, UINT64_MAX, UINT64_MAX);
    mbox_init(&mbox, &domain, release);
    mbox_init(&other, &domain, release);
    names_init(&names);
    cr_assert_eq(mbox_configure(&mbox, unbounded, sizeof(unbounded) - 1, &ready), 0);
}

TestSuite(cost, .init = set_up);

static void post_one(void)
{
    post_some(1);
}

static void take_one(void)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct mbox_entry *entry;

    if (mbox_take(&mbox, &op, &entry, &ready) == 0)
        mbox_commit(&mbox, entry, &ready);
}

static void take_and_abort(void)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct mbox_entry *entry;

    if (mbox_take(&mbox, &op, &entry, &ready) == 0)
        mbox_abort(&mbox, entry, &ready);
}

static void find_one(void)
{
    mbox_find(&mbox, middle_id());
}

static void pick_one(void)
{
    mbox_pick(&mbox, middle_id(), NULL, &ready);
}

static void move_one(void)
{
    mbox_move(&mbox, &other, middle_id(), NULL, &ready);
}

static void stat_it(void)
{
    struct mbox_stat stat;

    mbox_get_stat(&mbox, &stat);
}

/* Some, and from where it was the next ones, though one of them is gone; as readdir has it. */
static void list_some(void)
{
    struct mbox_place places[20];
    struct mbox_cursor cursor = { 0 };

    mbox_cursor_rewind(&mbox, &cursor);
    mbox_cursor_look(&mbox, &cursor, places, 20);
    mbox_pick(&mbox, places[9].id, NULL, &ready);
    mbox_cursor_pass(&mbox, &cursor, places[9].key);
    mbox_cursor_look(&mbox, &cursor, places, 20);
    mbox_cursor_end(&mbox, &cursor);
}

static void poll_it(void)
{
    mbox_poll(&mbox, NULL);
}

/* @call takes as long among 5,000 messages as among 50. */
static void expect_constant(void (*call)(void), const char *what)
{
    unsigned long few;
    unsigned long many;

    post_some(50);
    mbox_find(&mbox, middle_id()); /* the index is made when it is first wanted */
    few = instructions_of(call);
    post_some(4950);
    many = instructions_of(call);
    cr_assert_lt(many, SLACK * few, "%s: %lu instructions among 50, %lu among 5,000", what, few,
                 many);
}

#define CONSTANT_TEST(call)                                                                        \
    Test(cost, of_##call)                                                                          \
    {                                                                                              \
        expect_constant(call, #call);                                                              \
    }

CONSTANT_TEST(post_one)
CONSTANT_TEST(take_one)
CONSTANT_TEST(take_and_abort)
CONSTANT_TEST(find_one)
CONSTANT_TEST(pick_one)
CONSTANT_TEST(move_one)
CONSTANT_TEST(stat_it)
CONSTANT_TEST(list_some)
CONSTANT_TEST(poll_it)

static void find_first(void)
{
    mbox_find(&mbox, middle_id());
}

/* @call, which looks at all, takes for ten times as many ten times as long, not a hundred. */
static void expect_linear(void (*call)(void), const char *what)
{
    unsigned long few;
    unsigned long many;

    post_some(40);
    few = instructions_of(call);
    post_some(360);
    many = instructions_of(call);
    cr_assert_lt(many, 10 * SLACK * few, "%s: %lu instructions for 40, %lu for 400", what, few,
                 many);
}

Test(cost, of_the_index)
{
    expect_linear(find_first, "the first find");
}

/* --- Waiting --- */

static struct mbox_op ops[2000];
static struct mbox_op *middle_op;

static void complete(struct mbox_op *op, struct mbox_ready *more)
{
    (void)op;
    (void)more;
}

static void park(unsigned int from, unsigned int to)
{
    struct mbox_entry *entry;

    for (unsigned int i = from; i < to; i++) {
        ops[i] = (struct mbox_op){ .complete = complete, .max_bytes = SIZE_MAX };
        cr_assert_eq(mbox_take(&mbox, &ops[i], &entry, &ready), MBOX_PARKED);
    }
    middle_op = &ops[to / 2];
}

static void cancel_one(void)
{
    mbox_cancel(&mbox, middle_op, &ready);
}

static void expect_constant_among_waiting(void (*call)(void), const char *what)
{
    unsigned long few;
    unsigned long many;

    park(0, 20);
    few = instructions_of(call);
    park(20, 2000);
    many = instructions_of(call);
    cr_assert_lt(many, SLACK * few, "%s: %lu instructions among 20 who wait, %lu among 2,000", what,
                 few, many);
}

Test(cost, of_post_to_one_of_many)
{
    expect_constant_among_waiting(post_one, "post");
}

Test(cost, of_cancel_among_many)
{
    expect_constant_among_waiting(cancel_one, "cancel");
}

/* --- Names --- */

static struct mbox named[3000];

static void name_some(unsigned int from, unsigned int to)
{
    char text[16];

    for (unsigned int i = from; i < to; i++) {
        mbox_init(&named[i], &domain, release);
        snprintf(text, sizeof(text), "%u", i);
        cr_assert_eq(names_add(&names, text, &named[i]), 0);
    }
}

static void find_name(void)
{
    names_find(&names, "15");
}

Test(cost, of_a_name)
{
    unsigned long few;
    unsigned long many;

    name_some(0, 30);
    few = instructions_of(find_name);
    name_some(30, 3000);
    many = instructions_of(find_name);
    cr_assert_lt(many, SLACK * few + 500, "%lu instructions among 30 names, %lu among 3,000", few,
                 many);
}
