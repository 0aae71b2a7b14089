/* An open `call` reads from an inbox of its own and writes to the mailbox, as an end of a link does. What comes to the
 * inbox is read as from `recv`: the answer, and then one end of file; or the question's failure, once.
 *
 * While no question is open and nothing is left to read, a read is an end of file: nobody could end its waiting. So a
 * shell that reads by `read`, or by `cat` up to the end of file, asks and asks again on one descriptor. A new question
 * forgets what was not read of the last answer. */
#include "call.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>

#include "core/mailbox/call.h"
#include "fs/kernel/caller.h"
#include "fs/kernel/kernel.h"
#include "recv.h"
#include "send.h"

struct call_file {
    struct recv_file recv;
    struct asker *asker; /* its inbox is the file's mailbox, with that one's reference */
    _Atomic pid_t last_pid;
};

/* An asker by itself, and what it counts for its opener while the file is open, with what malloc adds. */
struct call_asker {
    struct asker asker;
    struct quota *quota;
    uid_t uid;
};

#define ASKER_KEPT_BYTES (sizeof(struct call_asker) + 32)

static void release_asker(struct asker *asker)
{
    struct call_asker *call = (struct call_asker *)asker;

    quota_release_kept(call->quota, call->uid, ASKER_KEPT_BYTES, QUOTA_OPEN);
    free(call);
}

/* Return: 0 with an asker, with one reference to its inbox; a negative errno. */
static int new_asker(struct mbox_domain *domain, uid_t uid, struct asker **ret_asker)
{
    struct quota *quota = &domain->quota;
    struct call_asker *call;
    int r = quota_charge_kept(quota, uid, ASKER_KEPT_BYTES, QUOTA_OPEN);

    if (r < 0)
        return r;
    call = malloc(sizeof(*call));
    if (!call) {
        quota_release_kept(quota, uid, ASKER_KEPT_BYTES, QUOTA_OPEN);
        return -ENOMEM;
    }
    call->quota = quota;
    call->uid = uid;
    asker_init(&call->asker, domain, release_asker);
    *ret_asker = &call->asker;
    return 0;
}

static struct asker *asker_of(struct file *file)
{
    return ((struct call_file *)file)->asker;
}

/* Whether there is a message to wait for. Return: RECV_GOES_ON; 0: end of file; -EIDRM. */
static int check_read(struct recv_file *recv)
{
    struct file *file = &recv->file;

    /* In this order: what ends a question is in the inbox before it is over. */
    if (asker_waits(asker_of(file)) || mbox_poll(file->mbox, NULL) & MBOX_READABLE)
        return RECV_GOES_ON;
    return mbox_poll(file->out, NULL) & MBOX_REMOVED ? -EIDRM : 0;
}

static bool call_has_unread(struct file *file)
{
    return recv_has_unread(file) || check_read((struct recv_file *)file) != RECV_GOES_ON;
}

/* A question that was moved before its mailbox went is answered elsewhere: its asker has something to wait for. */
static bool call_ends_with_mailbox(struct file *file)
{
    return !asker_waits(asker_of(file));
}

/* The question did not come to be. Who waits for its answer is told. */
static void take_back(struct file *file, struct mbox_ready *ready)
{
    struct recv_file *recv = (struct recv_file *)file;

    asker_take_back(asker_of(file));
    readers_lock(&recv->readers);
    readers_call(&recv->readers, ready);
    readers_unlock(&recv->readers);
    file_wake(file);
}

static void call_complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct ended ended = parked_end(op);

    if (ended.result < 0)
        take_back(ended.file, ready);
    send_answer(ended.req, ended.result, ended.size);
    file_unref(ended.file);
}

static int ask_waiting(struct file *file, fuse_req_t req, struct msg *msg, bool nonblock,
                       struct mbox_ready *ready)
{
    struct parked *parked = parked_new(file, file->out, req, msg->size_bytes, call_complete);
    int r;

    if (!parked)
        return -ENOMEM;
    parked->op.nonblock = nonblock;
    r = asker_ask(asker_of(file), file->out, msg, file->opener.uid, &parked->op, ready);
    if (r != MBOX_PARKED)
        parked_free(parked);
    return r;
}

/* Return: as asker_ask. */
static int call_put_question(struct file *file, fuse_req_t req, struct msg *msg, bool nonblock,
                             struct mbox_ready *ready)
{
    struct recv_file *recv = (struct recv_file *)file;
    int r;

    /* Nobody reads meanwhile. */
    readers_lock(&recv->readers);
    r = asker_ask(asker_of(file), file->out, msg, file->opener.uid, NULL, ready);
    if (r == -EAGAIN)
        r = ask_waiting(file, req, msg, nonblock, ready);
    if (r >= 0)
        recv_forget(recv);
    readers_unlock(&recv->readers);
    return r;
}

static void call_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                       off_t offset, int flags)
{
    struct call_file *call = (struct call_file *)file;
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct msg *msg;
    int r = send_check(file, size, offset, flags);

    if (r < 0) {
        fuse_reply_err(req, -r);
        return;
    }
    msg = msg_new(data, size, 0, caller_as_writer(req, file, &call->last_pid));
    if (!msg) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    file_ref(file);
    r = call_put_question(file, req, msg, flags & O_NONBLOCK, &ready);
    if (r != MBOX_PARKED)
        send_answer(req, r, size);
    msg_unref(msg);
    mbox_ready_run(&ready);
    file_unref(file);
}

static void call_release(struct file *file)
{
    asker_take_back(asker_of(file));
}

static const struct file_ops call_ops = {
    .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES,
    .keeps_from_cache = true,
    .events = MBOX_READABLE | MBOX_WRITABLE,
    .ends_with_out = call_ends_with_mailbox,
    .read = recv_read,
    .write = call_write,
    .has_unread = call_has_unread,
    .release = call_release,
    .close = recv_close,
    .size = sizeof(struct call_file),
};

int call_open(struct kernel *kernel, struct mbox *mbox, uid_t uid, struct file **ret_file)
{
    struct call_file *call;
    struct asker *asker;
    int r = new_asker(mbox->domain, uid, &asker);

    if (r < 0)
        return r;
    r = recv_file_new(kernel, &call_ops, &asker->inbox, ret_file);
    if (r == 0) {
        call = (struct call_file *)*ret_file;
        call->asker = asker;
        call->recv.goes_on = true;
        call->recv.check = check_read;
        file_set_out(*ret_file, mbox);
    }
    /* The file has its own reference. */
    mbox_unref(&asker->inbox);
    return r;
}
