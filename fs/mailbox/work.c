/* The first read takes a message on lease, and what reads leave of it is for the next ones; then comes the end of file,
 * which stays until a word is written: done, again or dead. With O_DIRECT (packet mode) the first read takes a message
 * that is whole or not at all; the end follows all the same, for who has not said the word would else hold two.
 *
 * Readers and writers take turns (readers.h). When the kernel has let go of the file, however that came to be, the
 * lease ends as if `again` had been written.
 *
 * The kernel asks for attributes by node and not by open file. Each open has a node of its own, as its lookup made it;
 * where a node is opened once more (/proc/PID/fd/N) the last one is told of. Which file a node has is in a table of the
 * box. */
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <string.h>

#include "box.h"
#include "fs/kernel/kernel.h"
#include "message_xattr.h"
#include "owner.h"
#include "readers.h"

struct work_file {
    struct file file;
    struct readers readers;
    /* With the turn: */
    struct mbox_entry *entry; /* what is on lease; NULL: nothing */
    size_t offset;            /* where the next read goes on */
    /* Under the box's lock: */
    uint64_t of_node;
    bool is_entered; /* in box->works */
    UT_hash_handle hh;
};

/* One read. */
struct reading {
    fuse_req_t req;
    size_t size;
    int flags;
    bool
        is_later_part; /* of a call that the kernel had to split, and that has got something already */
};

static bool work_is_packet(const struct reading *reading)
{
    return reading->flags & O_DIRECT;
}

/* Answers with what is left of the message, or its end. What does not arrive stays. */
static void answer_rest(struct work_file *work, const struct reading *reading)
{
    const struct msg *msg = work->entry->msg;
    size_t left = msg->size_bytes - work->offset;
    size_t n = reading->size < left ? reading->size : left;

    if (fuse_reply_buf(reading->req, (const char *)msg->data + work->offset, n) == 0)
        work->offset += n;
}

/* Answers with @entry, which is on lease and in flight: it returns to its place if the kernel does not take the answer. */
static void deliver(struct work_file *work, const struct reading *reading, struct mbox_entry *entry,
                    struct mbox_ready *ready)
{
    struct mbox *mbox = work->file.mbox;
    const struct msg *msg = entry->msg;
    size_t n = reading->size < msg->size_bytes ? reading->size : msg->size_bytes;

    if (fuse_reply_buf(reading->req, (const char *)msg->data, n) < 0) {
        mbox_abort(mbox, entry, ready);
        return;
    }
    mbox_commit(mbox, entry, ready);
    work->entry = entry;
    work->offset = n;
    /* There is something for those who wait: the rest, or the end. */
    readers_call(&work->readers, ready);
    file_wake(&work->file);
}

static void complete(struct mbox_op *op, struct mbox_ready *ready);

/* Answers, now or once there is a message. */
static void work_serve(struct work_file *work, const struct reading *reading,
                       struct mbox_ready *ready)
{
    const struct mbox_op wanted = {
        .max_bytes = work_is_packet(reading) ? reading->size : SIZE_MAX,
        .leases = true,
    };
    struct mbox_entry *entry;
    int r;

    if (work->entry) {
        answer_rest(work, reading);
        return;
    }
    if (reading->is_later_part) {
        fuse_reply_buf(reading->req, NULL, 0);
        return;
    }
    r = readers_take(&work->readers, &work->file, reading->req, reading->size, reading->flags,
                     &wanted, complete, &entry, ready);
    if (r < 0)
        fuse_reply_err(reading->req, -r);
    else if (r == 0)
        deliver(work, reading, entry, ready);
}

static void complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct work_file *work = (struct work_file *)parked_of(op)->file;
    struct ended ended = readers_return(&work->readers, op);
    const struct reading reading = {
        .req = ended.req,
        .size = ended.size,
        .flags = ended.max_bytes != SIZE_MAX ? O_DIRECT : 0,
    };

    if (ended.result == 0 && work->entry) {
        /* Another was quicker: this file has its message. */
        mbox_abort(work->file.mbox, ended.entry, ready);
        work_serve(work, &reading, ready);
    } else if (ended.result == 0) {
        deliver(work, &reading, ended.entry, ready);
    } else if (readers_was_called(&ended)) {
        work_serve(work, &reading, ready);
    } else {
        fuse_reply_err(ended.req, -ended.result);
    }
    readers_unlock(&work->readers);
    file_unref(ended.file);
}

static void work_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    const struct reading reading = {
        .req = req, .size = size, .flags = flags, .is_later_part = offset > 0
    };
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct work_file *work = (struct work_file *)file;

    file_ref(file);
    readers_lock(&work->readers);
    work_serve(work, &reading, &ready);
    readers_unlock(&work->readers);
    mbox_ready_run(&ready);
    file_unref(file);
}

static const struct {
    const char *text;
    enum mbox_lease_word word;
} words[] = {
    { "done", MBOX_LEASE_DONE },
    { "again", MBOX_LEASE_AGAIN },
    { "dead", MBOX_LEASE_DEAD },
};

int work_parse_word(const char *text, size_t size, enum mbox_lease_word *ret_word)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (size == strlen(words[i].text) && memcmp(text, words[i].text, size) == 0) {
            *ret_word = words[i].word;
            return 0;
        }
    }
    return -EINVAL;
}

/* A line, or one that lacks its newline. Return: 0; -EINVAL. */
static int work_parse_line(const char *data, size_t size, enum mbox_lease_word *ret_word)
{
    return work_parse_word(data, size > 0 && data[size - 1] == '\n' ? size - 1 : size, ret_word);
}

/* Has the turn. Return: as mbox_lease_end. */
static int end_lease(struct work_file *work, enum mbox_lease_word word, struct mbox_op *op,
                     struct mbox_ready *ready)
{
    struct mbox_entry *entry = work->entry;

    work->entry = NULL;
    work->offset = 0;
    return mbox_lease_end(work->file.mbox, entry, word, op, ready);
}

static void complete_word(struct mbox_op *op, struct mbox_ready *ready)
{
    struct ended ended = parked_end(op);

    (void)ready;
    if (ended.result < 0)
        fuse_reply_err(ended.req, -ended.result);
    else
        fuse_reply_write(ended.req, ended.size);
    file_unref(ended.file);
}

/* As say, where the journal is to have what becomes of the message. */
static int note_word(struct work_file *work, fuse_req_t req, size_t size, enum mbox_lease_word word,
                     struct mbox_ready *ready)
{
    struct mbox *mbox = work->file.mbox;
    struct parked *parked = parked_new(&work->file, mbox, req, size, complete_word);
    int r;

    if (!parked)
        return -ENOMEM;
    mbox_batch_begin(&parked->op);
    r = end_lease(work, word, &parked->op, ready);
    if (mbox_batch_end(mbox, &parked->op, ready) == MBOX_PARKED)
        return MBOX_PARKED;
    if (r >= 0)
        r = parked->op.result;
    parked_free(parked);
    return r;
}

/* Has the turn. It is answered when the journal has what becomes of the message. Return: 0; MBOX_PARKED: @req will be
 * answered; -ENODATA: there is no lease; -ENOMEM; as mbox_lease_end. */
static int say(struct work_file *work, fuse_req_t req, size_t size, enum mbox_lease_word word,
               struct mbox_ready *ready)
{
    if (!work->entry)
        return -ENODATA;
    /* What is given up may go to a mailbox that is kept. */
    if (work->file.mbox->domain->journal)
        return note_word(work, req, size, word, ready);
    return end_lease(work, word, NULL, ready);
}

static void work_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                       off_t offset, int flags)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct work_file *work = (struct work_file *)file;
    enum mbox_lease_word word;
    int r = work_parse_line(data, size, &word);

    (void)offset;
    (void)flags;
    file_ref(file);
    if (r == 0) {
        readers_lock(&work->readers);
        r = say(work, req, size, word, &ready);
        readers_unlock(&work->readers);
    }
    mbox_ready_run(&ready);
    if (r < 0)
        fuse_reply_err(req, -r);
    else if (r == 0)
        fuse_reply_write(req, size);
    file_unref(file);
}

static bool work_has_unread(struct file *file)
{
    struct work_file *work = (struct work_file *)file;
    bool has_unread;

    readers_lock(&work->readers);
    has_unread = work->entry;
    readers_unlock(&work->readers);
    return has_unread;
}

/* Under the box's lock. The last one that was opened is its node's. Without memory for that nobody is told of it. */
static void work_enter(struct box *box, struct work_file *work)
{
    struct work_file *other;

    HASH_FIND(hh, box->works, &work->of_node, sizeof(work->of_node), other);
    if (other) {
        HASH_DELETE(hh, box->works, other);
        other->is_entered = false;
    }
    HASH_ADD(hh, box->works, of_node, sizeof(work->of_node), work);
    work->is_entered = hash_added(work, hh);
}

static void leave(struct box *box, struct work_file *work)
{
    pthread_mutex_lock(&box->lock);
    if (work->is_entered)
        HASH_DELETE(hh, box->works, work);
    work->is_entered = false;
    pthread_mutex_unlock(&box->lock);
}

static void end_of_file(struct work_file *work)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    leave(box_of(work->file.mbox), work);
    readers_lock(&work->readers);
    if (work->entry)
        end_lease(work, MBOX_LEASE_AGAIN, NULL, &ready);
    readers_unlock(&work->readers);
    mbox_ready_run(&ready);
}

static void work_release(struct file *file)
{
    end_of_file((struct work_file *)file);
}

/* One that never came to be open was not released. */
static void work_close(struct file *file)
{
    struct work_file *work = (struct work_file *)file;

    end_of_file(work);
    readers_deinit(&work->readers);
}

static const struct file_ops work_file_ops = {
    .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES,
    .keeps_from_cache = true,
    .events = MBOX_READABLE,
    .never_blocks_writers = true,
    .admit = owner_admit_reader,
    .read = work_read,
    .write = work_write,
    .has_unread = work_has_unread,
    .release = work_release,
    .close = work_close,
    .size = sizeof(struct work_file),
};

int work_open(struct node *node, struct box *box, struct file **ret_file)
{
    struct work_file *work;
    int r = file_new(&node->kernel->files, &work_file_ops, &box->mbox, ret_file);

    if (r < 0)
        return r;
    work = (struct work_file *)*ret_file;
    readers_init(&work->readers);
    work->of_node = node->id;
    pthread_mutex_lock(&box->lock);
    work_enter(box, work);
    pthread_mutex_unlock(&box->lock);
    return 0;
}

/* Return: the open file of @node, with a reference; NULL: there is none. */
static struct work_file *work_find_file(struct box *box, const struct node *node)
{
    struct work_file *work;

    pthread_mutex_lock(&box->lock);
    HASH_FIND(hh, box->works, &node->id, sizeof(node->id), work);
    if (work)
        file_ref(&work->file);
    pthread_mutex_unlock(&box->lock);
    return work;
}

/* What is asked of the message that a node's file has. */
struct asked {
    const char *name; /* NULL: which there are */
    char **ret_value;
    size_t *ret_size;
};

static int work_answer(const struct mbox_entry *entry, const struct asked *question)
{
    if (!entry)
        return -ENODATA;
    if (!question->name)
        return message_xattr_list(entry, MESSAGE_XATTRS_ALL, question->ret_value,
                                  question->ret_size);
    return message_xattr_get(entry, question->name, question->ret_value, question->ret_size);
}

/* Return: as message_xattr_get; -ENODATA: it has no message. */
static int work_ask(struct node *node, const struct asked *question)
{
    box_auto *box = box_pass(node->object);
    struct work_file *work = box ? work_find_file(box, node) : NULL;
    int r;

    if (!work)
        return -ENODATA;
    readers_lock(&work->readers);
    r = work_answer(work->entry, question);
    readers_unlock(&work->readers);
    file_unref(&work->file);
    return r;
}

int work_xattr_get(struct node *node, const char *name, char **ret_value, size_t *ret_size)
{
    return work_ask(node, &(struct asked){ name, ret_value, ret_size });
}

int work_xattr_list(struct node *node, char **ret_names, size_t *ret_size)
{
    int r = work_ask(node, &(struct asked){ NULL, ret_names, ret_size });

    if (r != -ENODATA)
        return r;
    /* Without a message there are none. */
    *ret_names = NULL;
    *ret_size = 0;
    return 0;
}
