/* One read takes as many messages as it can carry. They are in flight until the kernel has taken the
 * answer; if it does not, all go back. A message that is longer than a read comes alone, and its
 * rest with the next reads; it is rendered as it is read.
 *
 * Of `work.json` the messages are on lease: a word about one may be said once its line is read to its end. Until then they
 * count for their senders. */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "core/mailbox/lease.h"
#include "core/mailbox/mbox_keep.h"
#include "envelope.h"
#include "fs/kernel/caller.h"
#include "fs/kernel/kernel.h"
#include "held.h"
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
    /* What it takes to read; NULL: nobody knows, or they are on lease. */
    mbox_entry_cost *max_bytes;
    bool leases; /* what is read is held */
};

struct stream_file {
    struct file file;
    struct readers readers;
    /* With the turn: */
    struct mbox_entry *entry; /* what is not read to its end; NULL: nothing */
    union rendering rest;     /* its */
    uint64_t seen;            /* the id of the last message */
    struct held held;         /* what is read, where it is on lease */
    _Atomic pid_t last_pid;   /* who wrote last */
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
    struct mbox_entries entries; /* in flight; none that is on lease, for those the mailbox links */
    size_t n_held;               /* those are the youngest that are held */
    struct mbox_entry *cut;      /* or it is this one, and of that there is a rest */
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
    int r = 0;

    if (!ops_of(stream)->leases)
        r = mbox_entry_charge_keeper(entry, stream_quota_of(stream), stream->file.opener.uid);
    if (r < 0)
        return r;
    batch->cut = entry;
    batch->rest = *rest;
    batch->used = n;
    return 0;
}

/* @entry, of which @n bytes are in the answer, is read to its end if that arrives. Return: 0; -ENOMEM. */
static int stream_add_whole(struct batch *batch, struct mbox_entry *entry, size_t n)
{
    struct stream_file *stream = batch->stream;
    int r = 0;

    if (!ops_of(stream)->leases)
        TAILQ_INSERT_TAIL(&batch->entries, entry, link);
    else
        r = held_add(&stream->held, entry);
    if (r < 0)
        return r;
    batch->n_held += ops_of(stream)->leases;
    batch->used += n;
    return 0;
}

/* Adds @entry, which is in flight, if there is room. Return: 0: there was; -ENOBUFS; -ENOMEM; as stream_cut(). */
static int stream_add(struct batch *batch, struct mbox_entry *entry)
{
    const struct stream_ops *ops = ops_of(batch->stream);
    union rendering rendering;
    int r = 0;
    size_t n;

    ops->begin(&rendering, entry);
    n = ops->read(&rendering, batch->data + batch->used, batch->size - batch->used);
    if (ops->is_read(&rendering))
        r = stream_add_whole(batch, entry, n);
    else if (batch->used == 0)
        r = stream_cut(batch, entry, &rendering, n);
    else
        r = -ENOBUFS;
    if (r == 0)
        batch->seen = entry->msg->id;
    return r;
}

/* Adds many at once, which are sure to fit. Return: whether there were any. */
static bool fill_many(struct batch *batch)
{
    struct mbox_entries taken = TAILQ_HEAD_INITIALIZER(taken);
    struct mbox *mbox = batch->stream->file.mbox;
    mbox_entry_cost *max_bytes = ops_of(batch->stream)->max_bytes;
    struct mbox_entry *entry;
    bool fits = true;

    if (!max_bytes ||
        mbox_take_many(mbox, max_bytes, batch->size - batch->used, &taken, batch->ready) == 0)
        return false;
    while ((entry = TAILQ_FIRST(&taken))) {
        TAILQ_REMOVE(&taken, entry, link);
        fits = fits && stream_add(batch, entry) == 0;
        if (!fits)
            mbox_abort(mbox, entry, batch->ready);
    }
    return fits;
}

/* Adds one, if it fits. Return: whether it did. */
static bool fill_one(struct batch *batch)
{
    struct mbox *mbox = batch->stream->file.mbox;
    struct mbox_op op = { .nonblock = true,
                          .max_bytes = batch->size - batch->used,
                          .leases = ops_of(batch->stream)->leases,
                          .seen = batch->seen };
    struct mbox_entry *entry;

    if (mbox_take(mbox, &op, &entry, batch->ready) < 0)
        return false;
    if (stream_add(batch, entry) == 0)
        return true;
    mbox_abort(mbox, entry, batch->ready);
    return false;
}

/* Adds what else waits, while it fits. */
static void fill(struct batch *batch)
{
    while (!batch->cut && batch->used < batch->size && (fill_many(batch) || fill_one(batch)))
        ;
}

/* Before the answer: its receiver may send at once. */
static void stream_discharge(struct batch *batch)
{
    struct mbox_entry *entry;

    TAILQ_FOREACH(entry, &batch->entries, link)
        mbox_entry_discharge(entry);
}

/* The cut message has arrived in part: its rest is next, for those who wait too. */
static void stream_keep_rest(struct batch *batch)
{
    struct stream_file *stream = batch->stream;

    stream->entry = batch->cut;
    stream->rest = batch->rest;
    readers_call(&stream->readers, batch->ready);
    file_wake(&stream->file);
}

static void stream_arrived(struct batch *batch)
{
    struct stream_file *stream = batch->stream;
    struct mbox *mbox = stream->file.mbox;
    struct mbox_entry *entry;

    stream->seen = batch->seen;
    if (batch->cut) {
        stream_keep_rest(batch);
        mbox_commit(mbox, batch->cut, batch->ready);
    }
    if (batch->n_held)
        held_commit(&stream->held, mbox, batch->n_held, batch->ready);
    while ((entry = TAILQ_FIRST(&batch->entries))) {
        TAILQ_REMOVE(&batch->entries, entry, link);
        mbox_commit(mbox, entry, batch->ready);
        mbox_entry_free(entry);
    }
}

static void stream_arrived_not(struct batch *batch)
{
    struct stream_file *stream = batch->stream;
    struct mbox *mbox = stream->file.mbox;
    struct mbox_entry *entry;

    if (batch->cut)
        mbox_abort(mbox, batch->cut, batch->ready);
    held_abort(&stream->held, mbox, batch->n_held, batch->ready);
    while ((entry = TAILQ_FIRST(&batch->entries))) {
        TAILQ_REMOVE(&batch->entries, entry, link);
        mbox_abort(mbox, entry, batch->ready);
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
        if (fuse_reply_buf(req, batch.data, batch.used) == 0)
            stream_arrived(&batch);
        else
            stream_arrived_not(&batch);
    }
    free(batch.data);
}

/* The message is about to be read to its end. Return: 0; -ENOMEM. */
static int stream_finish(struct stream_file *stream)
{
    if (ops_of(stream)->leases)
        return held_add(&stream->held, stream->entry);
    mbox_entry_discharge(stream->entry);
    return 0;
}

static void stream_finish_not(struct stream_file *stream)
{
    if (ops_of(stream)->leases)
        held_remove(&stream->held, stream->entry);
    else
        mbox_entry_recharge(stream->entry, stream_quota_of(stream), stream->file.opener.uid);
}

/* Answers with what is left of the message, which fits @data or does not. What does not arrive stays. */
static void stream_answer_rest(struct stream_file *stream, fuse_req_t req, char *data, size_t size)
{
    const struct stream_ops *ops = ops_of(stream);
    union rendering rest = stream->rest;
    size_t n = ops->read(&rest, data, size);
    bool is_read = ops->is_read(&rest);
    int r = is_read ? stream_finish(stream) : 0;

    if (r < 0) {
        fuse_reply_err(req, -r);
        return;
    }
    if (fuse_reply_buf(req, data, n) < 0) {
        if (is_read)
            stream_finish_not(stream);
        return;
    }
    stream->rest = rest;
    if (!is_read)
        return;
    if (!ops->leases)
        mbox_entry_free(stream->entry);
    stream->entry = NULL;
}

/* A mailbox that is gone is the end of the stream; who has messages on lease is to learn that they are gone too. */
static void stream_answer_failure(const struct stream_file *stream, fuse_req_t req, int result)
{
    if (result == -EIDRM && !ops_of(stream)->leases)
        fuse_reply_buf(req, NULL, 0);
    else
        fuse_reply_err(req, -result);
}

static void stream_complete(struct mbox_op *op, struct mbox_ready *ready);

static void stream_receive(struct stream_file *stream, fuse_req_t req, size_t size, int flags,
                           struct mbox_ready *ready)
{
    const struct mbox_op wanted = { .max_bytes = SIZE_MAX,
                                    .leases = ops_of(stream)->leases,
                                    .seen = stream->seen };
    struct mbox_entry *entry;
    int r = readers_take(&stream->readers, &stream->file, req, size, flags, &wanted,
                         stream_complete, &entry, ready);

    if (r < 0)
        stream_answer_failure(stream, req, r);
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
        stream_answer_failure(stream, ended.req, ended.result);
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

/* Answers a write of @size bytes of words, the journal has them. */
static void words_complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct ended ended = parked_end(op);

    (void)ready;
    if (ended.result < 0)
        fuse_reply_err(ended.req, -ended.result);
    else
        fuse_reply_write(ended.req, ended.size);
    file_unref(ended.file);
}

/* As words_say, where the journal is to have what is done or given up. */
static ssize_t words_note(struct stream_file *stream, fuse_req_t req,
                          const struct held_words *words, struct mbox_ready *ready)
{
    struct mbox *mbox = stream->file.mbox;
    struct parked *parked = parked_new(&stream->file, mbox, req, words->size, words_complete);
    ssize_t n;

    if (!parked)
        return -ENOMEM;
    mbox_batch_begin(&parked->op);
    n = held_say(&stream->held, mbox, words, &parked->op, ready);
    /* Before another thread completes it. */
    parked->size = n < 0 ? 0 : (size_t)n;
    if (mbox_batch_end(mbox, &parked->op, ready) == MBOX_PARKED)
        return 0;
    if (n > 0 && parked->op.result < 0)
        n = parked->op.result;
    parked_free(parked);
    return n;
}

/* Has the turn. Return: how many bytes took effect; 0: @req will be answered; a negative errno. */
static ssize_t words_say(struct stream_file *stream, fuse_req_t req, const struct held_words *words,
                         struct mbox_ready *ready)
{
    struct mbox *mbox = stream->file.mbox;

    if (words->size == 0)
        return -EINVAL;
    /* What is given up may go to a mailbox that is kept. */
    if (mbox->domain->journal)
        return words_note(stream, req, words, ready);
    return held_say(&stream->held, mbox, words, NULL, ready);
}

static void words_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                        off_t offset, int flags)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct stream_file *stream = (struct stream_file *)file;
    const struct held_words words = {
        .data = data,
        .size = size,
        .sender = caller_as_writer(req, file, &stream->last_pid),
    };
    ssize_t n;

    (void)offset;
    (void)flags;
    file_ref(file);
    readers_lock(&stream->readers);
    n = words_say(stream, req, &words, &ready);
    readers_unlock(&stream->readers);
    mbox_ready_run(&ready);
    if (n < 0)
        fuse_reply_err(req, (int)-n);
    else if (n > 0)
        fuse_reply_write(req, (size_t)n);
    file_unref(file);
}

/* The kernel has let go of the file: what it had on lease goes back, the rest of a message first. */
static void stream_return(struct file *file)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct stream_file *stream = (struct stream_file *)file;

    readers_lock(&stream->readers);
    if (stream->entry)
        mbox_lease_end(file->mbox, stream->entry, MBOX_LEASE_AGAIN, NULL, &ready);
    stream->entry = NULL;
    held_return(&stream->held, file->mbox, &ready);
    readers_unlock(&stream->readers);
    mbox_ready_run(&ready);
}

static void stream_close(struct file *file)
{
    struct stream_file *stream = (struct stream_file *)file;

    if (ops_of(stream)->leases)
        stream_return(file);
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

static size_t line_max_bytes(const struct mbox_entry *entry)
{
    return entry->msg->size_bytes + adds_newline(entry->msg);
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
    .max_bytes = line_max_bytes,
};

static const struct stream_ops json_ops = {
    .file = STREAM_FILE_OPS,
    .begin = json_begin,
    .read = json_read,
    .is_read = json_is_read,
    .max_bytes = envelope_max_bytes,
};

static const struct stream_ops stream_work_ops = {
    .file = {
        .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES,
        .keeps_from_cache = true,
        .events = MBOX_READABLE,
        .never_blocks_writers = true,
        .admit = owner_admit_reader,
        .read = stream_read,
        .write = words_write,
        .has_unread = stream_has_unread,
        .release = stream_return,
        .close = stream_close,
        .size = sizeof(struct stream_file),
    },
    .begin = json_begin,
    .read = json_read,
    .is_read = json_is_read,
    .leases = true,
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

int stream_open_work(struct kernel *kernel, struct mbox *mbox, struct file **ret_file)
{
    return open_stream(kernel, mbox, &stream_work_ops, ret_file);
}
