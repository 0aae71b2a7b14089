/* Sending: a message is posted, or a place for one is reserved and then filled.
 *
 * The caller keeps its reference to the message; its entry, with one of its own, is made first, and belongs to the
 * mailbox once it is posted. Each function takes the mailbox's lock, save what its name says is locked. */
#include "mbox_settle.h"

#include <assert.h>
#include <errno.h>

#include "journal.h"
#include "mbox_queue.h"

static int check_sender(const struct mbox *mbox, const struct msg *msg)
{
    if (mbox->removed)
        return -EIDRM;
    if (mbox->closed)
        return -EPIPE;
    if (mbox->stat.owner_pid && msg->sender.pid == mbox->stat.owner_pid)
        return -EPERM;
    return 0;
}

static int check_size(const struct mbox *mbox, const struct msg *msg)
{
    if (msg->size_bytes > mbox->limits.message_bytes || msg->size_bytes > mbox->limits.bytes)
        return -EMSGSIZE;
    return 0;
}

/* Leaves @op behind with @entry. Return: MBOX_PARKED; -EINTR. */
static int park_post(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op)
{
    assert(op);
    if (op->cancelled)
        return -EINTR;
    mbox_stamp(mbox, entry);
    mbox_op_move(op, MBOX_OP_WAITING);
    op->entry = entry;
    entry->poster = op;
    msgq_push(&mbox->pending, entry);
    mbox->stat.n_senders_waiting++;
    mbox_want(mbox, MBOX_WRITABLE);
    return MBOX_PARKED;
}

/* Undoes park_post; the entry is its caller's again. */
static void unpark_post(struct mbox *mbox, struct mbox_op *op)
{
    struct mbox_entry *entry = op->entry;

    mbox_pending_remove(mbox, entry);
    entry->poster = NULL;
    op->entry = NULL;
    mbox_op_move(op, MBOX_OP_IDLE);
}

/* A rendezvous: mbox_settle_locked() will hand @entry to the receiver that waits, if there is one. There is
 * nothing to drop, so with drop-oldest too a sender waits. */
static int post_rendezvous(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op)
{
    bool meets = !TAILQ_EMPTY(&mbox->takers);

    if (entry->is_place) {
        mbox_let_in(mbox, entry, 0);
        return 0;
    }
    if (!meets && mbox->limits.overflow == MBOX_OVERFLOW_REJECT) {
        mbox->stat.n_rejected++;
        return -ENOBUFS;
    }
    if (!op || (op->nonblock && !meets))
        return -EAGAIN;
    return park_post(mbox, entry, op);
}

/* @entry has found room (mbox_make_room). Return: 0; MBOX_PARKED: its op waits for the journal. */
static int admit_new(struct mbox *mbox, struct mbox_entry *entry, int room, struct mbox_op *op,
                     struct mbox_ready *ready)
{
    if (room == MBOX_DROPS_ITSELF || !entry->note || entry->is_place ||
        !mbox_keeps(mbox, entry->msg)) {
        mbox_let_in(mbox, entry, room);
        return 0;
    }
    assert(op); /* prepare_note has seen to it */
    entry->poster = op;
    if (op->is_batch)
        op->n_storing++;
    mbox_admit(mbox, entry, room, ready);
    return op->is_batch ? 0 : MBOX_PARKED;
}

static int post_queue(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op,
                      struct mbox_ready *ready)
{
    int r = -EAGAIN;

    /* Behind those who wait already, unless it is more urgent. */
    if (!mbox_is_behind_others(mbox, entry->msg->prio))
        r = mbox_make_room(mbox, entry);
    if (r == -EAGAIN && op && !op->nonblock && !op->is_batch)
        return park_post(mbox, entry, op);
    if (r < 0)
        return r;
    return admit_new(mbox, entry, r, op, ready);
}

/* Posts @entry, which is charged to its sender. Return: as mbox_post. */
static int post_charged(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op,
                        struct mbox_ready *ready)
{
    int r = mbox_entry_charge(entry, &mbox->domain->quota);

    if (r < 0)
        return r;
    if (mbox->backend && entry->is_place) {
        mbox_let_in(mbox, entry, 0);
        return 0;
    }
    if (mbox->backend)
        return park_post(mbox, entry, op);
    return mbox_is_rendezvous(mbox) ? post_rendezvous(mbox, entry, op)
                                    : post_queue(mbox, entry, op, ready);
}

/* Gives @entry to the backend by way of the journal, for which @op waits. Return: as admit_new; as
 * mbox_backend_ops.put: @entry is the caller's still. */
static int post_put_staged(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op,
                           struct mbox_ready *ready)
{
    int r;

    if (!op)
        return -EAGAIN;
    if (op->cancelled)
        return -EINTR;
    r = mbox_stage(mbox, entry, ready);
    if (r < 0)
        return r;
    entry->poster = op;
    if (op->is_batch)
        op->n_storing++;
    mbox_begin_posting(mbox, entry);
    return op->is_batch ? 0 : MBOX_PARKED;
}

/* Gives @entry's message to the backend, if nobody waits. Return: 0: @entry is gone, or in a batch; MBOX_PARKED; as
 * mbox_backend_ops.put. */
static int post_put(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op,
                    struct mbox_ready *ready)
{
    int r;

    if (mbox->pending.occupied)
        return -EAGAIN;
    if (mbox_stages(mbox))
        return post_put_staged(mbox, entry, op, ready);
    r = mbox_put_into_backend(mbox, entry, ready);
    if (r == 0)
        mbox_entry_free(entry);
    return r;
}

/* What is in a backend is charged to whoever the backend says; only who waits is charged here. */
static int post_to_backend(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op,
                           struct mbox_ready *ready)
{
    int r = post_put(mbox, entry, op, ready);

    return r == -EAGAIN && op && !op->nonblock && !op->is_batch
               ? post_charged(mbox, entry, op, ready)
               : r;
}

/* Gets @entry its note where it is to be kept. Return: 0; -EAGAIN: it needs an op; -EINTR; -ENOMEM. */
static int prepare_note(struct mbox *mbox, struct mbox_entry *entry, const struct mbox_op *op)
{
    /* A backend's is made when it is given to that. */
    if (!mbox_keeps(mbox, entry->msg) || entry->note || mbox->backend)
        return 0;
    if (!op && !entry->is_place)
        return -EAGAIN;
    if (op && op->cancelled)
        return -EINTR;
    return mbox_entry_prepare_note(entry, mbox->domain->journal);
}

/* Return: as mbox_post; on failure @entry is the caller's still. */
static int post_locked(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op,
                       struct mbox_ready *ready)
{
    int r = check_sender(mbox, entry->msg);

    if (r == 0)
        r = check_size(mbox, entry->msg);
    if (r == 0)
        r = prepare_note(mbox, entry, op);
    if (r == 0)
        mbox_catch_up(mbox, ready);
    if (r == 0)
        r = mbox->backend && !entry->is_place ? post_to_backend(mbox, entry, op, ready)
                                              : post_charged(mbox, entry, op, ready);
    if (r >= 0)
        mbox_settle_locked(mbox, MBOX_READABLE, ready);
    if (r == MBOX_PARKED && op) {
        int refused = mbox_check_wait(mbox, op);

        if (refused < 0) {
            unpark_post(mbox, op);
            r = refused;
        }
    }
    return r;
}

int mbox_post_entry(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op,
                    struct mbox_ready *ready)
{
    int r;

    if (!entry)
        return -ENOMEM;
    pthread_mutex_lock(&mbox->lock);
    if (op)
        op->has_place = false;
    r = post_locked(mbox, entry, op, ready);
    pthread_mutex_unlock(&mbox->lock);
    if (r < 0)
        mbox_entry_free(entry);
    return r;
}

int mbox_post(struct mbox *mbox, struct msg *msg, struct mbox_op *op, struct mbox_ready *ready)
{
    return mbox_post_entry(mbox, mbox_entry_new(msg), op, ready);
}

/* Return: how many of the @n messages at @msgs may be sent here, up to the first that may not. */
static size_t count_valid(const struct mbox *mbox, struct msg *const *msgs, size_t n)
{
    size_t i = 0;

    while (i < n && check_sender(mbox, msgs[i]) == 0 && check_size(mbox, msgs[i]) == 0)
        i++;
    return i;
}

/* Gives the backend many at once. Return: how many; 0: it takes none so. */
static size_t post_many_to_backend(struct mbox *mbox, struct msg *const *msgs, size_t n,
                                   struct mbox_ready *ready)
{
    if (mbox->pending.occupied || mbox_stages(mbox))
        return 0;
    n = count_valid(mbox, msgs, n);
    if (n > 0)
        n = mbox->backend->ops->put_many(mbox->backend, msgs, n, ready);
    if (n > 0) {
        mbox->stat.n_sent += n;
        mbox->stat.last_send = msgs[n - 1]->arrived;
        mbox_settle_locked(mbox, MBOX_READABLE, ready);
    }
    return n;
}

/* Return: how many of the @n messages at @msgs the mailbox has. */
static size_t post_in_turn(struct mbox *mbox, struct msg *const *msgs, size_t n,
                           struct mbox_ready *ready)
{
    for (size_t i = 0; i < n; i++) {
        struct mbox_entry *entry = mbox_entry_new(msgs[i]);

        if (!entry || post_locked(mbox, entry, NULL, ready) != 0) {
            mbox_entry_free(entry);
            return i;
        }
    }
    return n;
}

size_t mbox_post_many(struct mbox *mbox, struct msg *const *msgs, size_t n,
                      struct mbox_ready *ready)
{
    size_t n_posted = 0;

    pthread_mutex_lock(&mbox->lock);
    if (n > 0 && mbox->backend && mbox->backend->ops->put_many)
        n_posted = post_many_to_backend(mbox, msgs, n, ready);
    if (n_posted == 0)
        n_posted = post_in_turn(mbox, msgs, n, ready);
    pthread_mutex_unlock(&mbox->lock);
    return n_posted;
}

int mbox_reserve(struct mbox *mbox, struct msg_sender sender, struct mbox_op *op,
                 struct mbox_ready *ready)
{
    struct msg *msg = msg_alloc(0, 0, sender);
    struct mbox_entry *place = msg ? mbox_entry_new(msg) : NULL;

    if (place)
        place->is_place = true;
    msg_unref(msg);
    return mbox_post_entry(mbox, place, op, ready);
}

static int post_reserved_locked(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op,
                                struct mbox_ready *ready)
{
    int r;

    if (mbox->removed)
        return -EIDRM;
    if (mbox->closed)
        return -EPIPE;
    if (mbox->backend) {
        r = post_put(mbox, entry, op, ready);
        if (r != -EAGAIN)
            return r;
    }
    if (mbox->backend || mbox_is_rendezvous(mbox)) {
        op->has_place = true;
        return park_post(mbox, entry, op);
    }
    r = prepare_note(mbox, entry, op);
    if (r < 0)
        return r;
    if (mbox->limits.overflow == MBOX_OVERFLOW_DROP_OLDEST)
        r = mbox_drop_until_within(mbox, entry);
    return admit_new(mbox, entry, r, op, ready);
}

int mbox_post_reserved(struct mbox *mbox, struct msg *msg, struct mbox_op *op,
                       struct mbox_ready *ready)
{
    struct mbox_entry *entry;
    int r;

    assert(op);
    pthread_mutex_lock(&mbox->lock);
    entry = places_give_back(&mbox->places, msg->sender.uid);
    entry->is_place = false;
    mbox_entry_set(entry, msg);
    mbox_entry_adopt_charge(entry, &mbox->domain->quota);
    r = post_reserved_locked(mbox, entry, op, ready);
    if (r < 0)
        mbox_entry_free(entry);
    if (!mbox->removed)
        mbox_settle_locked(mbox, MBOX_READABLE, ready);
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

void mbox_unreserve(struct mbox *mbox, struct msg_sender sender, struct mbox_ready *ready)
{
    pthread_mutex_lock(&mbox->lock);
    mbox_entry_free(places_give_back(&mbox->places, sender.uid));
    quota_release(&mbox->domain->quota, sender.uid, MSG_MIN_CHARGE_BYTES);
    if (!mbox->removed)
        mbox_settle_locked(mbox, MBOX_WRITABLE, ready);
    pthread_mutex_unlock(&mbox->lock);
}
