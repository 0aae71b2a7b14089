/* A message must come in one WRITE, for a part would be a message too: what is longer than surely comes in one, or
 * is a later part of a split write, is refused whole. Who finds no room
 * is parked with the message, which is charged to him by then. */
#include "send.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>

#include "fs/kernel/caller.h"
#include "core/mailbox/pair.h"
#include "fs/kernel/kernel.h"
#include "fs/kernel/parked.h"

struct send_file {
    struct file file;
    _Atomic pid_t last_pid; /* as send_message has it */
};

static struct mbox *destination(struct file *file)
{
    return file->out ? file->out : file->mbox;
}

void send_answer(fuse_req_t req, int result, size_t size)
{
    if (result < 0)
        fuse_reply_err(req, -result);
    else
        fuse_reply_write(req, size);
}

static void send_answer_file(struct file *file, fuse_req_t req, int result, size_t size)
{
    send_answer(req, file->out ? link_send_result(result) : result, size);
}

static void send_complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct ended ended = parked_end(op);

    (void)ready;
    send_answer_file(ended.file, ended.req, ended.result, ended.size);
    file_unref(ended.file);
}

/* Posts with an op, for where it has to wait. Return: as mbox_post. */
static int post_waiting(struct file *file, fuse_req_t req, struct msg *msg, bool nonblock,
                        struct mbox_ready *ready)
{
    struct parked *parked = parked_new(file, destination(file), req, msg->size_bytes,
                                       send_complete);
    int r;

    if (!parked)
        return -ENOMEM;
    parked->op.nonblock = nonblock;
    r = mbox_post(destination(file), msg, &parked->op, ready);
    if (r != MBOX_PARKED)
        parked_free(parked);
    return r;
}

/* The kernel cuts a writev after so many pieces, of which none is empty. */
#define CUT_BYTES_MIN 256

/* A write longer than one WRITE can carry comes in parts, of which already the first is longer
 * than any message may be: nothing of it is queued. Only a writev of more than CUT_BYTES_MIN pieces can be
 * split below that size; its later parts are refused, so that the short count tells the writer. They have an offset, as
 * what comes by splice and sendfile has after the first time, unless O_APPEND gives each one; a first part has none, and is
 * answered before the next is sent. */
static bool is_later_part(struct file *file, size_t size, off_t offset, int flags)
{
    if (flags & O_APPEND)
        return false;
    if (offset == 0 && size >= CUT_BYTES_MIN)
        file->may_be_cut = true;
    return offset > 0 && file->may_be_cut;
}

int send_check(struct file *file, size_t size, off_t offset, int flags)
{
    bool is_later = is_later_part(file, size, offset, flags);

    return size > file->kernel->one_write_bytes || is_later ? -EMSGSIZE : 0;
}

void send_message(struct file *file, fuse_req_t req, const char *data, size_t size, off_t offset,
                  int flags, unsigned int prio, _Atomic pid_t *last_pid)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    /* Once it is parked the answer, by whatever thread, can bring the file's release. */
    struct kernel *kernel = file->kernel;
    struct msg *msg;
    int r = send_check(file, size, offset, flags);

    if (r < 0) {
        fuse_reply_err(req, -r);
        return;
    }
    msg = msg_new(data, size, prio, caller_as_writer(req, file, last_pid));
    if (!msg) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    r = mbox_post(destination(file), msg, NULL, &ready);
    if (r == -EAGAIN)
        r = post_waiting(file, req, msg, flags & O_NONBLOCK, &ready);
    msg_unref(msg);
    /* Whoever waits for the message first: its processor wakes up while the sender is answered. Of a topic that may be
     * thousands. */
    deferred_run_ready(&kernel->long_work, &ready);
    if (r != MBOX_PARKED)
        send_answer_file(file, req, r, size);
}

static void send_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                       off_t offset, int flags)
{
    struct send_file *send = (struct send_file *)file;

    send_message(file, req, data, size, offset, flags, file->prio, &send->last_pid);
}

static const struct file_ops send_ops = {
    .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES,
    .events = MBOX_WRITABLE,
    .write = send_write,
    .size = sizeof(struct send_file),
};

int send_open(struct kernel *kernel, struct mbox *mbox, unsigned int prio, struct file **ret_file)
{
    int r = file_new(&kernel->files, &send_ops, mbox, ret_file);

    if (r == 0)
        (*ret_file)->prio = prio;
    return r;
}
