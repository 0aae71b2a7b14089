/* A request begins with a struct call on the handler's stack. Only one that asks (CALLER_ASKS) is copied to the
 * heap, with its names, and run from there when the answer comes; who frees it is whoever answers the request. */
#include "call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "caller_descent.h"
#include "kernel.h"

static void call_free(struct call *call)
{
    free((char *)call->name);
    free((char *)call->to_name);
    free(call);
}

/* Return: 0 with a copy of @name, which may be NULL; -ENOMEM. */
static int copy_name(const char *name, const char **ret_copy)
{
    *ret_copy = name ? strdup(name) : NULL;
    return name && !*ret_copy ? -ENOMEM : 0;
}

/* Return: a copy of @call that outlives its handler; NULL when memory is short. */
static struct call *call_copy(const struct call *call)
{
    struct call *copy = malloc(sizeof(*copy));

    if (!copy)
        return NULL;
    *copy = *call;
    copy->caller.descents = &copy->descents;
    copy->name = copy->to_name = NULL;
    if (copy_name(call->name, &copy->name) == 0 && copy_name(call->to_name, &copy->to_name) == 0)
        return copy;
    call_free(copy);
    return NULL;
}

/* Return: 0: it will be answered; a negative errno. */
static int call_ask(struct call *call)
{
    struct kernel *kernel = fuse_req_userdata(call->req);
    struct question question = question_descends(call->caller.tid, call->descents.asked);
    int r;

    call->inquiry.req = call->req;
    r = inquiry_ask(&kernel->inquiries, &call->inquiry, &question);
    return r == INQUIRY_PARKED ? 0 : r;
}

/* Goes on with @call, which is on the heap. */
static void call_go_on(struct call *call)
{
    int r = call->run(call);

    if (r == CALLER_ASKS && (r = call_ask(call)) == 0)
        return;
    if (r < 0)
        fuse_reply_err(call->req, -r);
    call_free(call);
}

static void call_answered(struct inquiry *inquiry, int answer)
{
    struct call *call = (struct call *)inquiry;

    if (answer < 0) {
        fuse_reply_err(call->req, -answer);
        call_free(call);
        return;
    }
    caller_note_descent(&call->descents, answer);
    call_go_on(call);
}

void call_run(fuse_req_t req, struct call *call)
{
    struct call *copy;
    int r;

    call->req = req;
    call->inquiry.answered = call_answered;
    call->caller = caller_of(req);
    call->caller.descents = &call->descents;
    call->descents = (struct descents){ 0 };
    if (call->run(call) != CALLER_ASKS)
        return;
    copy = call_copy(call);
    r = copy ? call_ask(copy) : -ENOMEM;
    if (r == 0)
        return;
    fuse_reply_err(req, -r);
    if (copy)
        call_free(copy);
}
