/* Rings as mailboxes, with each allocation, descriptor and thread failing that they take. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/ring/ring_mbox.h"
#include "fault.h"
#include "scenario.h"

struct ring_box {
    struct mbox mbox;
    struct ring_mbox ring;
    bool is_ring;
};

struct rings {
    struct ring_waiters waiters;
    struct ring_home home;
    struct ring_box *box;
};

static const char hello[] = "hello";

static struct rings *rings_of(struct world *world)
{
    return world->own;
}

static void release(struct mbox *mbox)
{
    struct ring_box *box = (struct ring_box *)((char *)mbox - offsetof(struct ring_box, mbox));

    if (box->is_ring)
        ring_mbox_deinit(&box->ring);
    mbox_deinit(mbox);
    free(box);
}

static void begin(struct world *world)
{
    struct rings *rings = calloc(1, sizeof(*rings));

    ring_waiters_init(&rings->waiters, 0);
    rings->home = (struct ring_home){ .dir_fd = -1, .uid = WORLD_UID, .gid = WORLD_UID };
    world->own = rings;
}

static int make(struct world *world)
{
    struct rings *rings = rings_of(world);
    struct ring_box *box = calloc(1, sizeof(*box));
    int r;

    if (!box)
        return -ENOMEM;
    mbox_init(&box->mbox, &world->domain, release);
    r = ring_mbox_init(&box->ring, &box->mbox, &rings->waiters, &rings->home);
    box->is_ring = r == 0;
    if (r < 0) {
        mbox_remove(&box->mbox, true, &world->ready);
        mbox_unref(&box->mbox);
        return r;
    }
    rings->box = box;
    return 0;
}

static void end(struct world *world)
{
    struct rings *rings = rings_of(world);

    if (rings->box) {
        mbox_remove(&rings->box->mbox, true, &world->ready);
        mbox_ready_run(&world->ready);
        mbox_unref(&rings->box->mbox);
    }
    ring_waiters_deinit(&rings->waiters);
}

/* A message goes through the ring. */
static void is_usable(struct world *world, int result)
{
    struct ring_box *box = rings_of(world)->box;

    (void)result;
    if (!box)
        return;
    while (world_receive(world, &box->mbox, hello))
        ;
    cr_assert_eq(world_post(world, &box->mbox, "more", NULL), 0);
    cr_assert(world_receive(world, &box->mbox, "more"));
}

static void begin_with_ring(struct world *world)
{
    begin(world);
    cr_assert_eq(make(world), 0);
}

#define RING_TEST(scenario_name, ...)                                                              \
    Test(fault_ring, scenario_name)                                                                \
    {                                                                                              \
        static const struct scenario scenario = { .name = #scenario_name,                          \
                                                  .errnos = { ENOMEM, EMFILE, ENFILE },            \
                                                  __VA_ARGS__ };                                   \
        scenario_run(&scenario);                                                                   \
    }

RING_TEST(init, .prepare = begin, .act = make, .verify = is_usable, .finish = end)

static void begin_with_home(struct world *world)
{
    char path[] = "/tmp/fault.XXXXXX";

    begin(world);
    cr_assert(mkdtemp(path));
    rings_of(world)->home.dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    /* Files in it can't be made any more where it has no name: it goes in end_with_home(). */
    cr_assert(rings_of(world)->home.dir_fd >= 0);
}

static void end_with_home(struct world *world)
{
    char link[64];
    char path[256] = "";
    int dir_fd = rings_of(world)->home.dir_fd;

    end(world);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
    cr_assert(readlink(link, path, sizeof(path) - 1) > 0);
    cr_assert_eq(rmdir(path), 0, "a file was left in it");
    close(dir_fd);
}

RING_TEST(init_with_names, .prepare = begin_with_home, .act = make, .finish = end_with_home,
          .verify = is_usable)

static int configure(struct world *world)
{
    static const char text[] = "slots=64\nslot_bytes=64\nproducers=one\n";

    return ring_mbox_configure(&rings_of(world)->box->ring, text, sizeof(text) - 1, &world->ready);
}

RING_TEST(configure_, .prepare = begin_with_ring, .act = configure, .verify = is_usable,
          .finish = end)

static int post(struct world *world)
{
    return world_post(world, &rings_of(world)->box->mbox, hello, NULL);
}

RING_TEST(post_, .prepare = begin_with_ring, .act = post, .verify = is_usable, .finish = end)

static void begin_with_message(struct world *world)
{
    begin_with_ring(world);
    cr_assert_eq(post(world), 0);
}

static int take(struct world *world)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct mbox *mbox = &rings_of(world)->box->mbox;
    struct mbox_entry *entry;
    int r = mbox_take(mbox, &op, &entry, &world->ready);

    if (r == 0) {
        mbox_commit(mbox, entry, &world->ready);
        mbox_entry_free(entry);
    }
    return r;
}

RING_TEST(take_, .prepare = begin_with_message, .act = take, .verify = is_usable, .finish = end)

static int take_and_abort(struct world *world)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct mbox *mbox = &rings_of(world)->box->mbox;
    struct mbox_entry *entry;
    int r = mbox_take(mbox, &op, &entry, &world->ready);

    if (r == 0)
        mbox_abort(mbox, entry, &world->ready);
    return r;
}

static void hello_is_there(struct world *world, int result)
{
    cr_assert(world_receive(world, &rings_of(world)->box->mbox, hello), "it is lost");
    is_usable(world, result);
}

RING_TEST(take_and_abort_, .prepare = begin_with_message, .act = take_and_abort,
          .verify = hello_is_there, .finish = end)

static int give_to(struct world *world)
{
    return ring_mbox_set_owner(&rings_of(world)->box->ring, WORLD_UID + 1, WORLD_UID);
}

RING_TEST(set_owner, .prepare = begin_with_ring, .act = give_to, .verify = is_usable, .finish = end)

static int take_change(struct world *world)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct mbox *bell = &rings_of(world)->box->ring.bell;
    struct mbox_entry *entry;
    int r;

    ring_mbox_wake(&rings_of(world)->box->ring, &world->ready);
    r = mbox_take(bell, &op, &entry, &world->ready);
    if (r == 0) {
        mbox_commit(bell, entry, &world->ready);
        mbox_entry_free(entry);
    }
    return r;
}

RING_TEST(ring_the_bell, .prepare = begin_with_ring, .act = take_change, .verify = is_usable,
          .finish = end)
