/* Without O_DIRECT a message is followed by an end of file, and what a read leaves of it is for the
 * next one. With it (packet mode) a read is a whole message. */
#include "recv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>

#include "core/ring_mbox.h"
#include "owner.h"
#include "parked.h"

/* Answers @req with @msg, which is in flight: it leaves the mailbox only if the kernel takes the
 * answer. The caller holds a reference to the file. */
static void deliver(struct recv_file *recv, fuse_req_t req, struct msg *msg, size_t size,
                    bool packet, struct mbox_ready *ready)
{
    struct mbox *mbox = recv->file.mbox;
    size_t n = size < msg->size_bytes ? size : msg->size_bytes;
    bool is_followed = !packet && msg->size_bytes > 0;

    /* Before the answer: the reader's next call may come before this one returns. */
    recv->seen = msg->id;
    if (n == msg->size_bytes) {
        msg_discharge(msg);
    } else {
        int r = msg_charge_keeper(msg, &mbox->domain->quota, fuse_req_ctx(req)->uid);

        if (r < 0) {
            fuse_reply_err(req, -r);
            mbox_abort(mbox, msg, ready);
            return;
        }
    }
    if (is_followed && unread_add(&recv->unread, msg, n, true) < 0) {
        fuse_reply_err(req, ENOMEM);
        mbox_abort(mbox, msg, ready);
        return;
    }
    if (fuse_reply_buf(req, (const char *)msg->data, n) < 0) {
        if (is_followed)
            unread_remove(&recv->unread, msg);
        mbox_abort(mbox, msg, ready);
        return;
    }
    mbox_commit(mbox, msg, ready);
    msg_unref(msg);
}

/* Where nobody is left who could send, what was sent is followed by an end of file. */
static void answer_failure(fuse_req_t req, int result)
{
    if (result == -EPIPE)
        fuse_reply_buf(req, NULL, 0);
    else
        fuse_reply_err(req, -result);
}

static void complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct ended ended = parked_end(op);
    bool packet = ended.max_bytes != SIZE_MAX;

    if (ended.result < 0)
        answer_failure(ended.req, ended.result);
    else
        deliver((struct recv_file *)ended.file, ended.req, ended.msg, ended.size, packet, ready);
    file_unref(ended.file);
}

static void receive(struct recv_file *recv, fuse_req_t req, size_t size, int flags)
{
    struct file *file = &recv->file;
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    bool packet = flags & O_DIRECT;
    struct mbox_op op = {
        .nonblock = true,
        .max_bytes = packet ? size : SIZE_MAX,
        .seen = recv->seen,
    };
    struct msg *msg;
    int r;

    r = mbox_take(file->mbox, &op, &msg, &ready);
    if (r == -EAGAIN && !(flags & O_NONBLOCK))
        r = parked_take(file, req, size, &op, complete, &msg, &ready);
    if (r < 0)
        answer_failure(req, r);
    else if (r == 0)
        deliver(recv, req, msg, size, packet, &ready);
    mbox_ready_run(&ready);
}

void recv_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    struct recv_file *recv = (struct recv_file *)file;

    if (!owner_admits(file->mbox, fuse_req_ctx(req)->pid)) {
        fuse_reply_err(req, EBUSY);
        return;
    }
    file_ref(file);
    if (!unread_answer(&recv->unread, req, size, offset > 0)) {
        /* A later part of a call comes when the message that it began with is read to its end. */
        if (offset > 0)
            fuse_reply_buf(req, NULL, 0);
        else
            receive(recv, req, size, flags);
    }
    file_unref(file);
}

bool recv_has_unread(struct file *file)
{
    return !unread_is_empty(&((struct recv_file *)file)->unread);
}

void recv_close(struct file *file)
{
    unread_deinit(&((struct recv_file *)file)->unread);
}

static const struct file_ops recv_ops = {
    .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH,
    .events = MBOX_READABLE,
    .read = recv_read,
    .has_unread = recv_has_unread,
    .close = recv_close,
    .size = sizeof(struct recv_file),
};

int recv_file_new(struct fs *fs, const struct file_ops *ops, struct mbox *mbox,
                  struct file **ret_file)
{
    int r = file_new(fs, ops, mbox, ret_file);

    if (r == 0)
        unread_init(&((struct recv_file *)*ret_file)->unread, *ret_file);
    return r;
}

int recv_open(struct fs *fs, struct mbox *mbox, struct file **ret_file)
{
    return recv_file_new(fs, &recv_ops, mbox, ret_file);
}

/* The bell of a ring: a message says that the ring has changed. What counts is what this file has told. */

static void bell_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    ring_mbox_last_change(ring_mbox_of_bell(file->mbox));
    recv_read(file, req, size, offset, flags);
}

static void bell_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                       off_t offset, int flags)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    int r = ring_mbox_wake(ring_mbox_of_bell(file->mbox), &ready);

    (void)data;
    (void)offset;
    (void)flags;
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_write(req, size);
    mbox_ready_run(&ready);
}

static bool bell_has_unread(struct file *file)
{
    struct recv_file *recv = (struct recv_file *)file;

    return recv_has_unread(file) ||
           ring_mbox_last_change(ring_mbox_of_bell(file->mbox)) != recv->seen;
}

static const struct file_ops bell_ops = {
    .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES,
    .events = MBOX_READABLE | MBOX_WRITABLE,
    .read = bell_read,
    .write = bell_write,
    .has_unread = bell_has_unread,
    .close = recv_close,
    .size = sizeof(struct recv_file),
};

int recv_open_bell(struct fs *fs, struct mbox *bell, struct file **ret_file)
{
    struct recv_file *recv;
    int r = recv_file_new(fs, &bell_ops, bell, ret_file);

    if (r < 0)
        return r;
    recv = (struct recv_file *)*ret_file;
    recv->seen = ring_mbox_last_change(ring_mbox_of_bell(bell));
    /* It can be written to at any time: who was told of that whenever somebody looks would poll for ever. */
    (*ret_file)->watch.events = MBOX_READABLE;
    return 0;
}
