/* A scenario: something that is done once for each of its faults, in a world that is made anew each time.
 *
 * After each fault: the call failed with an errno that the header names, or did not fail; the world is usable; and when it
 * is gone, so is all that was held. */
#ifndef IPCFS_TESTS_SCENARIO_H
#define IPCFS_TESTS_SCENARIO_H

#include <errno.h>

#include "core/mailbox/mbox.h"
#include "core/mailbox/names.h"

/* Of the domain. */
#define WORLD_BYTES (UINT64_C(64) << 20)

#define WORLD_UID 7

struct world {
    struct mbox_domain domain;
    struct mbox_ready ready;
    struct mbox *mbox; /* two mailboxes on the heap */
    struct mbox *other;
    struct mbox_op ops[4]; /* ops[0] is act()'s */
    unsigned int n_completed;
    struct mbox_entry *in_flight; /* one that act() is to end */
    struct msg *held;             /* as well */
    void *own;                    /* the scenario's, if prepare() made it; free()d in the end */
};

struct scenario {
    const char *name;
    /* Without faults. */
    void (*prepare)(struct world *world);
    /* With one. Return: what the call returned. */
    int (*act)(struct world *world);
    /* Without faults, after act() returned @result; may be NULL. */
    void (*verify)(struct world *world, int result);
    /* Without faults, before the mailboxes go; may be NULL. */
    void (*finish)(struct world *world);
    int expected; /* without a fault */
    int errnos
        [6]; /* what the header names for want of memory, descriptors, threads: positive, 0 last */
};

void scenario_run(const struct scenario *scenario);

/* As scenario_run(), for one of as many as @n_max faults. */
void scenario_run_up_to(const struct scenario *scenario, unsigned int n_max);

/* --- For scenarios --- */

int world_post(struct world *world, struct mbox *to, const char *text, struct mbox_op *op);
/* Return: the next message's text is @text, and it has been committed. */
bool world_receive(struct world *world, struct mbox *from, const char *text);
void world_configure(struct world *world, struct mbox *mbox, const char *text);
struct mbox_op world_op(void);
unsigned int world_n_queued(struct mbox *mbox);

#endif
