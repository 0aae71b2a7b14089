/* A file in drop/ has its place in the mailbox from the start, is charged before it grows, and has all that its
 * close will need, so that closing it can't fail. Each open makes a file of its own, whatever its name: nobody finds
 * one that is open.
 *
 * What is written collects in the message that it will be: nothing is copied at the close, and a gap takes no memory
 * (msg_resize). It is sent at the close: a FLUSH by the process that created it, after something was written, for its
 * last descriptor of the file (shells close others before, and children close theirs); or else the RELEASE. A file
 * of which a signal has killed the creator or the last writer is not sent.
 *
 * The mailbox may be removed meanwhile: a place that is taken does not keep it, and whoever has the file open
 * gets EIDRM. */
#include "drop_file.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "fs/kernel/caller.h"
#include "fs/kernel/kernel.h"
#include "fs/kernel/last_close.h"
#include "fs/kernel/parked.h"

struct drop_again *drop_again_ref(struct drop_again *again)
{
    atomic_fetch_add_explicit(&again->n_refs, 1, memory_order_relaxed);
    return again;
}

void drop_again_unref(struct drop_again *again)
{
    if (atomic_fetch_sub_explicit(&again->n_refs, 1, memory_order_acq_rel) > 1)
        return;
    if (again->drop)
        file_unref(&again->drop->file);
    door_remove_node(again->door);
    pthread_mutex_destroy(&again->lock);
    free(again);
}

/* Return: what tells the drop/ of @mbox from others. It never changes. */
uint64_t drop_dir_ino(struct mbox *mbox)
{
    return box_of(mbox)->dir.ino;
}

static struct drop_file *drop_of(struct node *node)
{
    return node->object;
}

void drop_get_attr(struct drop_file *drop, struct stat *ret_attr)
{
    pthread_mutex_lock(&drop->file.lock);
    attr_get(&drop->attr, ret_attr);
    ret_attr->st_size = (off_t)(drop->msg ? drop->msg->size_bytes : drop->sent_bytes);
    pthread_mutex_unlock(&drop->file.lock);
}

static void node_getattr(struct node *node, struct stat *ret_attr)
{
    drop_get_attr(drop_of(node), ret_attr);
}

/* Return: what a message of @size_bytes costs more than an empty one. */
static uint64_t extra_charge(size_t size_bytes)
{
    return size_bytes > MSG_MIN_CHARGE_BYTES ? size_bytes - MSG_MIN_CHARGE_BYTES : 0;
}

/* Return: what a file of @size_bytes is charged beside its place. */
static uint64_t charge_of(uint64_t size_bytes)
{
    uint64_t bytes = size_bytes > DROP_MIN_CHARGE_BYTES ? size_bytes : DROP_MIN_CHARGE_BYTES;

    return bytes - MSG_MIN_CHARGE_BYTES;
}

/* Under lock, or before others see it: makes the charge @bytes. Return: as quota_charge; it can't fail to shrink. */
static int set_charge(struct drop_file *drop, uint64_t bytes)
{
    struct quota *quota = drop->file.kernel->quota;
    int r = 0;

    if (bytes > drop->charged)
        r = quota_charge(quota, drop->sender.uid, bytes - drop->charged);
    else
        quota_release(quota, drop->sender.uid, drop->charged - bytes);
    if (r == 0)
        drop->charged = bytes;
    return r;
}

/* Under lock: it will not be sent. */
static void drop_spoil(struct drop_file *drop, int error)
{
    if (drop->state != DROP_COLLECTING)
        return;
    drop->state = DROP_SPOILED;
    drop->error = error;
    msg_unref(drop->msg);
    drop->msg = NULL;
    set_charge(drop, charge_of(0));
}

/* Return: 0; -EFBIG; -EIDRM. */
static int drop_check_size(struct drop_file *drop, uint64_t size_bytes)
{
    struct mbox_limits limits;
    int r = mbox_get_limits(drop->file.mbox, &limits);

    return r == 0 && size_bytes > limits.bytes ? -EFBIG : r;
}

/* Under lock: makes the message @size_bytes long, and its charge so too, before there is memory for it. What is new is
 * zero.
 * Return: 0; -EFBIG; -ENOSPC, -EDQUOT, -ENOMEM, -EIDRM: it is spoiled; -EPIPE: it is done already. */
static int drop_resize(struct drop_file *drop, uint64_t size_bytes)
{
    uint64_t charged = drop->charged;
    int r;

    if (drop->state != DROP_COLLECTING)
        return drop->error;
    r = drop_check_size(drop, size_bytes);
    if (r == 0 && charge_of(size_bytes) > charged)
        r = set_charge(drop, charge_of(size_bytes));
    if (r == 0)
        r = msg_resize(&drop->msg, size_bytes);
    if (r < 0) {
        drop_spoil(drop, r);
        return r;
    }
    set_charge(drop, charge_of(size_bytes));
    attr_touch(&drop->attr);
    return 0;
}

/* Under lock: @size bytes at @offset, or at the end. Return: 0; as resize. */
static int drop_write_bytes(struct drop_file *drop, const char *data, size_t size, off_t offset,
                            bool at_end)
{
    uint64_t end;
    int r = 0;

    /* The kernel may still take the file to be as long as the one that was sent by its name. */
    if (at_end && drop->msg)
        offset = (off_t)drop->msg->size_bytes;
    end = (uint64_t)offset + size;

    if (drop->state != DROP_COLLECTING || !drop->msg || end > drop->msg->size_bytes)
        r = drop_resize(drop, end);
    else if ((r = drop_check_size(drop, 0)) < 0)
        drop_spoil(drop, r);
    if (r == 0) {
        /* Collecting, as it is then, there is a message. */
        assert(drop->msg && data);
        memcpy(drop->msg->data + offset, data, size);
        drop->has_written = true;
    }
    return r;
}

int drop_set_attr(struct drop_file *drop, const struct node_change *change)
{
    int r = 0;

    pthread_mutex_lock(&drop->file.lock);
    if (change->to_set & FUSE_SET_ATTR_SIZE)
        r = drop_resize(drop, (uint64_t)change->attr.st_size);
    /* A file that is one hole: cp only sets its size. */
    if (r == 0 && drop->msg && drop->msg->size_bytes > 0)
        drop->has_written = true;
    if (r == 0)
        attr_change(&drop->attr, change);
    pthread_mutex_unlock(&drop->file.lock);
    return r;
}

static int node_setattr(struct node *node, const struct node_change *change)
{
    return drop_set_attr(drop_of(node), change);
}

/* As a truncation that only grows. Room in a file's end is never kept: it is charged as it grows. */
int drop_allocate(struct drop_file *drop, int mode, off_t offset, off_t length)
{
    uint64_t end = (uint64_t)offset + (uint64_t)length;
    int r = 0;

    if (mode & ~FALLOC_FL_KEEP_SIZE)
        return -EOPNOTSUPP;
    if (mode & FALLOC_FL_KEEP_SIZE)
        return 0;
    pthread_mutex_lock(&drop->file.lock);
    if (!drop->msg || end > drop->msg->size_bytes)
        r = drop_resize(drop, end);
    if (r == 0)
        drop->has_written = true;
    pthread_mutex_unlock(&drop->file.lock);
    return r;
}

static int node_fallocate(struct node *node, int mode, off_t offset, off_t length)
{
    return drop_allocate(drop_of(node), mode, offset, length);
}

/* A message has none, but who copies a file with some (rsync -X, cp --preserve=xattr) has sent it when it is told that
 * they could not be set, and would take it for a failure. Programs know themselves what to do without ACLs. */
int drop_ignore_xattr(struct node *node, const char *name, const char *value, size_t size,
                      int flags)
{
    (void)node;
    (void)value;
    (void)size;
    (void)flags;
    return strncmp(name, "system.", strlen("system.")) == 0 ? -EOPNOTSUPP : 0;
}

static void node_release(struct node *node)
{
    file_unref(&drop_of(node)->file);
}

/* Nobody opens it by its descriptor. */
const struct node_ops drop_node_ops = {
    .getattr = node_getattr,
    .setattr = node_setattr,
    .sets_size = true,
    .fallocate = node_fallocate,
    .xattr_set = drop_ignore_xattr,
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
    int r;

    note_writer(drop, req);
    pthread_mutex_lock(&file->lock);
    r = drop_write_bytes(drop, data, size, offset, flags & O_APPEND);
    pthread_mutex_unlock(&file->lock);
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_write(req, size);
}

/* Under lock: copies what there is of @size bytes from @offset on. Return: 0 with *ret_n of them; -EIDRM; -EPIPE: it is
 * sent already, or will never be. */
static int read_bytes(struct drop_file *drop, char *data, size_t size, off_t offset, size_t *ret_n)
{
    size_t start = (size_t)offset;
    size_t left;
    int r = drop->state == DROP_COLLECTING ? drop_check_size(drop, 0) : drop->error;

    if (r < 0)
        return r;
    left = start < drop->msg->size_bytes ? drop->msg->size_bytes - start : 0;
    *ret_n = size < left ? size : left;
    if (*ret_n > 0)
        memcpy(data, drop->msg->data + start, *ret_n);
    return 0;
}

/* Copied, because a writer may move the bytes while the kernel is told. */
static void drop_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    char *data = malloc(size);
    size_t n = 0;
    int r = data ? 0 : -ENOMEM;

    (void)flags;
    if (r == 0) {
        pthread_mutex_lock(&file->lock);
        r = read_bytes((struct drop_file *)file, data, size, offset, &n);
        pthread_mutex_unlock(&file->lock);
    }
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_buf(req, data, n);
    free(data);
}

/* Takes what was collected, to be sent; the place and the charge go with it.
 * Return: NULL: there is nothing to be sent (any more). */
static struct msg *drop_take_collected(struct drop_file *drop)
{
    struct msg *msg = NULL;

    pthread_mutex_lock(&drop->file.lock);
    if (drop->state == DROP_COLLECTING && drop->has_written) {
        msg = drop->msg;
        drop->msg = NULL;
        drop->state = DROP_DONE;
        drop->error = -EPIPE;
        drop->has_place = false;
        drop->sent_bytes = msg->size_bytes;
        set_charge(drop, extra_charge(msg->size_bytes));
        /* It is the message's from now on. */
        drop->charged = 0;
    }
    pthread_mutex_unlock(&drop->file.lock);
    return msg;
}

/* It is sent: its name answers. That its owner may open it is what lets the sender send another by that name. */
static void drop_remember(struct drop_file *drop)
{
    struct drop_name *name;
    struct stat attr;

    drop_get_attr(drop, &attr);
    attr.st_mode |= S_IRUSR | S_IWUSR;
    pthread_mutex_lock(&drop->file.lock);
    name = drop->name;
    drop->name = NULL;
    pthread_mutex_unlock(&drop->file.lock);
    if (name)
        drop_names_remember(&box_of(drop->file.mbox)->boxes->drop_names, name, &attr);
}

/* Sends what nobody waits for. */
static void send_detached(struct drop_file *drop, struct msg *msg, struct mbox_ready *ready)
{
    struct mbox_op *op = drop->detached;

    drop->detached = NULL;
    drop_remember(drop);
    if (mbox_post_reserved(drop->file.mbox, msg, op, ready) != MBOX_PARKED)
        free(op);
}

static void complete_close(struct mbox_op *op, struct mbox_ready *ready)
{
    struct ended ended = parked_end(op);

    (void)ready;
    if (ended.result == 0)
        drop_remember((struct drop_file *)ended.file);
    fuse_reply_err(ended.req, -ended.result);
    file_unref(ended.file);
}

/* Sends @msg before the close is answered; in a rendezvous, once a receiver has it.
 * Return: 0; MBOX_PARKED: @req will be answered; a negative errno. */
static int send_collected(struct drop_file *drop, fuse_req_t req, struct msg *msg,
                          struct mbox_ready *ready)
{
    struct parked *parked = NULL;
    int r;

    if (caller_can_wait(fuse_req_ctx(req)->pid))
        parked = parked_new(&drop->file, drop->file.mbox, req, 0, complete_close);
    if (!parked) {
        send_detached(drop, msg, ready);
        return 0;
    }
    r = mbox_post_reserved(drop->file.mbox, msg, &parked->op, ready);
    if (r != MBOX_PARKED)
        parked_free(parked);
    if (r == 0)
        drop_remember(drop);
    return r;
}

/* The creator, who wrote last, or who had started that to write for it, as a shell does. */
static bool drop_is_writer(struct drop_file *drop, pid_t tid)
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
    drop_spoil(drop, -EPIPE);
    pthread_mutex_unlock(&drop->file.lock);
}

static bool drop_has_something(struct drop_file *drop)
{
    bool has_written;

    pthread_mutex_lock(&drop->file.lock);
    has_written = drop->state == DROP_COLLECTING && drop->has_written;
    pthread_mutex_unlock(&drop->file.lock);
    return has_written;
}

static void drop_close_found_out(struct file *file, fuse_req_t req, int is_last)
{
    struct drop_file *drop = (struct drop_file *)file;
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct msg *msg = NULL;
    int r = is_last < 0 ? is_last : 0;

    if (is_last > 0)
        msg = drop_take_collected(drop);
    if (msg)
        r = send_collected(drop, req, msg, &ready);
    else if (has_lost_its_mailbox(drop))
        r = -EIDRM;
    if (r != MBOX_PARKED)
        fuse_reply_err(req, -r);
    msg_unref(msg);
    mbox_ready_run(&ready);
}

static void drop_flush(struct file *file, fuse_req_t req)
{
    struct drop_file *drop = (struct drop_file *)file;
    pid_t tid = fuse_req_ctx(req)->pid;

    if (caller_is_being_killed(tid) && drop_is_writer(drop, tid))
        spoil_by_death(drop);
    if (drop_has_something(drop))
        last_close_find_out(file, req, drop->sender.pid, drop->attr.ino, drop_close_found_out);
    else
        drop_close_found_out(file, req, 0);
}

/* Gives up what was not sent, and the place for it. */
static void drop_give_up(struct drop_file *drop, struct mbox_ready *ready)
{
    bool has_place;

    pthread_mutex_lock(&drop->file.lock);
    drop_spoil(drop, -EPIPE);
    has_place = drop->has_place;
    drop->has_place = false;
    drop->state = DROP_DONE;
    set_charge(drop, 0);
    pthread_mutex_unlock(&drop->file.lock);
    if (has_place)
        mbox_unreserve(drop->file.mbox, drop->sender, ready);
}

/* Whoever held the last handle was not the creator: a child that went on writing, or has closed it
 * after the creator was gone. */
static void drop_release(struct file *file)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct drop_file *drop = (struct drop_file *)file;
    struct msg *msg = drop_take_collected(drop);

    if (msg)
        send_detached(drop, msg, &ready);
    else
        drop_give_up(drop, &ready);
    msg_unref(msg);
    mbox_ready_run(&ready);
    if (drop->node_id)
        prune_later(&file->kernel->prune, drop->node_id);
}

static void drop_close(struct file *file)
{
    struct drop_file *drop = (struct drop_file *)file;

    msg_unref(drop->msg);
    free(drop->detached);
    free(drop->name);
    if (drop->again)
        drop_again_unref(drop->again);
    set_charge(drop, 0);
}

static const struct file_ops drop_file_ops = {
    .open_flags = FOPEN_DIRECT_IO,
    .read = drop_read,
    .write = drop_write,
    .flush = drop_flush,
    .release = drop_release,
    .close = drop_close,
    .size = sizeof(struct drop_file),
};

/* Return: 0 with all that the file needs until its name answers; -EDQUOT, -ENOSPC, -ENOMEM. */
static int equip(struct drop_file *drop, const struct drop_creation *creation, fuse_req_t req)
{
    struct caller caller = caller_of(req);
    int r = set_charge(drop, charge_of(0));

    if (r < 0)
        return r;
    drop->msg = msg_alloc(0, 0, drop->sender);
    drop->detached = detached_op_new();
    drop->name = drop_name_new(drop_dir_ino(creation->mbox), creation->name, &caller);
    return drop->msg && drop->detached && drop->name ? 0 : -ENOMEM;
}

/* Return: 0 with a file that has no place yet; as equip. */
int drop_file_new(const struct drop_creation *creation, fuse_req_t req, struct drop_file **ret_drop)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct kernel *kernel = box_of(creation->mbox)->boxes->kernel;
    struct drop_file *drop;
    struct file *file;
    uint64_t ino;
    int r;

    r = file_new(&kernel->files, &drop_file_ops, creation->mbox, &file);
    if (r < 0)
        return r;
    box_add_file(box_of(creation->mbox), file);
    drop = (struct drop_file *)file;
    drop->sender = caller_as_sender(req, &drop->last_writer);
    if (creation->again)
        drop->again = drop_again_ref(creation->again);
    ino = drop->again ? drop->again->attr.st_ino : nodes_new_inos(&kernel->nodes, 1);
    attr_init(&drop->attr, ino, S_IFREG | (creation->mode & 0777), ctx->uid, ctx->gid);
    r = equip(drop, creation, req);
    if (r < 0) {
        file_discard(file);
        return r;
    }
    *ret_drop = drop;
    return 0;
}
