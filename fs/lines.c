/* A write is cut at its newlines. Each line is posted; where one has to wait, the request is parked
 * with what is left of the write, and goes on when there is room: so one write of many lines is one
 * request, however long it takes. What follows the last newline is kept for the next write, or for
 * the close.
 *
 * An error or an interrupt after some lines ends the write with a short count, as pipe(7) has it.
 *
 * A line that grows too long after a part of it was taken by an earlier write is refused whole: the
 * kept part is dropped, and what comes up to its newline too. Where the refused write had that newline,
 * the next write begins another line, unless it is the same again, as stdio does after an error. */
#include "lines.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "last_close.h"
#include "node.h"
#include "parked.h"

/* The start of a line, and who wrote it. */
struct start {
    char *data;
    size_t size;
    struct msg_sender sender;
};

struct lines_file {
    struct file file;
    uint64_t ino;
    pid_t opener; /* the process */
    _Atomic pid_t last_pid;
    _Atomic bool nonblock; /* what the last write was */
    /* Under file.lock: */
    struct start kept;
    bool skips; /* up to the next newline: the rest of a line that was refused */
    /* That rest, if its newline was refused with it: the next write may be the same again. */
    struct start again;
};

/* One write at work. While it is, it has what was kept. */
struct lines_write {
    struct lines_file *lines;
    fuse_req_t req;
    struct msg_sender sender;
    bool nonblock;
    struct start start; /* of the first line that is left to do */
    const char *data;
    size_t size;
    size_t done;
    char *copy;         /* what data points to, once the request is parked: what was left then */
    size_t done_before; /* of the caller's write, before it was parked */
    struct parked *parked;
};

static struct start take_kept(struct lines_file *lines)
{
    struct start start;

    pthread_mutex_lock(&lines->file.lock);
    start = lines->kept;
    lines->kept = (struct start){ 0 };
    pthread_mutex_unlock(&lines->file.lock);
    return start;
}

/* Return: 0 with @size bytes more in @start; -ENOMEM. */
static int append(struct start *start, const char *data, size_t size)
{
    char *longer = realloc(start->data, start->size + size);

    if (!longer)
        return -ENOMEM;
    memcpy(longer + start->size, data, size);
    start->data = longer;
    start->size += size;
    return 0;
}

/* Keeps @start, behind what another write on the same file may have kept meanwhile. */
static void keep(struct lines_file *lines, struct start *start)
{
    pthread_mutex_lock(&lines->file.lock);
    if (!lines->kept.data) {
        lines->kept = *start;
        start->data = NULL;
    } else if (start->size > 0) {
        append(&lines->kept, start->data, start->size);
    }
    pthread_mutex_unlock(&lines->file.lock);
    free(start->data);
    *start = (struct start){ 0 };
}

/* Return: the end of the line that goes on at write->done, its newline included; NULL: it is not there. */
static const char *line_end(const struct lines_write *write)
{
    const char *newline = memchr(write->data + write->done, '\n', write->size - write->done);

    return newline ? newline + 1 : NULL;
}

/* Passes over the rest of a line that was refused before. */
static void skip(struct lines_write *write)
{
    struct lines_file *lines = write->lines;
    const char *end = line_end(write);
    struct start again;
    bool skips;

    pthread_mutex_lock(&lines->file.lock);
    skips = lines->skips;
    if (end)
        lines->skips = false;
    again = lines->again;
    lines->again = (struct start){ 0 };
    pthread_mutex_unlock(&lines->file.lock);
    if (skips)
        write->done = end ? (size_t)(end - write->data) : write->size;
    else if (again.data && again.size <= write->size &&
             memcmp(write->data, again.data, again.size) == 0)
        write->done = again.size;
    free(again.data);
}

static int check_length(struct lines_file *lines, size_t size)
{
    struct mbox_limits limits;
    int r = mbox_get_limits(lines->file.mbox, &limits);

    if (r == 0 && (size > limits.message_bytes || size > limits.bytes))
        r = -EMSGSIZE;
    return r;
}

/* Keeps what follows the last newline. Return: 0; a negative errno, and nothing was kept. */
static int keep_rest(struct lines_write *write)
{
    size_t size = write->size - write->done;
    int r;

    if (size == 0)
        return 0;
    r = check_length(write->lines, write->start.size + size);
    if (r == 0)
        r = append(&write->start, write->data + write->done, size);
    if (r == 0)
        write->done = write->size;
    return r;
}

/* Posts the next line, which ends at @newline. Return: as mbox_post; it is done only with 0. */
static int post_line(struct lines_write *write, const char *newline, struct mbox_op *op,
                     struct mbox_ready *ready)
{
    const char *rest = write->data + write->done;
    size_t n_rest = (size_t)(newline - rest);
    struct msg *msg = msg_alloc(write->start.size + n_rest, 0, write->sender);
    int r;

    if (!msg)
        return -ENOMEM;
    if (write->start.size > 0)
        memcpy(msg->data, write->start.data, write->start.size);
    memcpy(msg->data + write->start.size, rest, n_rest);
    r = mbox_post(write->lines->file.mbox, msg, op, ready);
    msg_unref(msg);
    return r;
}

static void line_done(struct lines_write *write, const char *newline)
{
    free(write->start.data);
    write->start = (struct start){ 0 };
    write->done = (size_t)(newline - write->data) + 1;
}

static void refuse_line(struct lines_write *write)
{
    struct lines_file *lines = write->lines;
    const char *rest = write->data + write->done;
    const char *end = line_end(write);
    struct start again = { 0 };

    if (write->start.size == 0)
        return;
    free(write->start.data);
    write->start = (struct start){ 0 };
    if (end)
        /* Without memory a repetition is taken for another line. */
        append(&again, rest, (size_t)(end - rest));
    pthread_mutex_lock(&lines->file.lock);
    lines->skips = !end;
    free(lines->again.data);
    lines->again = again;
    pthread_mutex_unlock(&lines->file.lock);
}

/* Answers the write and gives back what it holds. */
static void finish(struct lines_write *write, int result)
{
    fuse_req_t req = write->req;
    size_t done = write->done_before + write->done;

    if (result == -EMSGSIZE)
        refuse_line(write);
    write->start.sender = write->sender;
    if (write->start.data)
        keep(write->lines, &write->start);
    free(write->copy);
    if (done > 0 || result >= 0)
        fuse_reply_write(req, done);
    else
        fuse_reply_err(req, -result);
}

static void complete(struct mbox_op *op, struct mbox_ready *ready);

/* Makes @write outlive its handler. Return: the copy, parked; NULL when memory is short. */
static struct lines_write *park(const struct lines_write *write)
{
    size_t left = write->size - write->done;
    struct lines_write *copy = malloc(sizeof(*copy));
    struct parked *parked = NULL;
    char *data;

    assert(left > 0);
    data = malloc(left);
    if (copy && data)
        parked = parked_new(&write->lines->file, write->lines->file.mbox, write->req, write->size,
                            complete);
    if (!parked) {
        free(data);
        free(copy);
        return NULL;
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
    return copy;
}

/* Return: 0: all is done; MBOX_PARKED: @write, which was parked before, waits; -EAGAIN: it was not,
 * and has to wait; another negative errno. */
static int post_lines(struct lines_write *write, struct mbox_ready *ready)
{
    struct mbox_op *op = write->parked ? &write->parked->op : NULL;
    const char *newline;

    while ((newline = memchr(write->data + write->done, '\n', write->size - write->done))) {
        int r = post_line(write, newline, NULL, ready);

        if (r == -EAGAIN && op)
            r = post_line(write, newline, op, ready);
        if (r != 0)
            return r;
        line_done(write, newline);
    }
    return keep_rest(write);
}

/* Goes on with @write, which is parked. */
static void go_on(struct lines_write *write, int result, struct mbox_ready *ready)
{
    struct file *file;

    if (result == 0)
        result = post_lines(write, ready);
    if (result == MBOX_PARKED)
        return;
    file = file_ref(&write->lines->file);
    parked_free(write->parked);
    finish(write, result);
    free(write);
    file_unref(file);
}

/* The line that waited has been posted, or not. */
static void complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct lines_write *write = parked_of(op)->user;

    if (op->result == 0)
        line_done(write, memchr(write->data + write->done, '\n', write->size - write->done));
    go_on(write, op->result, ready);
}

static void lines_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                        off_t offset, int flags)
{
    struct lines_file *lines = (struct lines_file *)file;
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
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
    int r;

    (void)offset;
    lines->nonblock = write.nonblock;
    skip(&write);
    r = post_lines(&write, &ready);
    if (r == -EAGAIN) {
        parked = park(&write);
        r = -ENOMEM;
    }
    if (parked)
        go_on(parked, 0, &ready);
    else
        finish(&write, r);
    mbox_ready_run(&ready);
}

/* Makes a message of what is kept. Return: 0; NULL in *ret_msg: there is nothing; -ENOMEM: it is kept on. */
static int take_rest(struct lines_file *lines, struct msg **ret_msg)
{
    struct start rest = take_kept(lines);

    *ret_msg = NULL;
    if (rest.size > 0)
        *ret_msg = msg_new(rest.data, rest.size, 0, rest.sender);
    if (rest.size > 0 && !*ret_msg) {
        keep(lines, &rest);
        return -ENOMEM;
    }
    free(rest.data);
    return 0;
}

static bool has_kept(struct lines_file *lines)
{
    bool has;

    pthread_mutex_lock(&lines->file.lock);
    has = lines->kept.size > 0;
    pthread_mutex_unlock(&lines->file.lock);
    return has;
}

/* Posts what nobody waits for: where there is no room it waits by itself. */
static void post_detached(struct file *file, struct msg *msg, struct mbox_ready *ready)
{
    struct mbox_op *op = detached_op_new();

    if (mbox_post(file->mbox, msg, op, ready) != MBOX_PARKED)
        free(op);
}

/* Return: 0; MBOX_PARKED: @req will be answered; a negative errno. */
static int post_rest(struct file *file, fuse_req_t req, struct msg *msg, struct mbox_ready *ready)
{
    struct lines_file *lines = (struct lines_file *)file;
    struct parked *parked;
    int r;

    if (!caller_can_wait(fuse_req_ctx(req)->pid)) {
        post_detached(file, msg, ready);
        return 0;
    }
    parked = parked_new(file, file->mbox, req, 0, parked_answer);
    if (!parked)
        return -ENOMEM;
    parked->op.nonblock = lines->nonblock;
    r = mbox_post(file->mbox, msg, &parked->op, ready);
    if (r != MBOX_PARKED)
        parked_free(parked);
    return r;
}

static void close_found_out(struct file *file, fuse_req_t req, int is_last)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct msg *msg = NULL;
    int r = is_last < 0 ? is_last : 0;

    if (is_last > 0)
        r = take_rest((struct lines_file *)file, &msg);
    if (msg)
        r = post_rest(file, req, msg, &ready);
    if (r != MBOX_PARKED)
        fuse_reply_err(req, -r);
    msg_unref(msg);
    mbox_ready_run(&ready);
}

/* When the process that opened the file closes its last descriptor, the rest is sent, and waits
 * where a write would. */
static void lines_flush(struct file *file, fuse_req_t req)
{
    struct lines_file *lines = (struct lines_file *)file;

    if (has_kept(lines))
        last_close_find_out(file, req, lines->opener, lines->ino, close_found_out);
    else
        fuse_reply_err(req, 0);
}

static void lines_release(struct file *file)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct msg *msg;

    if (take_rest((struct lines_file *)file, &msg) == 0 && msg)
        post_detached(file, msg, &ready);
    msg_unref(msg);
    mbox_ready_run(&ready);
}

static void lines_close(struct file *file)
{
    struct lines_file *lines = (struct lines_file *)file;

    free(lines->kept.data);
    free(lines->again.data);
}

static const struct file_ops lines_ops = {
    .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_PARALLEL_DIRECT_WRITES,
    .events = MBOX_WRITABLE,
    .write = lines_write,
    .flush = lines_flush,
    .release = lines_release,
    .close = lines_close,
    .size = sizeof(struct lines_file),
};

int lines_open(struct fs *fs, struct mbox *mbox, uint64_t ino, const struct caller *caller,
               struct file **ret_file)
{
    struct lines_file *lines;
    int r = file_new(fs, &lines_ops, mbox, ret_file);

    if (r < 0)
        return r;
    lines = (struct lines_file *)*ret_file;
    lines->ino = ino;
    lines->opener = caller_process(caller->tid, 0);
    return 0;
}
