/* A file in drop/ is answered once it has its place in the mailbox. Who must wait for one waits on a node of drop/
 * that nobody shares, or else is asked to come again (drop_dirs.h). */
#include "drop_create.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>

#include "fs/kernel/caller.h"
#include "fs/kernel/kernel.h"
#include "fs/kernel/parked.h"

/* Answers the OPEN that made @drop: the node that was opened is its own now. */
static void drop_create_reply_open(struct drop_file *drop, fuse_req_t req)
{
    struct drop_again *again = drop->again;

    drop->again = NULL;
    file_ref(&drop->file);
    pthread_mutex_lock(&again->lock);
    again->drop = drop;
    drop->node_id = again->node_id;
    pthread_mutex_unlock(&again->lock);
    drop_again_unref(again);
    file_reply_open(&drop->file, req, drop->node_id);
}

static void reply_create(struct drop_file *drop, fuse_req_t req)
{
    struct kernel *kernel = drop->file.kernel;
    struct node *node;
    int r;

    file_ref(&drop->file);
    r = node_obtain(&kernel->nodes, &drop_node_ops, drop, NULL, &node);
    if (r == 0) {
        drop->node_id = node->id;
        file_reply_create(&drop->file, req, NULL, node);
        return;
    }
    file_unref(&drop->file);
    fuse_reply_err(req, -r);
    file_release(&drop->file);
}

/* The file has its place. */
static void reply(struct drop_file *drop, fuse_req_t req)
{
    drop->has_place = true;
    if (drop->again)
        drop_create_reply_open(drop, req);
    else
        reply_create(drop, req);
}

static void reply_failure(struct drop_file *drop, fuse_req_t req, int result)
{
    if (drop->again) {
        pthread_mutex_lock(&drop->again->lock);
        drop->again->is_opened = false;
        pthread_mutex_unlock(&drop->again->lock);
    }
    fuse_reply_err(req, -result);
    file_discard(&drop->file);
}

static void complete_create(struct mbox_op *op, struct mbox_ready *ready)
{
    struct ended ended = parked_end(op);
    struct drop_file *drop = (struct drop_file *)ended.file;

    (void)ready;
    if (drop->waits_in_dir)
        atomic_fetch_sub(&box_of(drop->file.mbox)->n_waiting_in_drop, 1);
    if (ended.result < 0)
        reply_failure(drop, ended.req, ended.result);
    else
        reply(drop, ended.req);
    file_unref(ended.file);
}

/* Takes a place for @drop. @waits: for one, if there is none.
 * Return: 0; MBOX_PARKED: complete_create goes on; a negative errno. */
static int drop_create_take_place(struct drop_file *drop, fuse_req_t req, bool waits,
                                  struct mbox_ready *ready)
{
    struct parked *parked = parked_new(&drop->file, drop->file.mbox, req, 0, complete_create);
    int r;

    if (!parked)
        return -ENOMEM;
    parked->op.nonblock = !waits;
    r = mbox_reserve(drop->file.mbox, drop->sender, &parked->op, ready);
    if (r != MBOX_PARKED)
        parked_free(parked);
    return r;
}

/* As drop_create_take_place, in the node of drop/ that all share: -ESTALE where it would wait. */
static int take_place_in_shared_dir(struct drop_file *drop, fuse_req_t req, bool waits,
                                    bool is_second_try, struct mbox_ready *ready)
{
    struct box *box = box_of(drop->file.mbox);
    int r = drop_create_take_place(drop, req, false, ready);

    if (r != -EAGAIN || !waits)
        return r;
    if (!is_second_try) {
        drop_dirs_note(&box->boxes->drop_dirs, fuse_req_ctx(req)->pid);
        return -ESTALE;
    }
    /* Before it waits: it may have its place at once. */
    drop->waits_in_dir = true;
    atomic_fetch_add(&box->n_waiting_in_drop, 1);
    r = drop_create_take_place(drop, req, true, ready);
    if (r != MBOX_PARKED)
        atomic_fetch_sub(&box->n_waiting_in_drop, 1);
    return r;
}

/* Whether making a file in drop/ may have to wait. */
static bool drop_create_is_full(struct mbox *mbox)
{
    struct mbox_limits limits;

    if (mbox_poll(mbox, NULL) & MBOX_WRITABLE)
        return false;
    /* A rendezvous gives places to all. */
    return mbox_get_limits(mbox, &limits) < 0 || limits.messages > 0;
}

bool drop_needs_own_dir(struct box *box, const struct caller *caller)
{
    return drop_dirs_is_retrying(&box->boxes->drop_dirs, caller->tid) ||
           atomic_load(&box->n_waiting_in_drop) > 0 || drop_create_is_full(&box->mbox);
}

/* Answers @req, once there is a place for the new file. */
void drop_create_file(const struct drop_creation *creation, fuse_req_t req, int flags)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct boxes *boxes = box_of(creation->mbox)->boxes;
    bool is_second_try = drop_dirs_retried(&boxes->drop_dirs, fuse_req_ctx(req)->pid);
    bool waits = !(flags & O_NONBLOCK);
    struct drop_file *drop;
    int r;

    r = drop_file_new(creation, req, &drop);
    if (r < 0) {
        fuse_reply_err(req, -r);
        return;
    }
    r = creation->shares_dir ? take_place_in_shared_dir(drop, req, waits, is_second_try, &ready)
                             : drop_create_take_place(drop, req, waits, &ready);
    if (r == 0)
        reply(drop, req);
    else if (r < 0)
        reply_failure(drop, req, r);
    mbox_ready_run(&ready);
}
