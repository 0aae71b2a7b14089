/* The first read takes a message, and what reads leave of it is for the next ones; then comes the end of file,
 * which stays: one open, one message. With O_DIRECT (packet mode) a read is a whole message, and no end
 * follows; who switches it on after the end goes on with the next message. */
#include "recv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>

#include "fs/kernel/kernel.h"
#include "owner.h"

/* One read. */
struct reading {
    fuse_req_t req;
    size_t size;
    int flags;
    bool
        is_later_part; /* of a call that the kernel had to split, and that has got something already */
};

static bool recv_is_packet(const struct reading *reading)
{
    return reading->flags & O_DIRECT;
}

static struct quota *recv_quota_of(const struct recv_file *recv)
{
    return &recv->file.mbox->domain->quota;
}

/* Answers with what is left of the message. What does not arrive stays. */
static void recv_answer_rest(struct recv_file *recv, const struct reading *reading)
{
    struct mbox_entry *entry = recv->entry;
    const struct msg *msg = entry->msg;
    size_t left = msg->size_bytes - recv->offset;
    size_t n = reading->size < left ? reading->size : left;

    /* Before the answer: its receiver may send at once. */
    if (n == left)
        mbox_entry_discharge(entry);
    if (fuse_reply_buf(reading->req, (const char *)msg->data + recv->offset, n) < 0) {
        if (n == left)
            mbox_entry_recharge(entry, recv_quota_of(recv), recv->file.opener.uid);
        return;
    }
    recv->offset += n;
    if (n < left)
        return;
    mbox_entry_free(entry);
    recv->entry = NULL;
    recv->at_end = true;
}

static void answer_end(struct recv_file *recv, const struct reading *reading)
{
    if (fuse_reply_buf(reading->req, NULL, 0) == 0 && !reading->is_later_part && recv->goes_on)
        recv->at_end = false;
}

/* Answers with what the file has. Return: false: nothing, and it is not answered. */
static bool answer_unread(struct recv_file *recv, const struct reading *reading)
{
    if (recv->entry)
        recv_answer_rest(recv, reading);
    else if (reading->is_later_part || (recv->at_end && !recv_is_packet(reading)))
        answer_end(recv, reading);
    else
        return false;
    return true;
}

/* A message is about to arrive, or the first @n bytes of it. Return: 0; a negative errno: nobody has room for
 * what is left of it. */
static int charge_rest(struct recv_file *recv, struct mbox_entry *entry, size_t n)
{
    if (n < entry->msg->size_bytes)
        return mbox_entry_charge_keeper(entry, recv_quota_of(recv), recv->file.opener.uid);
    mbox_entry_discharge(entry);
    return 0;
}

/* @n bytes of @entry have arrived. */
static void recv_keep_rest(struct recv_file *recv, struct mbox_entry *entry, size_t n,
                           struct mbox_ready *ready)
{
    if (n < entry->msg->size_bytes) {
        recv->entry = entry;
        recv->offset = n;
    } else {
        recv->at_end = n > 0 || !recv->goes_on;
    }
    if (!recv->entry && !recv->at_end)
        return;
    /* There is something for those who wait. */
    readers_call(&recv->readers, ready);
    file_wake(&recv->file);
}

/* Answers with @entry, which is in flight: it leaves the mailbox only if the kernel takes the answer. */
static void recv_deliver(struct recv_file *recv, const struct reading *reading,
                         struct mbox_entry *entry, struct mbox_ready *ready)
{
    struct mbox *mbox = recv->file.mbox;
    const struct msg *msg = entry->msg;
    size_t n = reading->size < msg->size_bytes ? reading->size : msg->size_bytes;
    int r = charge_rest(recv, entry, n);

    if (r < 0)
        fuse_reply_err(reading->req, -r);
    else
        r = fuse_reply_buf(reading->req, (const char *)msg->data, n);
    if (r < 0) {
        mbox_abort(mbox, entry, ready);
        return;
    }
    recv->seen = msg->id;
    recv->at_end = false;
    if (!recv_is_packet(reading))
        recv_keep_rest(recv, entry, n, ready);
    mbox_commit(mbox, entry, ready);
    if (recv->entry != entry)
        mbox_entry_free(entry);
}

/* Where nobody is left who could send, what was sent is followed by an end of file. */
static void recv_answer_failure(fuse_req_t req, int result)
{
    if (result == -EPIPE)
        fuse_reply_buf(req, NULL, 0);
    else
        fuse_reply_err(req, -result);
}

/* Return: whether there is a message to wait for; else @req is answered. */
static bool may_wait(struct recv_file *recv, fuse_req_t req)
{
    int r = recv->check ? recv->check(recv) : RECV_GOES_ON;

    if (r < 0)
        recv_answer_failure(req, r);
    else if (r != RECV_GOES_ON)
        fuse_reply_buf(req, NULL, 0);
    return r == RECV_GOES_ON;
}

static void recv_complete(struct mbox_op *op, struct mbox_ready *ready);

/* Answers, now or once there is a message. */
static void recv_serve(struct recv_file *recv, const struct reading *reading,
                       struct mbox_ready *ready)
{
    struct mbox_op wanted = {
        .max_bytes = recv_is_packet(reading) ? reading->size : SIZE_MAX,
        .seen = recv->seen,
    };
    struct mbox_entry *entry;
    int r;

    if (answer_unread(recv, reading) || !may_wait(recv, reading->req))
        return;
    r = readers_take(&recv->readers, &recv->file, reading->req, reading->size, reading->flags,
                     &wanted, recv_complete, &entry, ready);
    if (r < 0)
        recv_answer_failure(reading->req, r);
    else if (r == 0)
        recv_deliver(recv, reading, entry, ready);
}

static void recv_complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct recv_file *recv = (struct recv_file *)parked_of(op)->file;
    struct ended ended = readers_return(&recv->readers, op);
    const struct reading reading = {
        .req = ended.req,
        .size = ended.size,
        .flags = ended.max_bytes != SIZE_MAX ? O_DIRECT : 0,
    };

    if (ended.result == 0 && ((!recv_is_packet(&reading) && (recv->entry || recv->at_end)) ||
                              readers_was_told_before(&ended, recv->seen))) {
        /* Another was quicker, and what it has left comes first. */
        mbox_abort(recv->file.mbox, ended.entry, ready);
        recv_serve(recv, &reading, ready);
    } else if (ended.result == 0) {
        recv_deliver(recv, &reading, ended.entry, ready);
    } else if (readers_was_called(&ended)) {
        recv_serve(recv, &reading, ready);
    } else {
        recv_answer_failure(ended.req, ended.result);
    }
    readers_unlock(&recv->readers);
    file_unref(ended.file);
}

void recv_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    const struct reading reading = {
        .req = req, .size = size, .flags = flags, .is_later_part = offset > 0
    };
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct recv_file *recv = (struct recv_file *)file;

    file_ref(file);
    readers_lock(&recv->readers);
    recv_serve(recv, &reading, &ready);
    readers_unlock(&recv->readers);
    mbox_ready_run(&ready);
    file_unref(file);
}

bool recv_has_unread(struct file *file)
{
    struct recv_file *recv = (struct recv_file *)file;
    bool has_unread;

    readers_lock(&recv->readers);
    has_unread = recv->entry || recv->at_end || mbox_has_for(file->mbox, recv->seen);
    readers_unlock(&recv->readers);
    return has_unread;
}

void recv_forget(struct recv_file *recv)
{
    mbox_entry_free(recv->entry);
    recv->entry = NULL;
    recv->at_end = false;
}

void recv_close(struct file *file)
{
    struct recv_file *recv = (struct recv_file *)file;

    mbox_entry_free(recv->entry);
    readers_deinit(&recv->readers);
}

static const struct file_ops recv_ops = {
    .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH,
    .keeps_from_cache = true,
    .events = MBOX_READABLE,
    .admit = owner_admit_reader,
    .read = recv_read,
    .has_unread = recv_has_unread,
    .close = recv_close,
    .size = sizeof(struct recv_file),
};

int recv_file_new(struct kernel *kernel, const struct file_ops *ops, struct mbox *mbox,
                  struct file **ret_file)
{
    int r = file_new(&kernel->files, ops, mbox, ret_file);

    if (r == 0)
        readers_init(&((struct recv_file *)*ret_file)->readers);
    return r;
}

int recv_open(struct kernel *kernel, struct mbox *mbox, struct file **ret_file)
{
    int r = recv_file_new(kernel, &recv_ops, mbox, ret_file);

    if (r == 0)
        ((struct recv_file *)*ret_file)->seen = mbox_begin(mbox);
    return r;
}
