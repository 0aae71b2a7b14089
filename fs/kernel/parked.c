/* Whoever is interrupted is cancelled in the engine; the completion that this brings is left to the deferred work,
 * for libfuse holds the request's lock. parked_free() waits for an interrupt that is just being handled, so it is
 * called with no lock held that cancelling needs. */
#include "parked.h"

#include <errno.h>
#include <stdlib.h>

#include "deferred.h"

/* libfuse holds the request's lock, so the answer is left to another thread. */
static void parked_on_interrupt(fuse_req_t req, void *data)
{
    struct parked *parked = data;
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    (void)req;
    mbox_cancel(parked->mbox, &parked->op, &ready);
    deferred_complete(parked->deferred, &ready);
}

struct parked *parked_new(struct file *file, struct mbox *mbox, fuse_req_t req, size_t size,
                          void (*complete)(struct mbox_op *op, struct mbox_ready *ready))
{
    struct parked *parked = malloc(sizeof(*parked));

    if (!parked)
        return NULL;
    *parked = (struct parked){
        .op = { .complete = complete, .max_bytes = SIZE_MAX, .who = fuse_req_ctx(req)->pid },
        .req = req,
        .file = file_ref(file),
        .mbox = mbox,
        .deferred = file->files->deferred,
        .size = size,
    };
    fuse_req_interrupt_func(req, parked_on_interrupt, parked);
    return parked;
}

static void answer_without_file(struct mbox_op *op, struct mbox_ready *ready)
{
    struct parked *parked = parked_of(op);
    fuse_req_t req = parked->req;
    int result = op->result;

    (void)ready;
    parked_free(parked);
    fuse_reply_err(req, -result);
}

struct parked *parked_new_for(struct mbox *mbox, fuse_req_t req, struct deferred *deferred)
{
    struct parked *parked = malloc(sizeof(*parked));

    if (!parked)
        return NULL;
    *parked = (struct parked){
        .op = { .complete = answer_without_file, .who = fuse_req_ctx(req)->pid },
        .req = req,
        .mbox = mbox_ref(mbox),
        .deferred = deferred,
    };
    fuse_req_interrupt_func(req, parked_on_interrupt, parked);
    return parked;
}

void parked_free(struct parked *parked)
{
    /* Waits for a running parked_on_interrupt. */
    fuse_req_interrupt_func(parked->req, NULL, NULL);
    if (parked->file)
        file_unref(parked->file);
    else
        mbox_unref(parked->mbox);
    free(parked);
}

struct ended parked_end(struct mbox_op *op)
{
    struct parked *parked = parked_of(op);
    struct ended ended = {
        .file = file_ref(parked->file),
        .req = parked->req,
        .size = parked->size,
        .max_bytes = op->max_bytes,
        .seen = op->seen,
        .result = op->result,
        .entry = op->entry,
    };

    parked_free(parked);
    return ended;
}

void parked_answer(struct mbox_op *op, struct mbox_ready *ready)
{
    struct ended ended = parked_end(op);

    (void)ready;
    fuse_reply_err(ended.req, -ended.result);
    file_unref(ended.file);
}

static void parked_forget(struct mbox_op *op, struct mbox_ready *ready)
{
    (void)ready;
    free(op);
}

struct mbox_op *detached_op_new(void)
{
    struct mbox_op *op = calloc(1, sizeof(*op));

    if (op)
        op->complete = parked_forget;
    return op;
}

int parked_take(struct file *file, fuse_req_t req, size_t size, const struct mbox_op *wanted,
                void (*complete)(struct mbox_op *op, struct mbox_ready *ready),
                struct mbox_entry **ret_entry, struct mbox_ready *ready)
{
    struct parked *parked = parked_new(file, file->mbox, req, size, complete);
    int r;

    if (!parked)
        return -ENOMEM;
    parked->op.max_bytes = wanted->max_bytes;
    parked->op.seen = wanted->seen;
    parked->op.leases = wanted->leases;
    r = mbox_take(file->mbox, &parked->op, ret_entry, ready);
    if (r != MBOX_PARKED)
        parked_free(parked);
    return r;
}
