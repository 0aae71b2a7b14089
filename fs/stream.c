/* One read takes as many messages as it can carry. They are in flight until the kernel has taken the
 * answer; if it does not, all go back. A message that is longer than a read comes alone, and its
 * rest with the next reads. */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "envelope.h"
#include "owner.h"
#include "parked.h"
#include "unread.h"

/* A message as the reader sees it: some bytes, and maybe a newline. */
struct rendering {
    const char *text;
    size_t size;
    bool adds_newline;
    char *owned; /* what the text is part of; to be freed */
};

struct stream_ops {
    struct file_ops file;
    /* Return: 0; -ENOMEM. */
    int (*render)(const struct msg *msg, struct rendering *ret);
};

struct stream_file {
    struct file file;
    struct unread unread;
};

static size_t rendered_size(const struct rendering *rendering)
{
    return rendering->size + rendering->adds_newline;
}

static void put(const struct rendering *rendering, void *to)
{
    char *end = mempcpy(to, rendering->text, rendering->size);

    if (rendering->adds_newline)
        *end = '\n';
}

/* The answer to one read, as it grows. */
struct batch {
    struct stream_file *stream;
    char *data;
    size_t size; /* of data: what the reader asked for */
    size_t used;
    uid_t uid;              /* the reader's */
    TAILQ_HEAD(, msg) msgs; /* in flight */
    struct msg *cut;        /* the only message's rendering, if its rest is unread; a reference */
    struct mbox_ready *ready;
};

/* @rendering is longer than the read: fills that, and keeps all of it for the next ones.
 * Return: 0; -ENOMEM. */
static int cut(struct batch *batch, const struct rendering *rendering)
{
    size_t size = rendered_size(rendering);
    struct msg *whole = msg_alloc(size, 0, (struct msg_sender){ 0 });
    int r;

    if (!whole)
        return -ENOMEM;
    put(rendering, whole->data);
    whole->sender.uid = batch->uid;
    msg_recharge(whole, &batch->stream->file.mbox->domain->quota);
    memcpy(batch->data, whole->data, batch->size);
    batch->used = batch->size;
    r = unread_add(&batch->stream->unread, whole, batch->size, false);
    if (r == 0)
        batch->cut = whole;
    else
        msg_unref(whole);
    return r;
}

/* Adds @msg, which is in flight, if there is room. Return: 0: there was; -ENOBUFS; -ENOMEM. */
static int add(struct batch *batch, struct msg *msg)
{
    const struct stream_ops *ops = (const struct stream_ops *)batch->stream->file.ops;
    struct rendering rendering;
    int r = ops->render(msg, &rendering);

    if (r < 0)
        return r;
    if (rendered_size(&rendering) <= batch->size - batch->used) {
        put(&rendering, batch->data + batch->used);
        batch->used += rendered_size(&rendering);
    } else if (batch->used == 0) {
        r = cut(batch, &rendering);
    } else {
        r = -ENOBUFS;
    }
    if (r == 0)
        TAILQ_INSERT_TAIL(&batch->msgs, msg, link);
    free(rendering.owned);
    return r;
}

/* Adds what else waits, while it fits. */
static void fill(struct batch *batch)
{
    struct mbox *mbox = batch->stream->file.mbox;

    while (batch->used < batch->size) {
        struct mbox_op op = { .nonblock = true, .max_bytes = batch->size - batch->used };
        struct msg *msg;

        if (mbox_take(mbox, &op, &msg, batch->ready) < 0)
            return;
        if (add(batch, msg) < 0) {
            mbox_abort(mbox, msg, batch->ready);
            return;
        }
    }
}

static void settle(struct batch *batch, bool arrived)
{
    struct mbox *mbox = batch->stream->file.mbox;
    struct msg *msg;

    while ((msg = TAILQ_FIRST(&batch->msgs))) {
        TAILQ_REMOVE(&batch->msgs, msg, link);
        if (arrived) {
            mbox_commit(mbox, msg, batch->ready);
            msg_unref(msg);
        } else {
            mbox_abort(mbox, msg, batch->ready);
        }
    }
    if (!arrived && batch->cut)
        unread_remove(&batch->stream->unread, batch->cut);
    msg_unref(batch->cut);
}

/* Answers @req with @msg, which is in flight, and with what else waits. The caller holds a
 * reference to the file. */
static void deliver(struct stream_file *stream, fuse_req_t req, struct msg *msg, size_t size,
                    struct mbox_ready *ready)
{
    struct batch batch = {
        .stream = stream,
        .size = size,
        .uid = fuse_req_ctx(req)->uid,
        .ready = ready,
    };
    int r = -ENOMEM;

    TAILQ_INIT(&batch.msgs);
    batch.data = malloc(size);
    if (batch.data)
        r = add(&batch, msg);
    if (r < 0) {
        fuse_reply_err(req, -r);
        mbox_abort(stream->file.mbox, msg, ready);
    } else {
        fill(&batch);
        /* Before the answer: its receiver may send at once. */
        TAILQ_FOREACH(msg, &batch.msgs, link)
            msg_discharge(msg);
        settle(&batch, fuse_reply_buf(req, batch.data, batch.used) == 0);
    }
    free(batch.data);
}

/* A mailbox that is gone is the end of the stream. */
static void answer_failure(fuse_req_t req, int result)
{
    if (result == -EIDRM)
        fuse_reply_buf(req, NULL, 0);
    else
        fuse_reply_err(req, -result);
}

static void complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct ended ended = parked_end(op);

    if (ended.result < 0)
        answer_failure(ended.req, ended.result);
    else
        deliver((struct stream_file *)ended.file, ended.req, ended.msg, ended.size, ready);
    file_unref(ended.file);
}

static void receive(struct stream_file *stream, fuse_req_t req, size_t size, int flags)
{
    struct file *file = &stream->file;
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct msg *msg;
    int r;

    r = mbox_take(file->mbox, &op, &msg, &ready);
    if (r == -EAGAIN && !(flags & O_NONBLOCK))
        r = parked_take(file, req, size, &op, complete, &msg, &ready);
    if (r < 0)
        answer_failure(req, r);
    else if (r == 0)
        deliver(stream, req, msg, size, &ready);
    mbox_ready_run(&ready);
}

static void stream_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    struct stream_file *stream = (struct stream_file *)file;

    if (!owner_admits(file->mbox, fuse_req_ctx(req)->pid)) {
        fuse_reply_err(req, EBUSY);
        return;
    }
    file_ref(file);
    if (!unread_answer(&stream->unread, req, size, false)) {
        /* The later part of a call that the kernel had to split has got something already. */
        if (offset > 0)
            flags |= O_NONBLOCK;
        receive(stream, req, size, flags);
    }
    file_unref(file);
}

static bool stream_has_unread(struct file *file)
{
    return !unread_is_empty(&((struct stream_file *)file)->unread);
}

static void stream_close(struct file *file)
{
    unread_deinit(&((struct stream_file *)file)->unread);
}

static int render_line(const struct msg *msg, struct rendering *ret)
{
    *ret = (struct rendering){
        .text = (const char *)msg->data,
        .size = msg->size_bytes,
        .adds_newline = msg->size_bytes == 0 || msg->data[msg->size_bytes - 1] != '\n',
    };
    return 0;
}

static int render_json(const struct msg *msg, struct rendering *ret)
{
    char *text = envelope_format(msg);

    if (!text)
        return -ENOMEM;
    *ret = (struct rendering){
        .text = text,
        .size = strlen(text),
        .adds_newline = true,
        .owned = text,
    };
    return 0;
}

#define STREAM_FILE_OPS                                                                            \
    {                                                                                              \
        .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH, .events = MBOX_READABLE,     \
        .read = stream_read, .has_unread = stream_has_unread, .close = stream_close,               \
        .size = sizeof(struct stream_file),                                                        \
    }

static const struct stream_ops lines_ops = { .file = STREAM_FILE_OPS, .render = render_line };
static const struct stream_ops json_ops = { .file = STREAM_FILE_OPS, .render = render_json };

static int open_stream(struct fs *fs, struct mbox *mbox, const struct stream_ops *ops,
                       struct file **ret_file)
{
    int r = file_new(fs, &ops->file, mbox, ret_file);

    if (r == 0)
        unread_init(&((struct stream_file *)*ret_file)->unread, *ret_file);
    return r;
}

int stream_open_lines(struct fs *fs, struct mbox *mbox, struct file **ret_file)
{
    return open_stream(fs, mbox, &lines_ops, ret_file);
}

int stream_open_json(struct fs *fs, struct mbox *mbox, struct file **ret_file)
{
    return open_stream(fs, mbox, &json_ops, ret_file);
}
