/* A write is cut at its newlines. Each line is posted; where one has to wait, the request is parked
 * with what is left of the write, and goes on when there is room: so one write of many lines is one
 * request, however long it takes. What follows the last newline is kept for the next write, or for
 * the close; it is the message that it will be, so that sending it needs no memory.
 *
 * What lines to a topic cost is for its subscriptions to say, and may be seconds. A write that takes long goes on in a thread
 * for such writes, in slices, one write after the other: so nobody else's request waits for it.
 *
 * An error or an interrupt after some lines ends the write with a short count, as pipe(7) has it. What was
 * counted is never lost. What is kept and what is parked counts for who opened the file.
 *
 * A line that grows too long after a part of it was taken by an earlier write is refused whole: the
 * kept part is dropped, and what comes up to its newline too. Where the refused write had that newline,
 * the next write begins another line, unless it is the refused one again, as stdio writes it when it is
 * flushed or closed after an error. If more follows, that is what it is, and the line is passed over. If
 * nothing does, it may be another line that says the same: it is refused too, as often as stdio tries. A
 * shell's echo is told so; stdio's close fails, as it should. */
#include "lines.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "core/mailbox/mbox_keep.h"
#include "fs/kernel/caller.h"
#include "core/base/hash.h"
#include "fs/kernel/kernel.h"
#include "fs/kernel/last_close.h"
#include "json_line.h"
#include "fs/kernel/node.h"
#include "fs/kernel/parked.h"

/* What the start of a line costs beside its bytes. */
#define START_CHARGE_BYTES (sizeof(struct msg) + sizeof(struct mbox_entry))

/* How often what is refused is written again: flush(), flush() and close() of Python's, which tries twice. */
#define N_REFUSED_AGAIN 3

/* What is made of a line. */
struct line_format {
    struct file_ops file;
    /* Return: how long a line may be where messages of @message_bytes may. */
    size_t (*max_bytes)(size_t message_bytes);
    /* Return: 0 with the message that @line says, one reference; -EINVAL: it says none; -ENOMEM. NULL: the line is
     * the message. */
    int (*parse)(const char *line, size_t n, struct msg_sender sender, struct msg **ret_msg);
};

/* A write that was refused with the end of a line that had been begun before. */
struct refused {
    size_t size; /* of the write; 0: there was none */
    unsigned int hash;
    size_t line_size; /* of the line's part in it, with the newline */
    pid_t pid;
    unsigned int n_again;
};

struct lines_file {
    struct file file; /* its ops are its format's */
    uint64_t ino;
    pid_t opener; /* the process */
    _Atomic pid_t last_pid;
    _Atomic bool nonblock; /* what the last write was */
    /* Under file.lock: */
    struct mbox_entries kept; /* the start of a line; in pieces where memory was short */
    bool skips;               /* up to the next newline: the rest of a line that was refused */
    struct refused refused;

    struct mbox_op *spare_op; /* the close's: what is sent then needs no memory */
};

/* One write at work. While it is, it has what was kept. */
struct lines_write {
    struct lines_file *lines;
    fuse_req_t req;
    struct msg_sender sender;
    bool nonblock;
    struct mbox_entry *start; /* of the first line that is left to do; NULL: there is none */
    const char *data;
    size_t size;
    size_t done;
    char *copy;         /* what data points to, once the request is parked: what was left then */
    size_t done_before; /* of the caller's write, before it was parked */
    struct parked *parked;
    bool has_waited;            /* for room, of which it then finds little at a time */
    uint64_t slice_ns;          /* the thread's time when this slice of it began; 0: it has not */
    struct deferred_work slice; /* the next, while it takes long */
    /* Lines that wait for the journal together: */
    bool is_batch;
    size_t batch_start; /* where the first of them begins */
    int batch_result;   /* what came of the line behind them: 0 where none was tried */
};

static const struct line_format *format_of(const struct lines_file *lines)
{
    return (const struct line_format *)lines->file.ops;
}

static struct quota *lines_quota_of(const struct lines_file *lines)
{
    return lines->file.kernel->quota;
}

static int lines_charge(struct lines_file *lines, size_t n_bytes)
{
    return quota_charge(lines_quota_of(lines), lines->file.opener.uid, n_bytes);
}

static void lines_discharge(struct lines_file *lines, size_t n_bytes)
{
    quota_release(lines_quota_of(lines), lines->file.opener.uid, n_bytes);
}

static void discharge_start(struct lines_file *lines, const struct mbox_entry *start)
{
    lines_discharge(lines, START_CHARGE_BYTES + start->msg->size_bytes);
}

/* @start may be NULL. */
static void free_start(struct lines_file *lines, struct mbox_entry *start)
{
    if (start)
        discharge_start(lines, start);
    mbox_entry_free(start);
}

/* Appends the bytes at @data, which are charged. Return: 0; -ENOMEM: nothing has changed. */
static int lines_extend(struct mbox_entry *start, const void *data, size_t size)
{
    size_t before = start->msg->size_bytes;
    int r = msg_resize(&start->msg, before + size);

    if (r == 0)
        memcpy(start->msg->data + before, data, size);
    return r;
}

/* Joins the pieces in @kept, as far as memory allows. Return: the first; NULL: there is none. */
static struct mbox_entry *take_kept(struct lines_file *lines)
{
    struct mbox_entry *start;
    struct mbox_entry *next;

    pthread_mutex_lock(&lines->file.lock);
    start = TAILQ_FIRST(&lines->kept);
    if (start)
        TAILQ_REMOVE(&lines->kept, start, link);
    while (start && (next = TAILQ_FIRST(&lines->kept))) {
        if (lines_extend(start, next->msg->data, next->msg->size_bytes) < 0)
            break;
        TAILQ_REMOVE(&lines->kept, next, link);
        lines_discharge(lines, START_CHARGE_BYTES);
        mbox_entry_free(next);
    }
    pthread_mutex_unlock(&lines->file.lock);
    return start;
}

/* Keeps @start, behind what another write on the same file may have kept meanwhile. */
static void lines_keep(struct lines_file *lines, struct mbox_entry *start)
{
    pthread_mutex_lock(&lines->file.lock);
    TAILQ_INSERT_TAIL(&lines->kept, start, link);
    pthread_mutex_unlock(&lines->file.lock);
}

/* Return: the start of a line, which is empty yet; NULL. */
static struct mbox_entry *lines_begin(struct msg_sender sender)
{
    struct msg *msg = msg_alloc(0, 0, sender);
    struct mbox_entry *start = msg ? mbox_entry_new(msg) : NULL;

    msg_unref(msg);
    return start;
}

/* Adds @size bytes to @write's start. Return: 0; as quota_charge, and nothing has changed. */
static int lines_append(struct lines_write *write, const char *data, size_t size)
{
    struct mbox_entry *start = write->start;
    size_t cost = start ? size : START_CHARGE_BYTES + size;
    int r = lines_charge(write->lines, cost);

    if (r < 0)
        return r;
    if (!start)
        start = lines_begin(write->sender);
    r = start ? lines_extend(start, data, size) : -ENOMEM;
    if (r < 0) {
        lines_discharge(write->lines, cost);
        if (!write->start)
            mbox_entry_free(start);
        return r;
    }
    write->start = start;
    return 0;
}

static size_t start_size(const struct lines_write *write)
{
    return write->start ? write->start->msg->size_bytes : 0;
}

/* Return: the end of the line that goes on at write->done, its newline included; NULL: it is not there. */
static const char *line_end(const struct lines_write *write)
{
    const char *newline = memchr(write->data + write->done, '\n', write->size - write->done);

    return newline ? newline + 1 : NULL;
}

/* Return: whether @write begins as @refused did. */
static bool repeats(const struct lines_write *write, const struct refused *refused)
{
    return refused->size > 0 && refused->size <= write->size && refused->pid == write->sender.pid &&
           hash_of(write->data, refused->size) == refused->hash;
}

static void refuse_again(struct lines_file *lines, struct refused *refused)
{
    if (++refused->n_again == N_REFUSED_AGAIN)
        return;
    pthread_mutex_lock(&lines->file.lock);
    lines->refused = *refused;
    pthread_mutex_unlock(&lines->file.lock);
}

/* Passes over the rest of a line that was refused before. Return: 0; -EMSGSIZE: it is refused again. */
static int skip(struct lines_write *write)
{
    struct lines_file *lines = write->lines;
    const char *end = line_end(write);
    struct refused refused;
    bool skips;

    pthread_mutex_lock(&lines->file.lock);
    skips = lines->skips;
    if (end)
        lines->skips = false;
    refused = lines->refused;
    lines->refused.size = 0;
    pthread_mutex_unlock(&lines->file.lock);
    if (skips) {
        write->done = end ? (size_t)(end - write->data) : write->size;
    } else if (repeats(write, &refused)) {
        if (write->size == refused.size && refused.line_size == refused.size) {
            refuse_again(lines, &refused);
            return -EMSGSIZE;
        }
        write->done = refused.line_size;
    }
    return 0;
}

static int check_length(struct lines_file *lines, size_t size)
{
    struct mbox_limits limits;
    int r = mbox_get_limits(lines->file.mbox, &limits);

    if (r < 0)
        return r;
    if (limits.bytes < limits.message_bytes)
        limits.message_bytes = limits.bytes;
    return size > format_of(lines)->max_bytes(limits.message_bytes) ? -EMSGSIZE : 0;
}

/* Keeps what follows the last newline. Return: 0; a negative errno, and nothing was kept. */
static int lines_keep_rest(struct lines_write *write)
{
    size_t size = write->size - write->done;
    int r;

    if (size == 0)
        return 0;
    r = check_length(write->lines, start_size(write) + size);
    if (r == 0)
        r = lines_append(write, write->data + write->done, size);
    if (r == 0)
        write->done = write->size;
    return r;
}

/* Return: the bytes of @start, which may be NULL, and the @n bytes at @rest; NULL when memory is short. */
static struct msg *join(const struct mbox_entry *start, const char *rest, size_t n,
                        struct msg_sender sender)
{
    size_t n_start = start ? start->msg->size_bytes : 0;
    struct msg *joined = msg_alloc(n_start + n, 0, sender);

    if (!joined)
        return NULL;
    if (n_start > 0)
        memcpy(joined->data, start->msg->data, n_start);
    memcpy(joined->data + n_start, rest, n);
    return joined;
}

/* Makes the message of the line that ends with the @n bytes at @rest. Return: as line_format.parse. */
static int lines_make_message(const struct lines_write *write, const char *rest, size_t n,
                              struct msg **ret_msg)
{
    const struct line_format *format = format_of(write->lines);
    struct msg *line;
    int r;

    if (format->parse && !write->start)
        return format->parse(rest, n, write->sender, ret_msg);
    line = join(write->start, rest, n, write->sender);
    if (!line)
        return -ENOMEM;
    if (!format->parse) {
        *ret_msg = line;
        return 0;
    }
    r = format->parse((const char *)line->data, line->size_bytes, write->sender, ret_msg);
    msg_unref(line);
    return r;
}

/* Posts the next line, which ends at @newline; with @op it waits where it must. Return: as mbox_post, and as
 * line_format.parse; it is done only with 0. */
static int post_line(struct lines_write *write, const char *newline, struct mbox_op *op,
                     struct mbox_ready *ready)
{
    const char *rest = write->data + write->done;
    struct mbox *mbox = write->lines->file.mbox;
    struct msg *msg;
    int r = lines_make_message(write, rest, (size_t)(newline - rest), &msg);

    if (r < 0)
        return r;
    /* In a batch nothing waits here. */
    r = mbox_post(mbox, msg, op && op->is_batch ? op : NULL, ready);
    if (r == -EAGAIN && op && !op->is_batch)
        r = mbox_post(mbox, msg, op, ready);
    msg_unref(msg);
    return r;
}

static void line_done(struct lines_write *write, const char *newline)
{
    free_start(write->lines, write->start);
    write->start = NULL;
    write->done = (size_t)(newline - write->data) + 1;
}

static void refuse_line(struct lines_write *write)
{
    struct lines_file *lines = write->lines;
    const char *end = line_end(write);
    struct refused refused = { 0 };

    if (!write->start)
        return;
    free_start(lines, write->start);
    write->start = NULL;
    if (end)
        refused = (struct refused){
            .size = write->size,
            .hash = hash_of(write->data, write->size),
            .line_size = (size_t)(end - write->data),
            .pid = write->sender.pid,
        };
    pthread_mutex_lock(&lines->file.lock);
    lines->skips = !end;
    lines->refused = refused;
    pthread_mutex_unlock(&lines->file.lock);
}

/* Return: what a write costs that is parked with @left bytes to do. */
static size_t park_charge(size_t left)
{
    return sizeof(struct lines_write) + sizeof(struct parked) + left;
}

/* Answers the write and gives back what it holds. */
static void lines_finish(struct lines_write *write, int result)
{
    fuse_req_t req = write->req;
    size_t done = write->done_before + write->done;

    if (result == -EMSGSIZE || result == -EINVAL)
        refuse_line(write);
    if (write->start) {
        write->start->msg->sender = write->sender;
        lines_keep(write->lines, write->start);
    }
    if (write->copy)
        lines_discharge(write->lines, park_charge(write->size));
    free(write->copy);
    if (done > 0 || result >= 0)
        fuse_reply_write(req, done);
    else
        fuse_reply_err(req, -result);
}

static void lines_complete(struct mbox_op *op, struct mbox_ready *ready);

/* Makes @write outlive its handler. Return: 0 with the copy, parked; as quota_charge. */
static int lines_park(const struct lines_write *write, struct lines_write **ret_parked)
{
    size_t left = write->size - write->done;
    struct lines_file *lines = write->lines;
    struct parked *parked = NULL;
    struct lines_write *copy;
    char *data;
    int r;

    assert(left > 0);
    r = lines_charge(lines, park_charge(left));
    if (r < 0)
        return r;
    copy = malloc(sizeof(*copy));
    data = malloc(left);
    if (copy && data)
        parked = parked_new(&lines->file, lines->file.mbox, write->req, write->size,
                            lines_complete);
    if (!parked) {
        free(data);
        free(copy);
        lines_discharge(lines, park_charge(left));
        return -ENOMEM;
    }
    memcpy(data, write->data + write->done, left);
    *copy = *write;
    copy->data = copy->copy = data;
    copy->size = left;
    copy->done = 0;
    copy->done_before = write->done;
    copy->parked = parked;
    parked->op.nonblock = write->nonblock;
    parked->user = copy;
    *ret_parked = copy;
    return 0;
}

/* The most lines of one batch, which is written in one transaction. */
#define BATCH_LINES 1024

/* Posts the next lines of @write, which is parked, as one batch. What follows them is in write->batch_result.
 * Return: 0: none was posted; MBOX_PARKED: they wait for the journal. */
static int post_batch(struct lines_write *write, struct mbox_ready *ready)
{
    struct mbox *mbox = write->lines->file.mbox;
    struct mbox_op *op = &write->parked->op;
    const char *newline;
    unsigned int n = 0;
    int r = 0;

    write->batch_start = write->done;
    write->is_batch = true;
    mbox_batch_begin(op);
    while (n < BATCH_LINES &&
           (newline = memchr(write->data + write->done, '\n', write->size - write->done))) {
        r = post_line(write, newline, op, ready);
        if (r != 0)
            break;
        line_done(write, newline);
        n++;
    }
    write->batch_result = r;
    r = mbox_batch_end(mbox, op, ready);
    /* Else another thread may have @write. */
    if (r == 0)
        write->is_batch = false;
    return r;
}

/* A batch is over. Return: what came of it and of the line behind it; what is not stored is not done. */
static int lines_end_batch(struct lines_write *write)
{
    const struct mbox_op *op = &write->parked->op;

    write->is_batch = false;
    if (op->result == 0)
        return write->batch_result;
    write->done = write->batch_start;
    for (uint64_t i = 0; i < op->n_stored; i++) {
        const char *newline = memchr(write->data + write->done, '\n', write->size - write->done);

        write->done = (size_t)(newline - write->data) + 1;
    }
    return op->result;
}

/* As post_lines, where each waits for the journal. */
static int post_durable_lines(struct lines_write *write, struct mbox_ready *ready)
{
    const char *newline;
    int r;

    while ((newline = memchr(write->data + write->done, '\n', write->size - write->done))) {
        r = post_batch(write, ready);
        if (r != 0)
            return r;
        /* Each was stored before the batch was at its end; or there was none. */
        r = lines_end_batch(write);
        if (r == -EAGAIN && write->done == write->batch_start)
            r = post_line(write, newline, &write->parked->op, ready);
        else if (r == -EAGAIN || r == 0)
            continue;
        if (r != 0)
            return r;
        line_done(write, newline);
    }
    return lines_keep_rest(write);
}

#define LINES_AT_ONCE 128

/* Posts the next lines together, up to one that does not go in at once. Return: how many. */
static size_t post_many(struct lines_write *write, struct mbox_ready *ready)
{
    struct msg *msgs[LINES_AT_ONCE];
    const char *newlines[LINES_AT_ONCE];
    const char *line = write->data + write->done;
    const char *newline;
    size_t n_posted;
    size_t n = 0;

    while (n < LINES_AT_ONCE &&
           (newline = memchr(line, '\n', (size_t)(write->data + write->size - line))) &&
           lines_make_message(write, line, (size_t)(newline - line), &msgs[n]) == 0) {
        newlines[n++] = newline;
        line = newline + 1;
    }
    n_posted = mbox_post_many(write->lines->file.mbox, msgs, n, ready);
    if (n_posted > 0)
        line_done(write, newlines[n_posted - 1]);
    for (size_t i = 0; i < n; i++)
        msg_unref(msgs[i]);
    return n_posted;
}

/* A slice of a write is about so long. */
#define SLICE_NS 1000000

/* The write takes long, and there is more to do. */
#define LINES_LONG 2

/* Return: the time that this thread has run. */
static uint64_t lines_ran_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Return: whether this slice of @write, which has just done something, is over. */
static bool takes_long(struct lines_write *write)
{
    uint64_t now;

    if (write->done == write->size)
        return false;
    now = lines_ran_ns();
    if (write->slice_ns == 0)
        write->slice_ns = now;
    return now - write->slice_ns > SLICE_NS;
}

/* Return: 0: all is done; MBOX_PARKED: @write, which was parked before, waits; -EAGAIN: it was not,
 * and has to wait; LINES_LONG; another negative errno. */
static int post_lines(struct lines_write *write, struct mbox_ready *ready)
{
    struct mbox_op *op = write->parked ? &write->parked->op : NULL;
    const char *newline;

    if (op && mbox_is_durable(write->lines->file.mbox))
        return post_durable_lines(write, ready);
    while ((newline = memchr(write->data + write->done, '\n', write->size - write->done))) {
        int r;

        /* The first may have begun before. */
        if (!write->start && !write->has_waited && post_many(write, ready) > 0) {
            if (takes_long(write))
                return LINES_LONG;
            continue;
        }
        r = post_line(write, newline, op, ready);
        if (r != 0)
            return r;
        line_done(write, newline);
    }
    return lines_keep_rest(write);
}

static void lines_next_slice(struct deferred_work *work);

/* Return: whether nobody waits for the end of @write, which is parked. */
static bool is_unwanted(const struct lines_write *write)
{
    return fuse_req_interrupted(write->req) ||
           fuse_session_exited(write->lines->file.kernel->session);
}

/* Lets the thread for it go on with @write, which is parked. */
static void lines_go_on_later(struct lines_write *write)
{
    write->slice = (struct deferred_work){ .run = lines_next_slice };
    deferred_add(&write->lines->file.kernel->long_work, &write->slice);
}

/* Goes on with @write, which is parked. */
static void lines_go_on(struct lines_write *write, int result, struct mbox_ready *ready)
{
    struct file *file;

    if (result == 0)
        result = post_lines(write, ready);
    if (result == LINES_LONG && is_unwanted(write))
        result = -EINTR;
    if (result == LINES_LONG)
        lines_go_on_later(write);
    if (result == MBOX_PARKED || result == LINES_LONG)
        return;
    file = file_ref(&write->lines->file);
    parked_free(write->parked);
    lines_finish(write, result);
    free(write);
    file_unref(file);
}

static void lines_next_slice(struct deferred_work *work)
{
    struct lines_write *write = (struct lines_write *)((char *)work -
                                                       offsetof(struct lines_write, slice));
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    write->slice_ns = 0;
    lines_go_on(write, 0, &ready);
    mbox_ready_run(&ready);
}

/* The line that waited has been posted, or not. */
static void lines_complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct lines_write *write = parked_of(op)->user;
    int result = op->result;

    write->has_waited = true;
    if (write->is_batch) {
        result = lines_end_batch(write);
        /* The next one waits for room, if it may. */
        if (result == -EAGAIN)
            result = 0;
    } else if (result == 0) {
        line_done(write, memchr(write->data + write->done, '\n', write->size - write->done));
    }
    lines_go_on(write, result, ready);
}

static void lines_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                        off_t offset, int flags)
{
    struct lines_file *lines = (struct lines_file *)file;
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    /* The answer can bring the file's release. */
    struct kernel *kernel = file->kernel;
    struct lines_write write = {
        .lines = lines,
        .req = req,
        .sender = caller_as_writer(req, file, &lines->last_pid),
        .nonblock = flags & O_NONBLOCK,
        .start = take_kept(lines),
        .data = data,
        .size = size,
    };
    struct lines_write *parked = NULL;
    bool is_long;
    int r;

    (void)offset;
    lines->nonblock = write.nonblock;
    r = skip(&write);
    if (r == 0)
        r = post_lines(&write, &ready);
    is_long = r == LINES_LONG;
    if (r == -EAGAIN || is_long)
        r = lines_park(&write, &parked);
    if (parked && is_long)
        lines_go_on_later(parked);
    else if (parked)
        lines_go_on(parked, 0, &ready);
    else
        lines_finish(&write, r);
    deferred_run_ready(&kernel->long_work, &ready);
}

static bool has_kept(struct lines_file *lines)
{
    bool has;

    pthread_mutex_lock(&lines->file.lock);
    has = !TAILQ_EMPTY(&lines->kept);
    pthread_mutex_unlock(&lines->file.lock);
    return has;
}

/* Posts what nobody waits for: where there is no room it waits by itself. */
static void post_detached(struct file *file, struct mbox_entry *start, struct mbox_ready *ready)
{
    struct lines_file *lines = (struct lines_file *)file;
    /* The file's own is for the last of it, for which there must be one. */
    struct mbox_op *op = detached_op_new();

    if (!op) {
        op = lines->spare_op;
        lines->spare_op = NULL;
    }
    if (mbox_post_entry(file->mbox, start, op, ready) != MBOX_PARKED)
        free(op);
}

/* Posts @start, which is used up. Return: 0; MBOX_PARKED: @req will be answered; a negative errno. */
static int post_rest(struct file *file, fuse_req_t req, struct mbox_entry *start,
                     struct mbox_ready *ready)
{
    struct lines_file *lines = (struct lines_file *)file;
    struct parked *parked;
    int r;

    if (!caller_can_wait(fuse_req_ctx(req)->pid)) {
        post_detached(file, start, ready);
        return 0;
    }
    parked = parked_new(file, file->mbox, req, 0, parked_answer);
    if (!parked) {
        mbox_entry_free(start);
        return -ENOMEM;
    }
    parked->op.nonblock = lines->nonblock;
    r = mbox_post_entry(file->mbox, start, &parked->op, ready);
    if (r != MBOX_PARKED)
        parked_free(parked);
    return r;
}

/* Makes of *@rest, which was kept, the message that it says; that counts anew. Return: 0; as line_format.parse, and *@rest
 * is gone. */
static int convert_rest(struct lines_file *lines, struct mbox_entry **rest)
{
    const struct line_format *format = format_of(lines);
    const struct msg *line = (*rest)->msg;
    struct msg *msg;
    int r = 0;

    discharge_start(lines, *rest);
    if (!format->parse)
        return 0;
    r = format->parse((const char *)line->data, line->size_bytes, line->sender, &msg);
    if (r == 0) {
        mbox_entry_set(*rest, msg);
        msg_unref(msg);
    } else {
        mbox_entry_free(*rest);
        *rest = NULL;
    }
    return r;
}

static void lines_close_found_out(struct file *file, fuse_req_t req, int is_last)
{
    struct lines_file *lines = (struct lines_file *)file;
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct mbox_entry *start = NULL;
    int r = is_last < 0 ? is_last : 0;

    if (is_last > 0)
        start = take_kept(lines);
    if (start)
        r = convert_rest(lines, &start);
    if (start)
        r = post_rest(file, req, start, &ready);
    if (r != MBOX_PARKED)
        fuse_reply_err(req, -r);
    mbox_ready_run(&ready);
}

/* When the process that opened the file closes its last descriptor, the rest is sent, and waits
 * where a write would. */
static void lines_flush(struct file *file, fuse_req_t req)
{
    struct lines_file *lines = (struct lines_file *)file;

    if (has_kept(lines))
        last_close_find_out(file, req, lines->opener, lines->ino, lines_close_found_out);
    else
        fuse_reply_err(req, 0);
}

static void lines_release(struct file *file)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct lines_file *lines = (struct lines_file *)file;
    struct mbox_entry *start;

    while ((start = take_kept(lines))) {
        if (convert_rest(lines, &start) == 0)
            post_detached(file, start, &ready);
    }
    mbox_ready_run(&ready);
}

/* A write that was parked may have kept something since the release. */
static void lines_close(struct file *file)
{
    struct lines_file *lines = (struct lines_file *)file;
    struct mbox_entry *start;

    while ((start = TAILQ_FIRST(&lines->kept))) {
        TAILQ_REMOVE(&lines->kept, start, link);
        free_start(lines, start);
    }
    free(lines->spare_op);
}

#define LINES_FILE_OPS                                                                             \
    {                                                                                              \
        .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_PARALLEL_DIRECT_WRITES,               \
        .events = MBOX_WRITABLE, .write = lines_write, .flush = lines_flush,                       \
        .release = lines_release, .close = lines_close, .size = sizeof(struct lines_file),         \
    }

static size_t plain_max(size_t message_bytes)
{
    return message_bytes;
}

static const struct line_format plain = {
    .file = LINES_FILE_OPS,
    .max_bytes = plain_max,
};

static const struct line_format json = {
    .file = LINES_FILE_OPS,
    .max_bytes = json_line_max,
    .parse = json_line_parse,
};

static int open_format(struct kernel *kernel, struct mbox *mbox, uint64_t ino,
                       const struct caller *caller, const struct line_format *format,
                       struct file **ret_file)
{
    struct lines_file *lines;
    int r = file_new(&kernel->files, &format->file, mbox, ret_file);

    if (r < 0)
        return r;
    lines = (struct lines_file *)*ret_file;
    TAILQ_INIT(&lines->kept);
    lines->spare_op = detached_op_new();
    if (!lines->spare_op) {
        file_discard(*ret_file);
        return -ENOMEM;
    }
    lines->ino = ino;
    lines->opener = caller_process(caller->tid, 0);
    return 0;
}

int lines_open(struct kernel *kernel, struct mbox *mbox, uint64_t ino, const struct caller *caller,
               struct file **ret_file)
{
    return open_format(kernel, mbox, ino, caller, &plain, ret_file);
}

int lines_open_json(struct kernel *kernel, struct mbox *mbox, uint64_t ino,
                    const struct caller *caller, struct file **ret_file)
{
    return open_format(kernel, mbox, ino, caller, &json, ret_file);
}
