/* A file is in the list of all until it is released or discarded, and there as long as it has references: the one
 * of the handle, those of requests that are parked, and that of a wake-up that is queued. A poller is woken by the
 * deferred work, for its mailbox calls under its own lock (on_ready). */
#include "file.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdlib.h>

#include "core/mailbox/quota.h"
#include "node.h"

void files_init(struct files *files, struct kernel *kernel, struct quota *quota,
                struct nodes *nodes, struct deferred *deferred)
{
    files->kernel = kernel;
    files->quota = quota;
    files->nodes = nodes;
    files->deferred = deferred;
    pthread_mutex_init(&files->lock, NULL);
    TAILQ_INIT(&files->list);
}

struct file *files_first(struct files *files)
{
    return TAILQ_FIRST(&files->list);
}

void files_deinit(struct files *files)
{
    pthread_mutex_destroy(&files->lock);
}

static void wake_pollers(struct deferred_work *work)
{
    struct file *file = (struct file *)((char *)work - offsetof(struct file, wake));

    fuse_lowlevel_notify_poll(file->ph);
    file_unref(file);
}

/* Under the mailbox's lock. */
static void wake_later(struct file *file)
{
    file_ref(file);
    if (!deferred_add(file->files->deferred, &file->wake))
        /* Never the last one: the work that is queued holds another. */
        atomic_fetch_sub_explicit(&file->n_refs, 1, memory_order_relaxed);
}

static void on_ready(struct mbox_watch *watch)
{
    wake_later((struct file *)((char *)watch - offsetof(struct file, watch)));
}

static void on_out_ready(struct mbox_watch *watch)
{
    wake_later((struct file *)((char *)watch - offsetof(struct file, out_watch)));
}

int file_new(struct files *files, const struct file_ops *ops, struct mbox *mbox,
             struct file **ret_file)
{
    struct file *file = calloc(1, ops->size);

    if (!file)
        return -ENOMEM;
    *file = (struct file){
        .ops = ops,
        .kernel = files->kernel,
        .files = files,
        .mbox = mbox ? mbox_ref(mbox) : NULL,
        .n_refs = 1,
        .watch = { .events = ops->events, .fire = on_ready },
        .wake = { .run = wake_pollers },
    };
    pthread_mutex_init(&file->lock, NULL);
    pthread_mutex_lock(&files->lock);
    TAILQ_INSERT_TAIL(&files->list, file, link);
    pthread_mutex_unlock(&files->lock);
    *ret_file = file;
    return 0;
}

void file_set_out(struct file *file, struct mbox *out)
{
    file->out = mbox_ref(out);
    file->watch.events = file->ops->events & ~MBOX_WRITABLE;
    file->out_watch = (struct mbox_watch){ .events = MBOX_WRITABLE, .fire = on_out_ready };
}

struct file *file_ref(struct file *file)
{
    /* Relaxed: as msg_ref. */
    atomic_fetch_add_explicit(&file->n_refs, 1, memory_order_relaxed);
    return file;
}

void file_unref(struct file *file)
{
    if (atomic_fetch_sub_explicit(&file->n_refs, 1, memory_order_acq_rel) > 1)
        return;
    if (file->ops->close)
        file->ops->close(file);
    if (file->ph)
        fuse_pollhandle_destroy(file->ph);
    if (file->mbox)
        mbox_unref(file->mbox);
    if (file->out)
        mbox_unref(file->out);
    quota_release_kept(file->files->quota, file->opener.uid, file->n_kept, QUOTA_OPEN);
    pthread_mutex_destroy(&file->lock);
    free(file);
}

int file_charge(struct files *files, fuse_req_t req)
{
    return quota_charge_kept(files->quota, fuse_req_ctx(req)->uid, FILE_KEPT_BYTES_OF_MAILBOX,
                             QUOTA_OPEN);
}

void file_uncharge(struct files *files, fuse_req_t req)
{
    quota_release_kept(files->quota, fuse_req_ctx(req)->uid, FILE_KEPT_BYTES_OF_MAILBOX,
                       QUOTA_OPEN);
}

void file_set_opener(struct file *file, fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);

    file->opener = (struct opener){ ctx->uid, ctx->gid };
    file->n_kept = file->mbox ? FILE_KEPT_BYTES_OF_MAILBOX : FILE_KEPT_BYTES;
    quota_release_kept(file->files->quota, ctx->uid, FILE_KEPT_BYTES_OF_MAILBOX - file->n_kept,
                       QUOTA_OPEN);
}

void file_release(struct file *file)
{
    if (file->ops->release)
        file->ops->release(file);
    file_discard(file);
}

static void end_mbox(struct file *file)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    mbox_remove(file->mbox, true, &ready);
    mbox_ready_run(&ready);
}

void file_discard(struct file *file)
{
    if (file->ends_mbox)
        end_mbox(file);
    if (file->mbox)
        mbox_unwatch(file->mbox, &file->watch);
    if (file->out)
        mbox_unwatch(file->out, &file->out_watch);
    pthread_mutex_lock(&file->files->lock);
    TAILQ_REMOVE(&file->files->list, file, link);
    pthread_mutex_unlock(&file->files->lock);
    file_unref(file);
}

/* struct fuse_open_out as it is since Linux 6.9; an older header has no backing_id. */
struct open_answer {
    uint64_t fh;
    uint32_t open_flags;
    int32_t backing_id;
};

/* libfuse's struct fuse_file_info has no member for FOPEN_STREAM, so the answer is made by hand. */
/* Return: 0: @file is its opener's, who is charged; a negative errno. */
static int ensure_opener(struct file *file, fuse_req_t req)
{
    int r = file->n_kept ? 0 : file_charge(file->files, req);

    if (r == 0 && !file->n_kept)
        file_set_opener(file, req);
    return r;
}

void file_reply_open(struct file *file, fuse_req_t req, uint64_t node_id)
{
    struct open_answer out = {
        .fh = (uintptr_t)file,
        .open_flags = file->ops->open_flags,
        .backing_id = file->backing_id,
    };
    int r = ensure_opener(file, req);

    file->node_id = node_id;
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        r = fuse_reply_buf(req, (const char *)&out, sizeof(out));
    if (r < 0)
        file_release(file);
}

void file_reply_create(struct file *file, fuse_req_t req, const struct node *dir, struct node *node)
{
    uint32_t flags = file->ops->open_flags;
    struct fuse_file_info fi = {
        .fh = (uintptr_t)file,
        .direct_io = !!(flags & FOPEN_DIRECT_IO),
        .keep_cache = !!(flags & FOPEN_KEEP_CACHE),
        .noflush = !!(flags & FOPEN_NOFLUSH),
        .parallel_direct_writes = !!(flags & FOPEN_PARALLEL_DIRECT_WRITES),
        .backing_id = file->backing_id,
    };
    struct fuse_entry_param entry;
    uint64_t node_id = node->id;
    struct nodes *nodes = file->files->nodes;
    int r = ensure_opener(file, req);

    file->node_id = node_id;
    if (r == 0) {
        node_fill_entry(node, dir, &entry);
        /* Nobody has mapped it yet, nor can before its size is changed. */
        if (dir && dir->ops->keeps_names)
            entry.attr_timeout = NODE_FOREVER_SECONDS;
        r = fuse_reply_create(req, &entry, &fi);
    } else {
        fuse_reply_err(req, -r);
    }
    if (r < 0) {
        node_forget(nodes, node_id, 1);
        file_release(file);
    }
}

void file_wake(struct file *file)
{
    bool is_polled;

    pthread_mutex_lock(&file->lock);
    is_polled = file->ph;
    pthread_mutex_unlock(&file->lock);
    if (is_polled)
        wake_later(file);
}

static unsigned int poll_events(unsigned int ready_for)
{
    return (ready_for & MBOX_READABLE ? POLLIN | POLLRDNORM : 0) |
           (ready_for & MBOX_WRITABLE ? POLLOUT | POLLWRNORM : 0) |
           (ready_for & MBOX_REMOVED ? POLLERR | POLLHUP : 0) |
           (ready_for & MBOX_CLOSED ? POLLHUP : 0);
}

/* Return: what @file is ready for. As with a socket, a link whose other end is gone can be written to:
 * the write fails at once. To a `call` that asks nothing it is told as it is of `send`. */
static unsigned int poll_mailboxes(struct file *file, bool arm)
{
    unsigned int ready_for = mbox_poll_at(file->mbox, file->prio, arm ? &file->watch : NULL);

    if (file->out) {
        unsigned int out = mbox_poll(file->out, arm ? &file->out_watch : NULL);

        ready_for &= ~MBOX_WRITABLE;
        if (out & (MBOX_WRITABLE | MBOX_REMOVED))
            ready_for |= MBOX_WRITABLE;
        if (out & MBOX_REMOVED && file->ops->ends_with_out && file->ops->ends_with_out(file))
            ready_for |= MBOX_REMOVED;
    }
    return ready_for & (file->ops->events | MBOX_REMOVED | MBOX_CLOSED);
}

static void let_expire(struct file *file)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    mbox_let_expire(file->mbox, &ready);
    if (file->out)
        mbox_let_expire(file->out, &ready);
    mbox_ready_run(&ready);
}

/* Keeps the first handle: all that the kernel sends for one open file are alike. */
static void keep_pollhandle(struct file *file, struct fuse_pollhandle *ph)
{
    pthread_mutex_lock(&file->lock);
    if (!file->ph) {
        file->ph = ph;
        ph = NULL;
    }
    pthread_mutex_unlock(&file->lock);
    if (ph)
        fuse_pollhandle_destroy(ph);
}

void file_poll(struct file *file, fuse_req_t req, struct fuse_pollhandle *ph)
{
    unsigned int events = file->ops->events;
    unsigned int ready_for = MBOX_READABLE | MBOX_WRITABLE;

    if (events) {
        if (ph)
            keep_pollhandle(file, ph);
        let_expire(file);
        ready_for = poll_mailboxes(file, ph);
        if (file->ops->has_unread && file->ops->has_unread(file))
            ready_for |= MBOX_READABLE;
        if (file->ops->never_blocks_writers && !(ready_for & MBOX_REMOVED))
            ready_for |= MBOX_WRITABLE;
    } else if (ph) {
        fuse_pollhandle_destroy(ph);
    }
    fuse_reply_poll(req, poll_events(ready_for));
}
