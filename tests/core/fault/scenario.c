#include "scenario.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"

/* More faults than any scenario has. */
#define N_FAULTS_MAX 200

static void release(struct mbox *mbox)
{
    mbox_deinit(mbox);
    free(mbox);
}

static struct mbox *new_mbox(struct mbox_domain *domain)
{
    struct mbox *mbox = malloc(sizeof(*mbox));

    mbox_init(mbox, domain, release);
    return mbox;
}

/* The one there is. */
static struct world *completed_in;

static void complete(struct mbox_op *op, struct mbox_ready *ready)
{
    (void)ready;
    completed_in->n_completed++;
    if (op->entry && op->result == 0) {
        mbox_commit(completed_in->mbox, op->entry, ready);
        mbox_entry_free(op->entry);
        op->entry = NULL;
    }
}

struct mbox_op world_op(void)
{
    return (struct mbox_op){ .complete = complete, .max_bytes = SIZE_MAX };
}

static void world_init(struct world *world)
{
    *world = (struct world){ 0 };
    completed_in = world;
    TAILQ_INIT(&world->ready);
    mbox_domain_init(&world->domain, WORLD_BYTES, WORLD_BYTES);
    world->mbox = new_mbox(&world->domain);
    world->other = new_mbox(&world->domain);
    for (size_t i = 0; i < sizeof(world->ops) / sizeof(world->ops[0]); i++)
        world->ops[i] = world_op();
}

int world_post(struct world *world, struct mbox *to, const char *text, struct mbox_op *op)
{
    struct msg *msg = msg_new(text, strlen(text), 0,
                              (struct msg_sender){ .pid = 1, .uid = WORLD_UID });
    int r = msg ? mbox_post(to, msg, op, &world->ready) : -ENOMEM;

    msg_unref(msg);
    mbox_ready_run(&world->ready);
    return r;
}

bool world_receive(struct world *world, struct mbox *from, const char *text)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct mbox_entry *entry;
    bool is_it;

    if (mbox_take(from, &op, &entry, &world->ready) < 0)
        return false;
    is_it = entry->msg->size_bytes == strlen(text) &&
            memcmp(entry->msg->data, text, entry->msg->size_bytes) == 0;
    mbox_commit(from, entry, &world->ready);
    mbox_entry_free(entry);
    mbox_ready_run(&world->ready);
    return is_it;
}

void world_configure(struct world *world, struct mbox *mbox, const char *text)
{
    cr_assert_eq(mbox_configure(mbox, text, strlen(text), &world->ready), 0);
    mbox_ready_run(&world->ready);
}

unsigned int world_n_queued(struct mbox *mbox)
{
    struct mbox_stat stat;

    return mbox_get_stat(mbox, &stat) == 0 ? (unsigned int)stat.n_messages : 0;
}

/* The mailbox is as good as ever: a message goes in and out. */
static void expect_usable(struct world *world, struct mbox *mbox)
{
    struct mbox_stat stat;

    if (mbox_get_stat(mbox, &stat) < 0)
        return;
    world_configure(world, mbox, "messages=max\noverflow=block\n");
    if (mbox_owner(mbox) == 1)
        return;
    cr_assert_eq(world_post(world, mbox, "again", NULL), 0);
    for (uint64_t n = world_n_queued(mbox); n > 1; n--)
        cr_assert(!world_receive(world, mbox, "again"));
    /* A receiver that waited may have had it. */
    if (world_n_queued(mbox) == 1)
        cr_assert(world_receive(world, mbox, "again"));
}

static void end_mbox(struct world *world, struct mbox *mbox)
{
    mbox_remove(mbox, true, &world->ready);
    mbox_ready_run(&world->ready);
    mbox_unref(mbox);
}

static void world_deinit(struct world *world)
{
    end_mbox(world, world->mbox);
    end_mbox(world, world->other);
    free(world->own);
    cr_assert_eq(quota_used(&world->domain.quota), 0, "%u bytes are charged for ever",
                 (unsigned int)quota_used(&world->domain.quota));
    cr_assert_eq(quota_used_fds(&world->domain.quota), 0, "descriptors are charged for ever");
    mbox_domain_deinit(&world->domain);
}

static bool is_named(const struct scenario *scenario, int result)
{
    for (const int *named = scenario->errnos; *named; named++) {
        if (result == -*named)
            return true;
    }
    return false;
}

/* Return: whether it came to the nth fault. */
static bool run_once(const struct scenario *scenario, unsigned int nth)
{
    struct mbox_stat before;
    struct mbox_stat after;
    struct world world;
    bool faulted;
    int result;

    world_init(&world);
    if (scenario->prepare)
        scenario->prepare(&world);
    mbox_get_stat(world.mbox, &before);
    fault_arm(nth);
    result = scenario->act(&world);
    faulted = fault_disarm();
    mbox_ready_run(&world.ready);
    if (faulted)
        cr_assert(result == scenario->expected || is_named(scenario, result), "%s, fault %u: %d",
                  scenario->name, nth, result);
    else
        cr_assert_eq(result, scenario->expected, "%s: %d without a fault", scenario->name, result);
    if (result < 0 && result != scenario->expected && mbox_get_stat(world.mbox, &after) == 0)
        cr_assert(after.n_messages == before.n_messages && after.n_bytes == before.n_bytes &&
                      after.n_sent == before.n_sent && after.n_received == before.n_received,
                  "%s, fault %u: the mailbox has changed", scenario->name, nth);
    if (scenario->verify)
        scenario->verify(&world, result);
    expect_usable(&world, world.mbox);
    expect_usable(&world, world.other);
    if (scenario->finish)
        scenario->finish(&world);
    world_deinit(&world);
    return faulted;
}

void scenario_run_up_to(const struct scenario *scenario, unsigned int n_max)
{
    /* What is made once and stays, as a guard of truncated.h, is made now. */
    bool faulted = run_once(scenario, 0);
    unsigned int n_live = fault_n_live();
    unsigned int n_descriptors = fault_n_descriptors();
    unsigned int n_threads = fault_n_threads();
    unsigned int nth = 0;

    cr_assert(!faulted);
    do {
        cr_assert_lt(++nth, n_max, "%s: the faults have no end", scenario->name);
    } while (run_once(scenario, nth) && fault_n_live() == n_live);
    cr_assert_eq(fault_n_live(), n_live, "%s: %d pieces of memory are left, fault %u",
                 scenario->name, (int)(fault_n_live() - n_live), nth);
    cr_assert_eq(fault_n_descriptors(), n_descriptors, "%s: descriptors are left", scenario->name);
    cr_assert_eq(fault_n_threads(), n_threads, "%s: threads are left", scenario->name);
}

void scenario_run(const struct scenario *scenario)
{
    scenario_run_up_to(scenario, N_FAULTS_MAX);
}
