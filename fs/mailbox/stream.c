/* One read takes as many messages as it can carry. They are in flight until the kernel has taken the
 * answer; if it does not, all go back. A message that is longer than a read comes alone, and its
 * rest with the next reads; it is rendered as it is read. */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "envelope.h"
#include "fs/kernel/kernel.h"
#include "owner.h"
#include "readers.h"

/* A message's bytes, and a newline if there is none. */
struct line {
    const struct msg *msg;
    size_t offset;
    bool is_read;
};

/* A message on its way to its reader. May be copied, to read a part again. */
union rendering {
    struct line line;
    struct envelope envelope;
};

struct stream_ops {
    struct file_ops file;
    void (*begin)(union rendering *rendering, const struct mbox_entry *entry);
    /* Writes the next bytes, up to @size. Return: how many; maybe fewer than there are. */
    size_t (*read)(union rendering *rendering, char *to, size_t size);
    bool (*is_read)(const union rendering *rendering);
};

struct stream_file {
    struct file file;
    struct readers readers;
    /* With the turn: */
    struct mbox_entry *entry; /* what is not read to its end; NULL: nothing */
    union rendering rest;     /* its */
    uint64_t seen;            /* the id of the last message */
};

static const struct stream_ops *ops_of(const struct stream_file *stream)
{
    return (const struct stream_ops *)stream->file.ops;
}

static struct quota *stream_quota_of(const struct stream_file *stream)
{
    return &stream->file.mbox->domain->quota;
}

/* The answer to one read, as it grows. */
struct batch {
    struct stream_file *stream;
    char *data;
    size_t size; /* of data: what the reader asked for */
    size_t used;
    struct mbox_entries entries; /* in flight */
    bool is_cut;                 /* there is one, and of that a rest */
    union rendering rest;
    uint64_t seen; /* the id of the last message in it */
    struct mbox_ready *ready;
};

/* @entry's message is longer than the read: takes what there is of it. Return: 0; a negative errno: nobody has room
 * for what is left. */
static int stream_cut(struct batch *batch, struct mbox_entry *entry, const union rendering *rest,
                      size_t n)
{
    struct stream_file *stream = batch->stream;
    int r = mbox_entry_charge_keeper(entry, stream_quota_of(stream), stream->file.opener.uid);

    if (r < 0)
        return r;
    batch->is_cut = true;
    batch->rest = *rest;
    batch->used = n;
    return 0;
}

/* Adds @entry, which is in flight, if there is room. Return: 0: there was; -ENOBUFS; as stream_cut(). */
static int stream_add(struct batch *batch, struct mbox_entry *entry)
{
    const struct stream_ops *ops = ops_of(batch->stream);
    union rendering rendering;
    int r = 0;
    size_t n;

    ops->begin(&rendering, entry);
    n = ops->read(&rendering, batch->data + batch->used, batch->size - batch->used);
    if (ops->is_read(&rendering))
        batch->used += n;
    else if (batch->used == 0)
        r = stream_cut(batch, entry, &rendering, n);
    else
        r = -ENOBUFS;
    if (r == 0)
        TAILQ_INSERT_TAIL(&batch->entries, entry, link);
    if (r == 0)
        batch->seen = entry->msg->id;
    return r;
}

/* Adds what else waits, while it fits. */
static void fill(struct batch *batch)
{
    struct mbox *mbox = batch->stream->file.mbox;

    while (!batch->is_cut && batch->used < batch->size) {
        struct mbox_op op = { .nonblock = true,
                              .max_bytes = batch->size - batch->used,
                              .seen = batch->seen };
        struct mbox_entry *entry;

        if (mbox_take(mbox, &op, &entry, batch->ready) < 0)
            return;
        if (stream_add(batch, entry) < 0) {
            mbox_abort(mbox, entry, batch->ready);
            return;
        }
    }
}

/* Before the answer: its receiver may send at once. */
static void stream_discharge(struct batch *batch)
{
    struct mbox_entry *entry;

    if (batch->is_cut)
        return;
    TAILQ_FOREACH(entry, &batch->entries, link)
        mbox_entry_discharge(entry);
}

/* The cut message has arrived in part: its rest is next, for those who wait too. */
static void stream_keep_rest(struct batch *batch)
{
    struct stream_file *stream = batch->stream;

    stream->entry = TAILQ_FIRST(&batch->entries);
    stream->rest = batch->rest;
    readers_call(&stream->readers, batch->ready);
    file_wake(&stream->file);
}

static void settle(struct batch *batch, bool arrived)
{
    struct stream_file *stream = batch->stream;
    struct mbox *mbox = stream->file.mbox;
    struct mbox_entry *entry;

    if (arrived)
        stream->seen = batch->seen;
    if (arrived && batch->is_cut)
        stream_keep_rest(batch);
    while ((entry = TAILQ_FIRST(&batch->entries))) {
        TAILQ_REMOVE(&batch->entries, entry, link);
        if (arrived) {
            mbox_commit(mbox, entry, batch->ready);
            if (stream->entry != entry)
                mbox_entry_free(entry);
        } else {
            mbox_abort(mbox, entry, batch->ready);
        }
    }
}

/* Answers @req with @entry, which is in flight, and with what else waits. */
static void stream_deliver(struct stream_file *stream, fuse_req_t req, struct mbox_entry *entry,
                           size_t size, struct mbox_ready *ready)
{
    struct batch batch = { .stream = stream, .size = size, .ready = ready };
    int r = -ENOMEM;

    TAILQ_INIT(&batch.entries);
    batch.data = malloc(size);
    if (batch.data)
        r = stream_add(&batch, entry);
    if (r < 0) {
        fuse_reply_err(req, -r);
        mbox_abort(stream->file.mbox, entry, ready);
    } else {
        fill(&batch);
        stream_discharge(&batch);
        settle(&batch, fuse_reply_buf(req, batch.data, batch.used) == 0);
    }
    free(batch.data);
}

/* Answers with what is left of the message, which fits @data or does not. What does not arrive stays. */
static void stream_answer_rest(struct stream_file *stream, fuse_req_t req, char *data, size_t size)
{
    const struct stream_ops *ops = ops_of(stream);
    union rendering rest = stream->rest;
    size_t n = ops->read(&rest, data, size);
    bool is_read = ops->is_read(&rest);

    if (is_read)
        mbox_entry_discharge(stream->entry);
    if (fuse_reply_buf(req, data, n) < 0) {
        if (is_read)
            mbox_entry_recharge(stream->entry, stream_quota_of(stream), stream->file.opener.uid);
        return;
    }
    stream->rest = rest;
    if (!is_read)
        return;
    mbox_entry_free(stream->entry);
    stream->entry = NULL;
}

/* A mailbox that is gone is the end of the stream. */
static void stream_answer_failure(fuse_req_t req, int result)
{
    if (result == -EIDRM)
        fuse_reply_buf(req, NULL, 0);
    else
        fuse_reply_err(req, -result);
}

static void stream_complete(struct mbox_op *op, struct mbox_ready *ready);

static void stream_receive(struct stream_file *stream, fuse_req_t req, size_t size, int flags,
                           struct mbox_ready *ready)
{
    const struct mbox_op wanted = { .max_bytes = SIZE_MAX, .seen = stream->seen };
    struct mbox_entry *entry;
    int r = readers_take(&stream->readers, &stream->file, req, size, flags, &wanted,
                         stream_complete, &entry, ready);

    if (r < 0)
        stream_answer_failure(req, r);
    else if (r == 0)
        stream_deliver(stream, req, entry, size, ready);
}

/* Answers, now or once there is a message. */
static void stream_serve(struct stream_file *stream, fuse_req_t req, size_t size, int flags,
                         struct mbox_ready *ready)
{
    char *data;

    if (!stream->entry) {
        stream_receive(stream, req, size, flags, ready);
        return;
    }
    data = malloc(size);
    if (data)
        stream_answer_rest(stream, req, data, size);
    else
        fuse_reply_err(req, ENOMEM);
    free(data);
}

static void stream_complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct stream_file *stream = (struct stream_file *)parked_of(op)->file;
    struct ended ended = readers_return(&stream->readers, op);

    if (ended.result == 0 && (stream->entry || readers_was_told_before(&ended, stream->seen))) {
        /* Another was quicker, and what it has left comes first. */
        mbox_abort(stream->file.mbox, ended.entry, ready);
        stream_serve(stream, ended.req, ended.size, 0, ready);
    } else if (ended.result == 0) {
        stream_deliver(stream, ended.req, ended.entry, ended.size, ready);
    } else if (readers_was_called(&ended)) {
        stream_serve(stream, ended.req, ended.size, 0, ready);
    } else {
        stream_answer_failure(ended.req, ended.result);
    }
    readers_unlock(&stream->readers);
    file_unref(ended.file);
}

static void stream_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct stream_file *stream = (struct stream_file *)file;

    /* The later part of a call that the kernel had to split has got something already. */
    if (offset > 0)
        flags |= O_NONBLOCK;
    file_ref(file);
    readers_lock(&stream->readers);
    stream_serve(stream, req, size, flags, &ready);
    readers_unlock(&stream->readers);
    mbox_ready_run(&ready);
    file_unref(file);
}

static bool stream_has_unread(struct file *file)
{
    struct stream_file *stream = (struct stream_file *)file;
    bool has_unread;

    readers_lock(&stream->readers);
    has_unread = stream->entry || mbox_has_for(file->mbox, stream->seen);
    readers_unlock(&stream->readers);
    return has_unread;
}

static void stream_close(struct file *file)
{
    struct stream_file *stream = (struct stream_file *)file;

    mbox_entry_free(stream->entry);
    readers_deinit(&stream->readers);
}

static void line_begin(union rendering *rendering, const struct mbox_entry *entry)
{
    rendering->line = (struct line){ .msg = entry->msg };
}

static bool adds_newline(const struct msg *msg)
{
    return msg->size_bytes == 0 || msg->data[msg->size_bytes - 1] != '\n';
}

static size_t line_read(union rendering *rendering, char *to, size_t size)
{
    struct line *line = &rendering->line;
    size_t left = line->msg->size_bytes - line->offset;
    size_t n = size < left ? size : left;

    memcpy(to, line->msg->data + line->offset, n);
    line->offset += n;
    if (n < left)
        return n;
    line->is_read = !adds_newline(line->msg) || n < size;
    if (adds_newline(line->msg) && n < size)
        to[n++] = '\n';
    return n;
}

static bool line_is_read(const union rendering *rendering)
{
    return rendering->line.is_read;
}

static void json_begin(union rendering *rendering, const struct mbox_entry *entry)
{
    envelope_init(&rendering->envelope, entry);
}

static size_t json_read(union rendering *rendering, char *to, size_t size)
{
    return envelope_read(&rendering->envelope, to, size);
}

static bool json_is_read(const union rendering *rendering)
{
    return envelope_is_read(&rendering->envelope);
}

#define STREAM_FILE_OPS                                                                            \
    {                                                                                              \
        .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH, .keeps_from_cache = true,    \
        .events = MBOX_READABLE, .admit = owner_admit_reader, .read = stream_read,                 \
        .has_unread = stream_has_unread, .close = stream_close,                                    \
        .size = sizeof(struct stream_file),                                                        \
    }

static const struct stream_ops lines_ops = {
    .file = STREAM_FILE_OPS,
    .begin = line_begin,
    .read = line_read,
    .is_read = line_is_read,
};

static const struct stream_ops json_ops = {
    .file = STREAM_FILE_OPS,
    .begin = json_begin,
    .read = json_read,
    .is_read = json_is_read,
};

static int open_stream(struct kernel *kernel, struct mbox *mbox, const struct stream_ops *ops,
                       struct file **ret_file)
{
    int r = file_new(&kernel->files, &ops->file, mbox, ret_file);

    if (r == 0) {
        readers_init(&((struct stream_file *)*ret_file)->readers);
        ((struct stream_file *)*ret_file)->seen = mbox_begin(mbox);
    }
    return r;
}

int stream_open_lines(struct kernel *kernel, struct mbox *mbox, struct file **ret_file)
{
    return open_stream(kernel, mbox, &lines_ops, ret_file);
}

int stream_open_json(struct kernel *kernel, struct mbox *mbox, struct file **ret_file)
{
    return open_stream(kernel, mbox, &json_ops, ret_file);
}
