/* Without O_DIRECT a message is followed by an end of file, and what a read leaves of it is for the
 * next one. With it (packet mode) a read is a whole message. */
#include "recv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>

#include "owner.h"
#include "parked.h"
#include "unread.h"

struct recv_file {
    struct file file;
    struct unread unread;
};

/* Answers @req with @msg, which is in flight: it leaves the mailbox only if the kernel takes the
 * answer. The caller holds a reference to the file. */
static void deliver(struct recv_file *recv, fuse_req_t req, struct msg *msg, size_t size,
                    bool packet, struct mbox_ready *ready)
{
    struct mbox *mbox = recv->file.mbox;
    size_t n = size < msg->size_bytes ? size : msg->size_bytes;
    bool is_followed = !packet && msg->size_bytes > 0;

    /* Before the answer: the reader's next call may come before this one returns. */
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

static void complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct ended ended = parked_end(op);
    bool packet = ended.max_bytes != SIZE_MAX;

    if (ended.result < 0)
        fuse_reply_err(ended.req, -ended.result);
    else
        deliver((struct recv_file *)ended.file, ended.req, ended.msg, ended.size, packet, ready);
    file_unref(ended.file);
}

static void receive(struct recv_file *recv, fuse_req_t req, size_t size, int flags)
{
    struct file *file = &recv->file;
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    bool packet = flags & O_DIRECT;
    struct mbox_op op = { .nonblock = true, .max_bytes = packet ? size : SIZE_MAX };
    struct msg *msg;
    int r;

    r = mbox_take(file->mbox, &op, &msg, &ready);
    if (r == -EAGAIN && !(flags & O_NONBLOCK))
        r = parked_take(file, req, size, op.max_bytes, complete, &msg, &ready);
    if (r < 0)
        fuse_reply_err(req, -r);
    else if (r == 0)
        deliver(recv, req, msg, size, packet, &ready);
    mbox_ready_run(&ready);
}

static void recv_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
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

static bool recv_has_unread(struct file *file)
{
    return !unread_is_empty(&((struct recv_file *)file)->unread);
}

static void recv_close(struct file *file)
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

int recv_open(struct fs *fs, struct mbox *mbox, struct file **ret_file)
{
    int r = file_new(fs, &recv_ops, mbox, ret_file);

    if (r == 0)
        unread_init(&((struct recv_file *)*ret_file)->unread, *ret_file);
    return r;
}
