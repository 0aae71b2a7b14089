/* What is written to reply/ID is collected, and is the answer when the file is closed: by a FLUSH of the process that
 * opened it, after something was written, for its last descriptor (as in drop/); or else the RELEASE. One write can carry
 * `message_bytes`, all together `bytes`. Nothing written is no answer. Where a write failed after others, or a signal has killed a
 * writer, what there is is not all: nothing is given, and the question stays open for another try.
 *
 * Several may write an answer at a time, each by an open file of its own. The first that is closed is it; the others
 * get EPIPE, as they do when the asker is gone.
 *
 * What is collected counts for who opened the file, and once it is given, for the asker.
 *
 * The file's node knows the question's id and no more: whether it is open is asked each time. */
#include "reply.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "box.h"
#include "box_listing.h"
#include "core/mailbox/call.h"
#include "fs/kernel/caller.h"
#include "fs/kernel/kernel.h"
#include "fs/kernel/last_close.h"
#include "fs/kernel/listing.h"
#include "ids.h"
#include "send.h"

/* A node's object. */
struct reply_name {
    struct door *door; /* of its mailbox; it counts as a node */
    uint64_t id;
    struct attr attr;
};

enum reply_state {
    REPLY_COLLECTING,
    REPLY_SPOILED, /* what there was, was not all */
    REPLY_DONE,    /* given */
};

struct reply_file {
    struct file file;
    uint64_t id;
    uint64_t ino;
    pid_t opener; /* the process */
    _Atomic pid_t last_writer;
    /* Under file.lock: */
    enum reply_state state;
    int error;       /* no longer collecting: what a write gets; negative */
    struct msg *msg; /* what was written so far; NULL: nothing */
};

static uint64_t reply_ino_of(uint64_t id)
{
    return NODE_INO_REPLIES + (id & ((UINT64_C(1) << NODE_INO_REPLY_BITS) - 1));
}

static struct quota *reply_quota_of(struct reply_file *reply)
{
    return reply->file.kernel->quota;
}

/* Under lock: gives up what was collected. */
static void reply_spoil(struct reply_file *reply, int error)
{
    if (reply->state != REPLY_COLLECTING)
        return;
    reply->state = REPLY_SPOILED;
    reply->error = error;
    if (reply->msg)
        quota_release(reply_quota_of(reply), reply->file.opener.uid, msg_charge_bytes(reply->msg));
    msg_unref(reply->msg);
    reply->msg = NULL;
}

/* Return: 0: the question is open, and an answer of @size_bytes, of which @n come with this write, is not too long;
 * -EIDRM; -EPIPE; -EMSGSIZE; -EFBIG. */
static int reply_check(struct reply_file *reply, uint64_t size_bytes, size_t n)
{
    struct mbox_limits limits;
    int r = mbox_get_limits(reply->file.mbox, &limits);

    if (r < 0)
        return r;
    if (!call_is_open(reply->file.mbox, reply->id))
        return -EPIPE;
    if (n > limits.message_bytes)
        return -EMSGSIZE;
    return size_bytes > limits.bytes ? -EFBIG : 0;
}

/* Makes room for @n bytes more of @sender's, charged before there is memory for them. Return: 0; a negative errno. */
static int reply_grow(struct reply_file *reply, size_t n, struct msg_sender sender)
{
    uint64_t before = reply->msg ? msg_charge_bytes(reply->msg) : 0;
    size_t size = (reply->msg ? reply->msg->size_bytes : 0) + n;
    uint64_t after = size > MSG_MIN_CHARGE_BYTES ? size : MSG_MIN_CHARGE_BYTES;
    int r = quota_charge(reply_quota_of(reply), sender.uid, after - before);

    if (r < 0)
        return r;
    if (!reply->msg)
        reply->msg = msg_alloc(n, 0, sender);
    else
        r = msg_resize(&reply->msg, size);
    if (!reply->msg)
        r = -ENOMEM;
    if (r < 0)
        quota_release(reply_quota_of(reply), sender.uid, after - before);
    return r;
}

/* Under lock. Return: 0; a negative errno. */
static int reply_append(struct reply_file *reply, const char *data, size_t n,
                        struct msg_sender sender)
{
    size_t size = (reply->msg ? reply->msg->size_bytes : 0) + n;
    int r = reply->state == REPLY_COLLECTING ? reply_check(reply, size, n) : reply->error;

    if (r == 0)
        r = reply_grow(reply, n, sender);
    if (r == 0)
        memcpy(reply->msg->data + size - n, data, n);
    else if (reply->msg)
        reply_spoil(reply, r);
    return r;
}

static void reply_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                        off_t offset, int flags)
{
    struct reply_file *reply = (struct reply_file *)file;
    struct msg_sender sender = caller_as_writer(req, file, &reply->last_writer);
    int r = send_check(file, size, offset, flags);

    pthread_mutex_lock(&file->lock);
    if (r == 0)
        r = reply_append(reply, data, size, sender);
    else if (reply->msg)
        reply_spoil(reply, r);
    pthread_mutex_unlock(&file->lock);
    send_answer(req, r, size);
}

/* Takes what was collected, to be given; its charge goes with it. Return: NULL: there is nothing to be given. */
static struct msg *reply_take_collected(struct reply_file *reply)
{
    struct msg *msg;

    pthread_mutex_lock(&reply->file.lock);
    msg = reply->msg;
    reply->msg = NULL;
    if (msg) {
        reply->state = REPLY_DONE;
        reply->error = -EPIPE;
    }
    pthread_mutex_unlock(&reply->file.lock);
    return msg;
}

/* Gives what was collected, if there is something. Return: as call_answer. */
static int reply_give(struct reply_file *reply, struct mbox_ready *ready)
{
    struct msg *msg = reply_take_collected(reply);
    int r = msg ? call_answer(reply->file.mbox, reply->id, msg, ready) : 0;

    if (r < 0)
        quota_release(reply_quota_of(reply), reply->file.opener.uid, msg_charge_bytes(msg));
    msg_unref(msg);
    return r;
}

static void reply_close_found_out(struct file *file, fuse_req_t req, int is_last)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    int r = is_last < 0 ? is_last : 0;

    if (is_last > 0)
        r = reply_give((struct reply_file *)file, &ready);
    /* First: who asked waits for it. */
    mbox_ready_run(&ready);
    fuse_reply_err(req, -r);
}

static bool reply_is_writer(struct reply_file *reply, pid_t tid)
{
    pid_t pid = caller_process(tid, reply->opener);

    return pid == reply->opener ||
           pid == atomic_load_explicit(&reply->last_writer, memory_order_relaxed);
}

static bool reply_has_something(struct reply_file *reply)
{
    bool has;

    pthread_mutex_lock(&reply->file.lock);
    has = reply->msg;
    pthread_mutex_unlock(&reply->file.lock);
    return has;
}

static void reply_flush(struct file *file, fuse_req_t req)
{
    struct reply_file *reply = (struct reply_file *)file;
    pid_t tid = fuse_req_ctx(req)->pid;

    if (reply_has_something(reply) && caller_is_being_killed(tid) && reply_is_writer(reply, tid)) {
        pthread_mutex_lock(&file->lock);
        reply_spoil(reply, -EPIPE);
        pthread_mutex_unlock(&file->lock);
    }
    if (reply_has_something(reply))
        last_close_find_out(file, req, reply->opener, reply->ino, reply_close_found_out);
    else
        fuse_reply_err(req, 0);
}

/* The last handle was another's than the opener's. */
static void reply_release(struct file *file)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    reply_give((struct reply_file *)file, &ready);
    mbox_ready_run(&ready);
}

static void reply_close(struct file *file)
{
    reply_spoil((struct reply_file *)file, -EPIPE);
}

static const struct file_ops reply_file_ops = {
    .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_PARALLEL_DIRECT_WRITES,
    .write = reply_write,
    .flush = reply_flush,
    .release = reply_release,
    .close = reply_close,
    .size = sizeof(struct reply_file),
};

static int open_file(struct kernel *kernel, struct box *box, const struct reply_name *name,
                     const struct caller *caller, struct file **ret_file)
{
    struct reply_file *reply;
    int r = file_new(&kernel->files, &reply_file_ops, &box->mbox, ret_file);

    if (r < 0)
        return r;
    box_add_file(box, *ret_file);
    reply = (struct reply_file *)*ret_file;
    reply->id = name->id;
    reply->ino = name->attr.ino;
    reply->opener = caller_process(caller->tid, 0);
    return 0;
}

static int name_open(struct node *node, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    const struct reply_name *name = node->object;
    box_auto *box = box_pass(name->door);
    int r;

    if (!file_is_for(flags, O_WRONLY))
        return -EACCES;
    r = box ? box_admit(box, caller) : -ENOENT;
    if (r < 0)
        return r;
    if (!call_is_open(&box->mbox, name->id))
        return -ENOENT;
    return open_file(node->kernel, box, name, caller, ret_file);
}

static void name_getattr(struct node *node, struct stat *ret_attr)
{
    attr_get(&((const struct reply_name *)node->object)->attr, ret_attr);
}

/* Truncated it may be, as `>` does it, and touched. */
static int name_setattr(struct node *node, const struct node_change *change)
{
    (void)node;
    return change->to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) ? -EPERM
                                                                                         : 0;
}

static void name_free(struct reply_name *name)
{
    door_remove_node(name->door);
    free(name);
}

static void name_release(struct node *node)
{
    name_free(node->object);
}

static const struct node_ops name_ops = {
    .getattr = name_getattr,
    /* Its bits are what they are made with, and who opens it has just looked it up. */
    .attr_seconds = node_moment,
    .setattr = name_setattr,
    .release = name_release,
    .open = name_open,
};

static struct reply_name *reply_name_new(struct box *box, const struct box_file *dir, uint64_t id)
{
    struct reply_name *name = malloc(sizeof(*name));
    struct door *door;
    struct stat attr;

    if (!name || box_add_node(box, &door) < 0) {
        free(name);
        return NULL;
    }
    box_file_attr(box, dir, &attr);
    *name = (struct reply_name){ .door = door, .id = id };
    attr_init(&name->attr, reply_ino_of(id), S_IFREG | 0200, attr.st_uid, attr.st_gid);
    return name;
}

int reply_lookup(struct node *dir, const char *name, struct node **ret_node)
{
    box_auto *box = box_pass(dir->object);
    struct reply_name *found;
    uint64_t id;
    int r = box ? box_check(box) : -ESTALE;

    if (r < 0)
        return r;
    if (!id_parse_short(name, &id) || !call_is_open(&box->mbox, id))
        return -ENOENT;
    found = reply_name_new(box, box_file_of(dir), id);
    if (!found)
        return -ENOMEM;
    r = node_obtain(&dir->kernel->nodes, &name_ops, found, NULL, ret_node);
    if (r < 0)
        name_free(found);
    return r;
}

int reply_opendir(struct node *dir, const struct caller *caller)
{
    box_auto *box = box_pass(dir->object);

    return box ? box_admit(box, caller) : -ENOENT;
}

/* What is no question, or no longer one, can't be answered. */
void reply_create(struct node *dir, fuse_req_t req, const char *name, mode_t mode,
                  struct fuse_file_info *fi)
{
    uint64_t id;

    (void)dir;
    (void)mode;
    (void)fi;
    fuse_reply_err(req, id_parse_short(name, &id) ? ENOENT : EPERM);
}

/* So many are told at once at most. */
#define LISTED_MAX 256

/* A question's offset is its key, and OFFSET_PARENT more. */

/* An open directory's place among the questions. */
struct reply_place {
    struct box_listing listing;
    struct call_cursor cursor;
    struct call_place next[LISTED_MAX]; /* read from there; */
    size_t n_next;
    size_t n_told;   /* so many of them are told */
    uint64_t offset; /* of the last entry that was told */
};

static void reply_place_free(struct listing_part *part)
{
    struct reply_place *place = (struct reply_place *)part;

    call_cursor_end(place->listing.mbox, &place->cursor);
    box_listing_free(&place->listing);
}

/* Goes behind the entry of offset @after, if it is not there. */
static void reply_go_to(struct reply_place *place, uint64_t after)
{
    if (after > OFFSET_PARENT && after == place->offset)
        return;
    call_cursor_rewind(place->listing.mbox, &place->cursor,
                       after > OFFSET_PARENT ? after - OFFSET_PARENT : 0);
    place->n_next = place->n_told = 0;
    place->offset = after;
}

/* Return: the next question; NULL: there is none. */
static const struct call_place *reply_next_of(struct reply_place *place)
{
    if (place->n_told == place->n_next) {
        place->n_next = call_cursor_next(place->listing.mbox, &place->cursor, place->next,
                                         LISTED_MAX);
        place->n_told = 0;
    }
    return place->n_told < place->n_next ? &place->next[place->n_told] : NULL;
}

static void tell_questions(struct reply_place *place, const struct node_listing *to)
{
    const struct call_place *question;
    char name[ID_DIGITS + 1];

    while ((question = reply_next_of(place))) {
        uint64_t offset = question->key + OFFSET_PARENT;

        id_format(question->id, name);
        if (!to->add(to->arg, name, reply_ino_of(question->id), S_IFREG, offset))
            return;
        place->n_told++;
        place->offset = offset;
    }
}

int reply_list(struct node *dir, struct listing *listing, uint64_t after,
               const struct node_listing *to)
{
    box_auto *box = box_pass(dir->object);
    struct box_listing *kept;
    struct reply_place *place;
    int r;

    if (after < OFFSET_SELF && !to->add(to->arg, ".", dir->id, S_IFDIR, OFFSET_SELF))
        return 0;
    if (after < OFFSET_PARENT && !to->add(to->arg, "..", NODE_ROOT_ID, S_IFDIR, OFFSET_PARENT))
        return 0;
    /* A removed mailbox has no questions. */
    if (!box)
        return 0;
    r = box_listing_of(listing, &box->mbox, sizeof(*place), reply_place_free, &kept);
    if (r < 0)
        return r;
    place = (struct reply_place *)kept;
    reply_go_to(place, after);
    tell_questions(place, to);
    return 0;
}
