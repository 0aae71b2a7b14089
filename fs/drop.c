/* A file in drop/ has its place in the mailbox from the start and is charged as it grows, so that
 * closing it can't fail. Each open makes a file of its own, under a name that nobody finds again.
 *
 * What is written collects in the message that it will be. It is sent at the close: a FLUSH by the
 * process that created it, after something was written, for its last descriptor of the file (shells
 * close others before, and children close theirs); or else the RELEASE. A file of which
 * a signal has killed the creator or the last writer is not sent. */
#include "drop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "box.h"
#include "caller.h"
#include "fs.h"
#include "parked.h"

enum drop_state {
    DROP_COLLECTING,
    DROP_SPOILED, /* a writer was killed, or a write failed: what there is, is not all */
    DROP_DONE,    /* sent, or given up: its place and charge are gone */
};

struct drop_file {
    struct file file;
    uint64_t node_id;
    struct msg_sender sender;  /* who created it */
    _Atomic pid_t last_writer; /* the process that wrote last, */
    _Atomic pid_t its_parent;  /* and who had started it */
    /* Under file.lock: */
    enum drop_state state;
    int error;          /* once spoiled: what a write gets; negative */
    struct msg *msg;    /* what was written so far; NULL once it is done */
    size_t n_allocated; /* bytes there are in msg for it to grow into */
    bool has_written;
    struct attr attr;
};

static struct drop_file *drop_of(struct node *node)
{
    return node->object;
}

static void node_getattr(struct node *node, struct stat *ret_attr)
{
    struct drop_file *drop = drop_of(node);

    pthread_mutex_lock(&drop->file.lock);
    attr_get(&drop->attr, ret_attr);
    ret_attr->st_size = drop->msg ? (off_t)drop->msg->size_bytes : 0;
    pthread_mutex_unlock(&drop->file.lock);
}

/* Return: what a message of @size_bytes costs more than an empty one. */
static uint64_t extra_charge(size_t size_bytes)
{
    return size_bytes > MSG_MIN_CHARGE_BYTES ? size_bytes - MSG_MIN_CHARGE_BYTES : 0;
}

/* Under lock. Return: 0 with room for @size_bytes; -ENOMEM. */
static int allocate(struct drop_file *drop, size_t size_bytes)
{
    size_t n = drop->n_allocated;
    size_t size_now = drop->msg->size_bytes;
    struct msg *msg;

    if (size_bytes <= n)
        return 0;
    n = n + n / 2 > size_bytes ? n + n / 2 : size_bytes;
    msg = realloc(drop->msg, sizeof(*msg) + n);
    if (!msg)
        return -ENOMEM;
    memset(msg->data + size_now, 0, n - size_now);
    drop->msg = msg;
    drop->n_allocated = n;
    return 0;
}

/* Under lock: it will not be sent. */
static void spoil(struct drop_file *drop, int error)
{
    if (drop->state != DROP_COLLECTING)
        return;
    drop->state = DROP_SPOILED;
    drop->error = error;
}

static int check_size(struct drop_file *drop, uint64_t size_bytes)
{
    struct mbox_limits limits;
    int r = mbox_get_limits(drop->file.mbox, &limits);

    return r == 0 && size_bytes > limits.bytes ? -EFBIG : r;
}

/* Under lock: makes the message @size_bytes long, and its charge so too. What is new is zero.
 * Return: 0; -EFBIG; -ENOSPC, -EDQUOT, -ENOMEM, -EIDRM: it is spoiled; -EPIPE: it is done already. */
static int resize(struct drop_file *drop, uint64_t size_bytes)
{
    struct quota *quota = &drop->file.fs->domain.quota;
    uint64_t charge = extra_charge(size_bytes);
    uint64_t charged;
    int r;

    if (drop->state != DROP_COLLECTING)
        return drop->error;
    charged = extra_charge(drop->msg->size_bytes);
    r = check_size(drop, size_bytes);
    if (r == 0)
        r = allocate(drop, size_bytes);
    if (r == 0 && charge > charged)
        r = quota_charge(quota, drop->sender.uid, charge - charged);
    if (r < 0) {
        spoil(drop, r);
        return r;
    }
    if (charge < charged)
        quota_release(quota, drop->sender.uid, charged - charge);
    if (size_bytes < drop->msg->size_bytes)
        memset(drop->msg->data + size_bytes, 0, drop->msg->size_bytes - size_bytes);
    drop->msg->size_bytes = size_bytes;
    attr_touch(&drop->attr);
    return 0;
}

static int node_setattr(struct node *node, const struct node_change *change)
{
    struct drop_file *drop = drop_of(node);
    int r = 0;

    pthread_mutex_lock(&drop->file.lock);
    if (change->to_set & FUSE_SET_ATTR_SIZE)
        r = resize(drop, (uint64_t)change->attr.st_size);
    /* A file that is one hole: cp only sets its size. */
    if (r == 0 && drop->msg && drop->msg->size_bytes > 0)
        drop->has_written = true;
    if (r == 0)
        attr_change(&drop->attr, change);
    pthread_mutex_unlock(&drop->file.lock);
    return r;
}

static void node_release(struct node *node)
{
    file_unref(&drop_of(node)->file);
}

/* Nobody opens it again. */
static const struct node_ops node_ops = {
    .getattr = node_getattr,
    .setattr = node_setattr,
    .sets_size = true,
    .release = node_release,
};

static void note_writer(struct drop_file *drop, fuse_req_t req)
{
    pid_t before = atomic_load_explicit(&drop->last_writer, memory_order_relaxed);
    pid_t pid = caller_as_sender(req, &drop->last_writer).pid;

    /* Relaxed: writers at the same moment are told apart by nobody. */
    if (pid != before)
        atomic_store_explicit(&drop->its_parent, caller_parent(pid), memory_order_relaxed);
}

static void drop_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                       off_t offset, int flags)
{
    struct drop_file *drop = (struct drop_file *)file;
    uint64_t end = (uint64_t)offset + size;
    int r = 0;

    (void)flags;
    note_writer(drop, req);
    pthread_mutex_lock(&file->lock);
    if (drop->state != DROP_COLLECTING)
        r = drop->error;
    else if (end > drop->msg->size_bytes)
        r = resize(drop, end);
    if (r == 0) {
        memcpy(drop->msg->data + offset, data, size);
        drop->has_written = true;
    }
    pthread_mutex_unlock(&file->lock);
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_write(req, size);
}

/* Takes what was collected, to be sent; the place and the charge go with it.
 * Return: NULL: there is nothing to be sent (any more). */
static struct msg *take_collected(struct drop_file *drop)
{
    struct msg *msg = NULL;

    pthread_mutex_lock(&drop->file.lock);
    if (drop->state == DROP_COLLECTING && drop->has_written) {
        msg = drop->msg;
        drop->msg = NULL;
        drop->state = DROP_DONE;
        drop->error = -EPIPE;
    }
    pthread_mutex_unlock(&drop->file.lock);
    return msg;
}

/* Sends what nobody waits for. */
static void send_detached(struct drop_file *drop, struct msg *msg, struct mbox_ready *ready)
{
    struct mbox_op *op = detached_op_new();

    if (mbox_post_reserved(drop->file.mbox, msg, op, ready) != MBOX_PARKED)
        free(op);
}

/* Sends @msg before the close is answered; in a rendezvous, once a receiver has it.
 * Return: 0; MBOX_PARKED: @req will be answered; a negative errno. */
static int send_collected(struct drop_file *drop, fuse_req_t req, struct msg *msg,
                          struct mbox_ready *ready)
{
    struct parked *parked = NULL;
    int r;

    if (!caller_is_exiting(fuse_req_ctx(req)->pid))
        parked = parked_new(&drop->file, drop->file.mbox, req, 0, parked_answer);
    if (!parked) {
        send_detached(drop, msg, ready);
        return 0;
    }
    r = mbox_post_reserved(drop->file.mbox, msg, &parked->op, ready);
    if (r != MBOX_PARKED)
        parked_free(parked);
    return r;
}

/* The creator, who wrote last, or who had started that to write for it, as a shell does. */
static bool is_writer(struct drop_file *drop, pid_t tid)
{
    pid_t pid = caller_process(tid, drop->sender.pid);

    return pid == drop->sender.pid ||
           pid == atomic_load_explicit(&drop->last_writer, memory_order_relaxed) ||
           pid == atomic_load_explicit(&drop->its_parent, memory_order_relaxed);
}

static bool has_lost_its_mailbox(struct drop_file *drop)
{
    bool has_lost;

    pthread_mutex_lock(&drop->file.lock);
    has_lost = drop->state == DROP_SPOILED && drop->error == -EIDRM;
    pthread_mutex_unlock(&drop->file.lock);
    return has_lost;
}

static void spoil_by_death(struct drop_file *drop)
{
    pthread_mutex_lock(&drop->file.lock);
    spoil(drop, -EPIPE);
    pthread_mutex_unlock(&drop->file.lock);
}

static bool has_something(struct drop_file *drop)
{
    bool has_written;

    pthread_mutex_lock(&drop->file.lock);
    has_written = drop->state == DROP_COLLECTING && drop->has_written;
    pthread_mutex_unlock(&drop->file.lock);
    return has_written;
}

static void drop_flush(struct file *file, fuse_req_t req)
{
    struct drop_file *drop = (struct drop_file *)file;
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    pid_t tid = fuse_req_ctx(req)->pid;
    struct msg *msg = NULL;
    int r = 0;

    if (caller_is_being_killed(tid) && is_writer(drop, tid))
        spoil_by_death(drop);
    else if (has_something(drop) && caller_closes_last(tid, drop->sender.pid, drop->attr.ino))
        msg = take_collected(drop);
    if (msg)
        r = send_collected(drop, req, msg, &ready);
    else if (has_lost_its_mailbox(drop))
        r = -EIDRM;
    if (r != MBOX_PARKED)
        fuse_reply_err(req, -r);
    msg_unref(msg);
    mbox_ready_run(&ready);
}

/* Gives up what was not sent. */
static void give_up(struct drop_file *drop, struct mbox_ready *ready)
{
    struct msg *msg;

    pthread_mutex_lock(&drop->file.lock);
    msg = drop->msg;
    drop->msg = NULL;
    drop->state = DROP_DONE;
    pthread_mutex_unlock(&drop->file.lock);
    if (!msg)
        return;
    quota_release(&drop->file.fs->domain.quota, drop->sender.uid, extra_charge(msg->size_bytes));
    mbox_unreserve(drop->file.mbox, drop->sender, ready);
    msg_unref(msg);
}

/* Whoever held the last handle was not the creator: a child that went on writing, or has closed it
 * after the creator was gone. */
static void drop_release(struct file *file)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct drop_file *drop = (struct drop_file *)file;
    struct msg *msg = take_collected(drop);

    if (msg)
        send_detached(drop, msg, &ready);
    else
        give_up(drop, &ready);
    msg_unref(msg);
    mbox_ready_run(&ready);
    if (drop->node_id)
        prune_later(file->fs, drop->node_id);
}

static void drop_close(struct file *file)
{
    msg_unref(((struct drop_file *)file)->msg);
}

static const struct file_ops file_ops = {
    .open_flags = FOPEN_DIRECT_IO,
    .write = drop_write,
    .flush = drop_flush,
    .release = drop_release,
    .close = drop_close,
    .size = sizeof(struct drop_file),
};

/* Return: 0 with a file that has no place yet; -ENOMEM. */
static int new_file(struct box *box, fuse_req_t req, mode_t mode, struct drop_file **ret_drop)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct fs *fs = fuse_req_userdata(req);
    struct drop_file *drop;
    struct file *file;
    int r;

    r = file_new(fs, &file_ops, &box->mbox, &file);
    if (r < 0)
        return r;
    box_add_file(box, file);
    drop = (struct drop_file *)file;
    drop->sender = caller_as_sender(req, &drop->last_writer);
    drop->msg = msg_alloc(0, 0, drop->sender);
    attr_init(&drop->attr, nodes_new_inos(&fs->nodes, 1), S_IFREG | (mode & 0777), ctx->uid,
              ctx->gid);
    if (!drop->msg) {
        file_discard(file);
        return -ENOMEM;
    }
    *ret_drop = drop;
    return 0;
}

/* The file has its place: answers the create. */
static void reply_create(struct drop_file *drop, fuse_req_t req)
{
    struct fs *fs = drop->file.fs;
    struct node *node;
    int r;

    file_ref(&drop->file);
    r = node_obtain(fs, &node_ops, drop, NULL, &node);
    if (r == 0) {
        drop->node_id = node->id;
        file_reply_create(&drop->file, req, node);
        return;
    }
    file_unref(&drop->file);
    fuse_reply_err(req, -r);
    file_release(&drop->file);
}

static void reply_failure(struct drop_file *drop, fuse_req_t req, int result)
{
    fuse_reply_err(req, -result);
    file_discard(&drop->file);
}

static void complete_create(struct mbox_op *op, struct mbox_ready *ready)
{
    struct ended ended = parked_end(op);
    struct drop_file *drop = (struct drop_file *)ended.file;

    (void)ready;
    if (ended.result < 0)
        reply_failure(drop, ended.req, ended.result);
    else
        reply_create(drop, ended.req);
    file_unref(ended.file);
}

void drop_create(struct box *box, fuse_req_t req, mode_t mode, struct fuse_file_info *fi)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct drop_file *drop;
    struct parked *parked;
    int r;

    if ((fi->flags & O_ACCMODE) != O_WRONLY) {
        fuse_reply_err(req, EACCES);
        return;
    }
    r = new_file(box, req, mode, &drop);
    if (r < 0) {
        fuse_reply_err(req, -r);
        return;
    }
    parked = parked_new(&drop->file, drop->file.mbox, req, 0, complete_create);
    if (!parked) {
        reply_failure(drop, req, -ENOMEM);
        return;
    }
    parked->op.nonblock = fi->flags & O_NONBLOCK;
    r = mbox_reserve(drop->file.mbox, drop->sender, &parked->op, &ready);
    if (r != MBOX_PARKED)
        parked_free(parked);
    if (r == 0)
        reply_create(drop, req);
    else if (r < 0)
        reply_failure(drop, req, r);
    mbox_ready_run(&ready);
}
