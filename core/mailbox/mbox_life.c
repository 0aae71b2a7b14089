/* The life of a mailbox: made, claimed by an owner, configured, closed, removed, and released.
 *
 * Removing drops what is in it and ends every wait; the memory lives on until the last reference is given
 * back. Each public function but those for references takes the mailbox's lock. */
#include "mbox_settle.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

#include "calls.h"
#include "mbox_bury.h"
#include "mbox_cursor.h"
#include "mbox_feed_tell.h"
#include "mbox_move.h"
#include "journal.h"
#include "mbox_queue.h"
#include "mbox_storing.h"

/* getrandom waits until the system has random numbers, and does not fail for so few. */
void mbox_domain_init(struct mbox_domain *domain, uint64_t max_bytes, uint64_t uid_bytes)
{
    uint64_t random[2];
    ssize_t n = getrandom(random, sizeof(random), 0);

    assert(n == (ssize_t)sizeof(random));
    (void)n;
    snprintf(domain->id, sizeof(domain->id), "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
    quota_init(&domain->quota, max_bytes, uid_bytes);
    expiry_init(&domain->expiry, mbox_hold_for_expiry, mbox_look_for_expired);
    domain->find_dead = NULL;
    atomic_init(&domain->last_id, 0);
}

void mbox_domain_deinit(struct mbox_domain *domain)
{
    expiry_deinit(&domain->expiry);
    quota_deinit(&domain->quota);
}

void mbox_init(struct mbox *mbox, struct mbox_domain *domain, void (*release)(struct mbox *mbox))
{
    *mbox = (struct mbox){
        .n_refs = 1,
        .release = release,
        .domain = domain,
        .limits = MBOX_LIMITS_DEFAULT,
        .undertaker = { .complete = mbox_bury_expired },
    };
    pthread_mutex_init(&mbox->lock, NULL);
    msgq_init(&mbox->queue);
    msgq_init(&mbox->pending);
    places_init(&mbox->places);
    TAILQ_INIT(&mbox->behind_places);
    calls_init(&mbox->calls);
    TAILQ_INIT(&mbox->storing);
    TAILQ_INIT(&mbox->leased);
    TAILQ_INIT(&mbox->expired);
    TAILQ_INIT(&mbox->takers);
    TAILQ_INIT(&mbox->watches);
}

void mbox_deinit(struct mbox *mbox)
{
    assert(mbox->removed);
    assert(!mbox->queue.occupied && !mbox->pending.occupied && TAILQ_EMPTY(&mbox->behind_places));
    assert(mbox->places.n == 0);
    assert(TAILQ_EMPTY(&mbox->leased) && TAILQ_EMPTY(&mbox->expired));
    assert(!mbox->expiry_place.has_joined);
    assert(TAILQ_EMPTY(&mbox->takers) && TAILQ_EMPTY(&mbox->watches));
    assert(TAILQ_EMPTY(&mbox->storing));
    if (mbox->kept)
        mbox->domain->journal->ops->release(mbox->domain->journal, mbox);
    mbox_entry_free(mbox->spare);
    pthread_mutex_destroy(&mbox->lock);
}

static void rejudge_pending(struct mbox *mbox, struct mbox_ready *ready)
{
    struct mbox_entry *entry;

    mbox_gather_pending(mbox);
    entry = msgq_first(&mbox->pending);
    while (entry) {
        struct mbox_entry *next = msgq_next(&mbox->pending, entry);
        int r = mbox_rejudge(mbox, entry);

        /* The first who must wait on holds up those behind it. */
        if (r == -EAGAIN && !mbox_is_rendezvous(mbox))
            return;
        if (r != -EAGAIN) {
            mbox_pending_remove(mbox, entry);
            mbox_finish_judged(mbox, entry, r, ready);
        }
        entry = next;
    }
}

/* @entry, which waits already, is kept as what comes from now on. Return: 0; -ENOMEM. */
static int keep_entry(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready)
{
    int r = mbox_prepare_note_for(mbox, entry);

    if (r == 0 && entry->note && mbox_keeps(mbox, entry->msg))
        entry->journal->ops->change(entry->journal, mbox, entry, ready);
    return r;
}

/* What a send has returned for is worth @durable, which is more than it was. What a topic's subscription has is as its
 * topic says. Return: 0; -ENOMEM: nothing was changed but that more is kept than need be. */
static int keep_what_waits(struct mbox *mbox, enum mbox_durable durable, struct mbox_ready *ready)
{
    enum mbox_durable before = mbox->limits.durable;
    struct mbox_entry *entry;
    int r = 0;

    if (durable <= before || mbox->feed)
        return 0;
    mbox->limits.durable = durable;
    for (entry = msgq_first(&mbox->queue); r == 0 && entry; entry = msgq_next(&mbox->queue, entry))
        r = keep_entry(mbox, entry, ready);
    for (entry = TAILQ_FIRST(&mbox->leased); r == 0 && entry; entry = TAILQ_NEXT(entry, link))
        r = keep_entry(mbox, entry, ready);
    if (r < 0)
        mbox->limits.durable = before;
    return r;
}

/* Takes the settings in @text. Return: 0; as mbox_configure. */
static int set_limits(struct mbox *mbox, const char *text, size_t n, struct mbox_ready *ready)
{
    struct mbox_limits limits = mbox->limits;
    int r = mbox->removed ? -EIDRM : mbox_limits_parse(&limits, text, n);

    /* What a process owns ends with it. */
    if (r == 0 && limits.durable != MBOX_DURABLE_NO && (!mbox->kept || mbox->stat.owner_pid))
        r = -EINVAL;
    if (r == 0 && limits.ttl_ns > 0)
        r = expiry_join(&mbox->domain->expiry, &mbox->expiry_place);
    if (r == 0)
        r = keep_what_waits(mbox, limits.durable, ready);
    if (r < 0)
        return r;
    if (limits.ttl_ns == 0)
        expiry_leave(&mbox->domain->expiry, &mbox->expiry_place);
    mbox->limits = limits;
    mbox_arm_expiry(mbox);
    return 0;
}

int mbox_configure(struct mbox *mbox, const char *text, size_t n, struct mbox_ready *ready)
{
    int r;

    pthread_mutex_lock(&mbox->lock);
    r = set_limits(mbox, text, n, ready);
    if (r == 0) {
        if (mbox->kept)
            mbox->domain->journal->ops->configure(mbox->domain->journal, mbox, ready);
        rejudge_pending(mbox, ready);
        mbox_settle_locked(mbox, MBOX_READABLE | MBOX_WRITABLE, ready);
    }
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

static void evict_takers(struct mbox *mbox,
                         bool (*may_receive)(const struct mbox_op *op, void *arg), void *arg,
                         struct mbox_ready *ready)
{
    struct mbox_op *op = TAILQ_FIRST(&mbox->takers);

    while (op) {
        struct mbox_op *next = TAILQ_NEXT(op, link);

        if (!may_receive(op, arg))
            mbox_taker_finish(mbox, op, -EBUSY, ready);
        op = next;
    }
}

/* It is going to end with its owner, and with the daemon. */
static void stop_keeping(struct mbox *mbox, struct mbox_ready *ready)
{
    if (!mbox->kept)
        return;
    mbox->limits.durable = MBOX_DURABLE_NO;
    mbox->domain->journal->ops->destroy(mbox->domain->journal, mbox, ready);
}

int mbox_claim(struct mbox *mbox, pid_t pid,
               bool (*may_receive)(const struct mbox_op *op, void *arg), void *arg,
               struct mbox_ready *ready)
{
    int r = 0;

    pthread_mutex_lock(&mbox->lock);
    if (mbox->removed)
        r = -EIDRM;
    else if (mbox->stat.owner_pid)
        r = -EBUSY;
    if (r == 0) {
        mbox->stat.owner_pid = pid;
        stop_keeping(mbox, ready);
        evict_takers(mbox, may_receive, arg, ready);
    }
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

pid_t mbox_owner(struct mbox *mbox)
{
    pid_t pid;

    pthread_mutex_lock(&mbox->lock);
    pid = mbox->stat.owner_pid;
    pthread_mutex_unlock(&mbox->lock);
    return pid;
}

/* Who waits, to send or to receive, gets @result. */
static void end_waiting(struct mbox *mbox, int result, struct mbox_ready *ready)
{
    struct mbox_entry *entry;

    mbox_gather_pending(mbox);
    while ((entry = msgq_first(&mbox->pending))) {
        mbox_pending_remove(mbox, entry);
        mbox_poster_finish(entry, result, ready);
        mbox_entry_free(entry);
    }
    while (!TAILQ_EMPTY(&mbox->takers))
        mbox_taker_finish(mbox, TAILQ_FIRST(&mbox->takers), result, ready);
}

static void close_locked(struct mbox *mbox, struct mbox_ready *ready)
{
    if (mbox->removed || mbox->closed)
        return;
    mbox->closed = true;
    /* No receiver waits while there is a message. */
    end_waiting(mbox, -EPIPE, ready);
    mbox_wake(mbox, mbox_readiness(mbox, 0));
}

void mbox_close(struct mbox *mbox, struct mbox_ready *ready)
{
    pthread_mutex_lock(&mbox->lock);
    close_locked(mbox, ready);
    pthread_mutex_unlock(&mbox->lock);
}

/* Whether messages wait for a receiver, or for the end of their lease. */
static bool is_occupied(struct mbox *mbox)
{
    return mbox->queue.occupied || !TAILQ_EMPTY(&mbox->leased) || !TAILQ_EMPTY(&mbox->expired) ||
           (mbox->backend && mbox->backend->ops->has_messages(mbox->backend));
}

/* Return: what those are told whose questions end with @mbox: it may be there again, but nobody asks there. */
static int end_of_calls(const struct mbox *mbox)
{
    return mbox->kept && !mbox->stat.owner_pid && mbox->domain->is_ending ? -ECANCELED : -EIDRM;
}

static int remove_locked(struct mbox *mbox, bool force, struct mbox_ready *ready)
{
    int calls_result = end_of_calls(mbox);
    struct mbox_entry *entry;

    if (mbox->removed)
        return -EIDRM;
    if (!force && is_occupied(mbox))
        return -ENOTEMPTY;
    mbox->removed = true;
    /* First: then there is nothing to forget of what is in it. */
    if (mbox->kept)
        mbox->domain->journal->ops->destroy(mbox->domain->journal, mbox, ready);
    mbox_end_storing(mbox, ready);
    if (mbox->ended)
        mbox->ended(mbox);
    mbox->stat.owner_pid = 0;
    expiry_leave(&mbox->domain->expiry, &mbox->expiry_place);
    HASH_CLEAR(hh, mbox->by_id);
    mbox->is_indexed = false;
    while ((entry = msgq_first(&mbox->queue))) {
        mbox_cursors_move_to_end(entry);
        msgq_remove(&mbox->queue, entry);
        mbox_entry_free(entry);
    }
    while ((entry = TAILQ_FIRST(&mbox->expired))) {
        TAILQ_REMOVE(&mbox->expired, entry, link);
        mbox_entry_free(entry);
    }
    /* Those are their holders' now. */
    while ((entry = TAILQ_FIRST(&mbox->leased)))
        mbox_lease_unlink(mbox, entry);
    end_waiting(mbox, -EIDRM, ready);
    calls_end_all(mbox, calls_result);
    calls_tell(mbox, ready);
    mbox_wake(mbox, MBOX_REMOVED);
    if (mbox->feed)
        mbox_feed_tell(mbox, ready);
    if (mbox->backend)
        mbox->backend->ops->end(mbox->backend, ready);
    return 0;
}

int mbox_remove(struct mbox *mbox, bool force, struct mbox_ready *ready)
{
    int r;

    pthread_mutex_lock(&mbox->lock);
    r = remove_locked(mbox, force, ready);
    pthread_mutex_unlock(&mbox->lock);
    return r;
}

void mbox_remove_and_close(struct mbox *removed, struct mbox *closed, struct mbox_ready *ready)
{
    mbox_lock_two(removed, closed);
    remove_locked(removed, true, ready);
    close_locked(closed, ready);
    mbox_unlock_two(removed, closed);
}
