/* Who waits is in the list from before its op is given to the engine until its completion has the turn, so that
 * whoever leaves something of a message finds all who could take it. */
#include "readers.h"

#include <errno.h>
#include <fcntl.h>

void readers_init(struct readers *readers)
{
    pthread_mutex_init(&readers->turn, NULL);
    TAILQ_INIT(&readers->waiting);
}

void readers_deinit(struct readers *readers)
{
    pthread_mutex_destroy(&readers->turn);
}

void readers_lock(struct readers *readers)
{
    pthread_mutex_lock(&readers->turn);
}

void readers_unlock(struct readers *readers)
{
    pthread_mutex_unlock(&readers->turn);
}

static int take_parked(struct readers *readers, struct parked *parked, const struct mbox_op *wanted,
                       struct mbox_entry **ret_entry, struct mbox_ready *ready)
{
    int r;

    parked->op.max_bytes = wanted->max_bytes;
    parked->op.seen = wanted->seen;
    parked->op.leases = wanted->leases;
    TAILQ_INSERT_TAIL(&readers->waiting, parked, link);
    r = mbox_take(parked->mbox, &parked->op, ret_entry, ready);
    if (r != MBOX_PARKED) {
        TAILQ_REMOVE(&readers->waiting, parked, link);
        parked_free(parked);
    }
    return r;
}

int readers_take(struct readers *readers, struct file *file, fuse_req_t req, size_t size, int flags,
                 const struct mbox_op *wanted,
                 void (*complete)(struct mbox_op *op, struct mbox_ready *ready),
                 struct mbox_entry **ret_entry, struct mbox_ready *ready)
{
    struct mbox_op now = {
        .nonblock = true,
        .max_bytes = wanted->max_bytes,
        .seen = wanted->seen,
        .leases = wanted->leases,
    };
    struct parked *parked;
    int r = mbox_take(file->mbox, &now, ret_entry, ready);

    if (r != -EAGAIN || flags & O_NONBLOCK)
        return r;
    parked = parked_new(file, file->mbox, req, size, complete);
    return parked ? take_parked(readers, parked, wanted, ret_entry, ready) : -ENOMEM;
}

struct ended readers_return(struct readers *readers, struct mbox_op *op)
{
    struct parked *parked = parked_of(op);

    readers_lock(readers);
    TAILQ_REMOVE(&readers->waiting, parked, link);
    return parked_end(op);
}

void readers_call(struct readers *readers, struct mbox_ready *ready)
{
    struct parked *parked;

    TAILQ_FOREACH(parked, &readers->waiting, link)
        mbox_cancel(parked->mbox, &parked->op, ready);
}

bool readers_was_called(const struct ended *ended)
{
    return ended->result == -EINTR && !fuse_req_interrupted(ended->req);
}

bool readers_was_told_before(const struct ended *ended, uint64_t seen)
{
    return ended->seen != seen && mbox_asks_seen(ended->file->mbox);
}
