/* The count is the consumer's: what is given out and not acknowledged, less what is here. A gap in the numbers of its deliveries
 * adds to it at once.
 *
 *   new --1 s--> told --ack_wait, 3 s--> recounted --1 s--> given up: another importer must have it, though nobody was heard
 *
 * At each step it is counted again, and at any time all of it may come, or another importer be heard. */
#include "missing.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "log.h"
#include "status.h"

#define NS_PER_S INT64_C(1000000000)
/* What is on its way comes in this time, and nothing needs to be said. */
#define TELL_NS NS_PER_S
/* The server gives it out again after the consumer's ack_wait, and it is on its way. */
#define AFTER_WAIT_NS (3 * NS_PER_S)
#define RECOUNT_NS NS_PER_S
/* Until it is asked again: not without its word is anything given up. */
#define NO_ANSWER_NS (3 * NS_PER_S)

static void missing_end(struct missing *missing)
{
    missing->n = 0;
    timer_stop(&missing->timer);
    status_changed();
    missing->over(missing);
}

static void missing_wait(struct missing *missing, uint64_t n)
{
    if (!n || missing->is_shared)
        return;
    if (!missing->n)
        others_greet(&missing->others);
    missing->n += n;
    missing->stage = MISSING_NEW;
    timer_set(&missing->timer, TELL_NS);
}

static int missing_count(struct missing *missing, uint64_t *ret_n, bool *ret_is_sure)
{
    struct consumer_state state;
    uint64_t n_known;
    int r = missing->look(missing, &state, &n_known, ret_is_sure);

    if (r < 0)
        return r;
    missing->counted = state.n_delivered;
    missing->next = state.n_delivered + 1;
    *ret_n = state.n_ack_pending > n_known ? state.n_ack_pending - n_known : 0;
    return 0;
}

static void missing_tell(struct missing *missing)
{
    log_line("%s: newer messages wait for %" PRIu64 " that went elsewhere, until they come again",
             missing->what, missing->n);
    missing->stage = MISSING_TOLD;
    timer_set(&missing->timer, missing->ack_wait_ns + AFTER_WAIT_NS);
    status_changed();
}

static void missing_give_up(struct missing *missing)
{
    log_line("%s: %" PRIu64 " are not waited for any more: another importer has them",
             missing->what, missing->n);
    missing->is_shared = true;
    missing_end(missing);
}

static void missing_expired(struct timer *timer)
{
    struct missing *missing = container_of(timer, struct missing, timer);
    bool is_sure = false;
    uint64_t n = 0;

    if (missing_count(missing, &n, &is_sure) < 0) {
        timer_set(timer, NO_ANSWER_NS);
        return;
    }
    if (is_sure)
        missing->n = n;
    if (!missing->n) {
        missing_end(missing);
    } else if (missing->stage == MISSING_NEW) {
        missing_tell(missing);
    } else if (missing->stage == MISSING_TOLD) {
        missing->stage = MISSING_RECOUNTED;
        timer_set(timer, RECOUNT_NS);
    } else {
        missing_give_up(missing);
    }
}

static void missing_hears(struct others *others)
{
    struct missing *missing = container_of(others, struct missing, others);

    missing->is_shared = true;
    if (missing->n)
        missing_end(missing);
}

int missing_init(struct missing *missing)
{
    int r = timer_init(&missing->timer, missing_expired);

    return r < 0 ? r : others_init(&missing->others, missing_hears);
}

void missing_deinit(struct missing *missing)
{
    timer_deinit(&missing->timer);
    others_deinit(&missing->others);
}

void missing_forget(struct missing *missing)
{
    missing->is_shared = false;
}

int missing_begin(struct missing *missing, const char *durable, const struct consumer *consumer)
{
    bool is_sure;
    uint64_t n;
    int r = missing_count(missing, &n, &is_sure);

    if (r < 0)
        return r;
    missing->n = 0;
    timer_stop(&missing->timer);
    others_enter(&missing->others, durable, consumer->created_ns);
    missing->ack_wait_ns = consumer->ack_wait_ns;
    others_greet(&missing->others);
    missing_wait(missing, n);
    return 0;
}

void missing_watch(struct missing *missing, uint64_t delivery)
{
    if (missing->next && delivery > missing->next)
        missing_wait(missing, delivery - missing->next);
    if (delivery >= missing->next)
        missing->next = delivery + 1;
}

void missing_found(struct missing *missing, uint64_t delivery, bool is_repeated)
{
    if (missing->n && (is_repeated || delivery <= missing->counted) && --missing->n == 0)
        missing_end(missing);
}
