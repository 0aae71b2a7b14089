/* The cases on the engine itself. */
#include "tests/core/contract/contract.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct engine {
    struct mbox_domain domain;
    struct mbox mbox;
    bool removed;
};

struct call {
    struct mbox_op op; /* first: the completion casts it back */
    struct engine *engine;
    bool is_send;
    bool ended;
    size_t size;
    int result;
    struct mbox_entry *entry; /* received */
};

static void release(struct mbox *mbox)
{
    mbox_deinit(mbox);
}

static void *make(void)
{
    struct engine *engine = calloc(1, sizeof(*engine));

    mbox_domain_init(&engine->domain, UINT64_C(1) << 30, UINT64_C(1) << 30);
    mbox_init(&engine->mbox, &engine->domain, release);
    return engine;
}

static void destroy(void *box)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct engine *engine = box;

    mbox_remove(&engine->mbox, true, &ready);
    mbox_ready_run(&ready);
    mbox_unref(&engine->mbox);
    mbox_domain_deinit(&engine->domain);
    free(engine);
}

static int configure(void *box, const char *text)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct engine *engine = box;
    int r = mbox_configure(&engine->mbox, text, strlen(text), &ready);

    mbox_ready_run(&ready);
    return r;
}

static int get_stat(void *box, struct mbox_stat *ret_stat)
{
    struct engine *engine = box;

    return mbox_get_stat(&engine->mbox, ret_stat);
}

static int remove_box(void *box)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct engine *engine = box;
    int r = mbox_remove(&engine->mbox, false, &ready);

    mbox_ready_run(&ready);
    return r;
}

static unsigned int poll_box(void *box)
{
    struct engine *engine = box;

    return mbox_poll(&engine->mbox, NULL);
}

static void end(struct call *call, int result, struct mbox_entry *entry, struct mbox_ready *ready)
{
    call->ended = true;
    call->result = result;
    if (call->is_send || result < 0)
        return;
    call->entry = entry;
    mbox_commit(&call->engine->mbox, entry, ready);
}

static void complete(struct mbox_op *op, struct mbox_ready *ready)
{
    end((struct call *)op, op->result, op->entry, ready);
}

static struct call *new_call(struct engine *engine, bool is_send, size_t max_bytes, bool nonblock)
{
    struct call *call = calloc(1, sizeof(*call));

    call->engine = engine;
    call->is_send = is_send;
    call->op.complete = complete;
    call->op.max_bytes = max_bytes;
    call->op.nonblock = nonblock;
    return call;
}

static struct call *start_send(void *box, const void *data, size_t size, unsigned int prio,
                               bool nonblock)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct call *call = new_call(box, true, 0, nonblock);
    struct msg *msg = msg_new(data, size, prio, (struct msg_sender){ .pid = 1 });
    int r;

    call->size = size;
    r = mbox_post(&call->engine->mbox, msg, &call->op, &ready);
    if (r != MBOX_PARKED)
        end(call, r, NULL, &ready);
    msg_unref(msg);
    mbox_ready_run(&ready);
    return call;
}

static struct call *start_recv(void *box, size_t max_bytes, bool nonblock)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct call *call = new_call(box, false, max_bytes, nonblock);
    struct mbox_entry *entry = NULL;
    int r = mbox_take(&call->engine->mbox, &call->op, &entry, &ready);

    if (r != MBOX_PARKED)
        end(call, r, entry, &ready);
    mbox_ready_run(&ready);
    return call;
}

static bool has_ended(struct call *call)
{
    return call->ended;
}

static void interrupt(struct call *call)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    mbox_cancel(&call->engine->mbox, &call->op, &ready);
    mbox_ready_run(&ready);
}

static ssize_t finish(struct call *call, void *data)
{
    ssize_t n = call->result;

    cr_assert(call->ended, "a call that should have ended waits");
    if (n == 0 && call->is_send)
        n = (ssize_t)call->size;
    if (call->entry) {
        const struct msg *msg = call->entry->msg;

        n = (ssize_t)msg->size_bytes;
        if (data)
            memcpy(data, msg->data, msg->size_bytes);
        mbox_entry_free(call->entry);
    }
    free(call);
    return n;
}

const struct driver contract_driver = {
    .at_once = true,
    .make = make,
    .destroy = destroy,
    .configure = configure,
    .stat = get_stat,
    .remove = remove_box,
    .poll = poll_box,
    .start_send = start_send,
    .start_recv = start_recv,
    .has_ended = has_ended,
    .interrupt = interrupt,
    .finish = finish,
};
