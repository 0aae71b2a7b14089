/* What a handle has received and not yet handed on is a list of parts: the bytes of a message from
 * an offset on, and then its end of file. Mostly there is one; two processes that share a handle
 * can have received one each.
 *
 * With O_DIRECT (packet mode) a read is a whole message, and there are no parts. */
#include "recv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>

#include "parked.h"

struct part {
    struct msg *msg; /* a reference */
    size_t offset;   /* where the next read goes on; msg->size_bytes: its end is still to be told */
    TAILQ_ENTRY(part) link;
};

struct recv_file {
    struct file file;
    TAILQ_HEAD(, part) parts; /* under file.lock */
};

static void part_free(struct part *part)
{
    msg_unref(part->msg);
    free(part);
}

/* Remembers that the first @offset bytes of @msg were handed on. Return: 0; -ENOMEM. */
static int add_part(struct recv_file *recv, struct msg *msg, size_t offset)
{
    struct part *part = malloc(sizeof(*part));

    if (!part)
        return -ENOMEM;
    *part = (struct part){ .msg = msg_ref(msg), .offset = offset };
    pthread_mutex_lock(&recv->file.lock);
    TAILQ_INSERT_TAIL(&recv->parts, part, link);
    pthread_mutex_unlock(&recv->file.lock);
    return 0;
}

/* Takes back what add_part did, unless somebody has read on meanwhile. */
static void remove_part(struct recv_file *recv, const struct msg *msg)
{
    struct part *part;

    pthread_mutex_lock(&recv->file.lock);
    TAILQ_FOREACH(part, &recv->parts, link) {
        if (part->msg == msg)
            break;
    }
    if (part)
        TAILQ_REMOVE(&recv->parts, part, link);
    pthread_mutex_unlock(&recv->file.lock);
    if (part)
        part_free(part);
}

/* A read that has found something to hand on of what was received before. */
struct continuation {
    struct msg *msg; /* a reference; NULL: end of file */
    size_t offset;
    size_t size;
};

/* Return: whether there was something. @later_part: of a call that the kernel had to split, which
 * has got all but the end already: the end is for the next call. */
static bool continue_part(struct recv_file *recv, size_t size, bool later_part,
                          struct continuation *ret)
{
    struct part *ended = NULL;
    struct part *part;

    pthread_mutex_lock(&recv->file.lock);
    part = TAILQ_FIRST(&recv->parts);
    *ret = (struct continuation){ 0 };
    if (part && part->offset < part->msg->size_bytes) {
        size_t left = part->msg->size_bytes - part->offset;

        ret->msg = msg_ref(part->msg);
        ret->offset = part->offset;
        ret->size = size < left ? size : left;
        part->offset += ret->size;
    } else if (part && !later_part) {
        TAILQ_REMOVE(&recv->parts, part, link);
        ended = part;
    }
    pthread_mutex_unlock(&recv->file.lock);
    if (ended)
        part_free(ended);
    return part;
}

/* The reply did not arrive: the next read starts again where this one did. */
static void rewind_part(struct recv_file *recv, const struct continuation *given)
{
    struct part *part;

    pthread_mutex_lock(&recv->file.lock);
    part = TAILQ_FIRST(&recv->parts);
    if (part && part->msg == given->msg && part->offset == given->offset + given->size)
        part->offset = given->offset;
    pthread_mutex_unlock(&recv->file.lock);
}

static void answer_continuation(struct recv_file *recv, fuse_req_t req,
                                const struct continuation *given)
{
    const char *data = given->msg ? (const char *)given->msg->data + given->offset : NULL;

    if (fuse_reply_buf(req, data, given->size) < 0 && given->msg)
        rewind_part(recv, given);
    msg_unref(given->msg);
}

/* Answers @req with @msg, which is in flight: it leaves the mailbox only if the kernel takes the
 * answer. The caller holds a reference to the file. */
static void deliver(struct recv_file *recv, fuse_req_t req, struct msg *msg, size_t size,
                    bool packet, struct mbox_ready *ready)
{
    struct mbox *mbox = recv->file.mbox;
    size_t n = size < msg->size_bytes ? size : msg->size_bytes;
    bool has_part = !packet && msg->size_bytes > 0;

    /* Before the answer: the reader's next call may come before this one returns. */
    if (has_part && add_part(recv, msg, n) < 0) {
        fuse_reply_err(req, ENOMEM);
        mbox_abort(mbox, msg, ready);
        return;
    }
    if (fuse_reply_buf(req, (const char *)msg->data, n) < 0) {
        if (has_part)
            remove_part(recv, msg);
        mbox_abort(mbox, msg, ready);
        return;
    }
    mbox_commit(mbox, msg, ready);
    msg_unref(msg);
}

static void complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct parked *parked = parked_of(op);
    struct file *file = file_ref(parked->file);
    struct mbox_op done = *op;
    fuse_req_t req = parked->req;
    size_t size = parked->size;

    parked_free(parked);
    if (done.result < 0)
        fuse_reply_err(req, -done.result);
    else
        deliver((struct recv_file *)file, req, done.msg, size, done.max_bytes != SIZE_MAX, ready);
    file_unref(file);
}

/* Return: as mbox_take. */
static int take_waiting(struct file *file, fuse_req_t req, size_t size, size_t max_bytes,
                        struct msg **ret_msg)
{
    struct parked *parked = parked_new(file, req, size, complete);
    int r;

    if (!parked)
        return -ENOMEM;
    parked->op.max_bytes = max_bytes;
    r = mbox_take(file->mbox, &parked->op, ret_msg);
    if (r != MBOX_PARKED)
        parked_free(parked);
    return r;
}

static void receive(struct recv_file *recv, fuse_req_t req, size_t size, int flags)
{
    struct file *file = &recv->file;
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    bool packet = flags & O_DIRECT;
    struct mbox_op op = { .nonblock = true, .max_bytes = packet ? size : SIZE_MAX };
    struct msg *msg;
    int r;

    r = mbox_take(file->mbox, &op, &msg);
    if (r == -EAGAIN && !(flags & O_NONBLOCK))
        r = take_waiting(file, req, size, op.max_bytes, &msg);
    if (r < 0)
        fuse_reply_err(req, -r);
    else if (r == 0)
        deliver(recv, req, msg, size, packet, &ready);
    mbox_ready_run(&ready);
}

static void recv_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    struct recv_file *recv = (struct recv_file *)file;
    struct continuation given;

    file_ref(file);
    if (continue_part(recv, size, offset > 0, &given))
        answer_continuation(recv, req, &given);
    else
        receive(recv, req, size, flags);
    file_unref(file);
}

static bool recv_has_unread(struct file *file)
{
    struct recv_file *recv = (struct recv_file *)file;
    bool has_unread;

    pthread_mutex_lock(&file->lock);
    has_unread = !TAILQ_EMPTY(&recv->parts);
    pthread_mutex_unlock(&file->lock);
    return has_unread;
}

static void recv_close(struct file *file)
{
    struct recv_file *recv = (struct recv_file *)file;
    struct part *part;

    while ((part = TAILQ_FIRST(&recv->parts))) {
        TAILQ_REMOVE(&recv->parts, part, link);
        part_free(part);
    }
}

static const struct file_ops recv_ops = {
    .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH,
    .events = MBOX_READABLE,
    .read = recv_read,
    .has_unread = recv_has_unread,
    .close = recv_close,
    .size = sizeof(struct recv_file),
};

int recv_open(struct fs *fs, struct mbox *mbox, struct file **ret_file)
{
    int r = file_new(fs, &recv_ops, mbox, ret_file);

    if (r == 0)
        TAILQ_INIT(&((struct recv_file *)*ret_file)->parts);
    return r;
}
