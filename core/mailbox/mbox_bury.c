/* What is given up goes to another mailbox, as a move takes it there: to the end of its priority, with its id and its
 * sender's charge. It has a header more, which says where it came from.
 *
 * What has waited too long is found under its mailbox's lock, where the other mailbox can't be looked for. It goes from the
 * queue to a list of its own then, and the mailbox's undertaker among the ops that are ready: that runs once the lock is
 * given back, in the same thread. While messages are in that list they are in no other place. */
#include "mbox_bury.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbox_move.h"
#include "mbox_queue.h"
#include "mbox_settle.h"

/* So many are moved before others get the locks. */
#define N_BURIED_AT_ONCE 256

/* Return: the mailbox @name, which is to have what @mbox gives up, with a reference; NULL: there is none but @mbox. */
static struct mbox *bury_find_dead(struct mbox *mbox, const char *name,
                                   char ret_from[MBOX_NAME_BYTES_MAX + 1])
{
    struct mbox *dead = NULL;

    if (mbox->domain->find_dead && name[0])
        dead = mbox->domain->find_dead(mbox, name, ret_from);
    if (dead != mbox)
        return dead;
    if (dead)
        mbox_unref(dead);
    return NULL;
}

struct mbox *mbox_find_dead(struct mbox *mbox, const char *name, const struct mbox_entry *entry,
                            struct headers **ret_headers)
{
    char from[MBOX_NAME_BYTES_MAX + 1];
    struct mbox *dead = bury_find_dead(mbox, name, from);

    *ret_headers = NULL;
    if (dead)
        headers_with(mbox_entry_headers(entry), MBOX_DEAD_HEADER, from, ret_headers);
    return dead;
}

/* Return: a copy of @msg with an id of its own, which counts for user @uid; NULL: memory is short, or he may not have more. */
static struct msg *bury_copy(struct mbox *dead, const struct msg *msg, uid_t uid)
{
    struct msg *copy = msg_new(msg->data, msg->size_bytes, msg->prio, msg->sender);

    if (!copy)
        return NULL;
    copy->headers = headers_copy(msg->headers);
    copy->arrived = msg->arrived;
    if ((msg->headers && !copy->headers) ||
        quota_charge_begin(&copy->charge, &dead->domain->quota, uid, msg_charge_bytes(copy)) < 0) {
        msg_unref(copy);
        return NULL;
    }
    copy->id = mbox_new_id(dead);
    return copy;
}

/* @dead has the message of @entry already, which another subscription has given up. Each loss is told, so this one becomes a
 * message of its own, which counts for whose subscription @mbox is: its sender has sent one. Return: as mbox_check_burial. */
static int check_second_burial(struct mbox *mbox, struct mbox *dead, struct mbox_entry *entry)
{
    uid_t uid = mbox->feed ? mbox->feed->uid : entry->msg->sender.uid;
    struct msg *copy = NULL;
    int r;

    entry->is_shared = false;
    r = mbox_make_room_for_move(dead, entry);
    if (r == 0)
        copy = bury_copy(dead, entry->msg, uid);
    if (!copy) {
        entry->is_shared = true;
        return r == 0 ? -ENOMEM : r;
    }
    mbox_entry_discharge(entry);
    mbox_entry_set(entry, copy);
    entry->is_charged = true;
    msg_unref(copy);
    return 0;
}

int mbox_check_burial(struct mbox *mbox, struct mbox *dead, struct mbox_entry *entry)
{
    int r = mbox_prepare_note_for(dead, entry);

    if (r == 0)
        r = mbox_make_room_for_move(dead, entry);
    if (r == -EEXIST)
        r = check_second_burial(mbox, dead, entry);
    /* There it would be dropped at once. */
    return r == MBOX_DROPS_ITSELF ? -ENOBUFS : r;
}

void mbox_bury_in(struct mbox *mbox, struct mbox *dead, struct mbox_entry *entry,
                  struct headers *headers, struct mbox_ready *ready)
{
    if (headers && mbox_entry_set_headers(entry, headers) < 0)
        free(headers);
    mbox->stat.n_dead++;
    mbox_move_in(dead, entry, ready);
}

/* Under both locks; @dead may be NULL. Takes the first of what has expired to @dead, or drops it. */
static void bury_first(struct mbox *mbox, struct mbox *dead, const char *from,
                       struct mbox_ready *ready)
{
    struct mbox_entry *entry = TAILQ_FIRST(&mbox->expired);
    struct headers *headers = NULL;

    TAILQ_REMOVE(&mbox->expired, entry, link);
    if (!dead || mbox_check_burial(mbox, dead, entry) < 0) {
        mbox_entry_free(entry);
        return;
    }
    headers_with(mbox_entry_headers(entry), MBOX_DEAD_HEADER, from, &headers);
    mbox_bury_in(mbox, dead, entry, headers, ready);
}

/* Takes some of what has expired to @dead, which may be NULL. Return: whether there is nothing more. */
static bool bury_some(struct mbox *mbox, struct mbox *dead, const char *from,
                      struct mbox_ready *ready)
{
    bool is_done;

    if (dead)
        mbox_lock_two(mbox, dead);
    else
        pthread_mutex_lock(&mbox->lock);
    for (unsigned int n = 0; n < N_BURIED_AT_ONCE && !TAILQ_EMPTY(&mbox->expired); n++)
        bury_first(mbox, dead, from, ready);
    is_done = TAILQ_EMPTY(&mbox->expired);
    if (is_done)
        mbox->is_burying = false;
    if (dead && !dead->removed)
        mbox_settle_locked(dead, MBOX_READABLE, ready);
    if (dead)
        pthread_mutex_unlock(&dead->lock);
    pthread_mutex_unlock(&mbox->lock);
    return is_done;
}

void mbox_bury_expired(struct mbox_op *op, struct mbox_ready *ready)
{
    struct mbox *mbox = (struct mbox *)((char *)op - offsetof(struct mbox, undertaker));
    char from[MBOX_NAME_BYTES_MAX + 1];
    struct mbox_limits limits;
    bool is_done;

    do {
        struct mbox *dead = NULL;

        if (mbox_get_limits(mbox, &limits) == 0)
            dead = bury_find_dead(mbox, limits.dead, from);
        is_done = bury_some(mbox, dead, from, ready);
        if (dead)
            mbox_unref(dead);
    } while (!is_done);
    mbox_unref(mbox);
}

static struct mbox *mbox_of_place(struct expiry_place *place)
{
    return (struct mbox *)((char *)place - offsetof(struct mbox, expiry_place));
}

bool mbox_hold_for_expiry(struct expiry_place *place)
{
    return mbox_try_ref(mbox_of_place(place));
}

void mbox_look_for_expired(struct expiry_place *place)
{
    struct mbox *mbox = mbox_of_place(place);
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    bool is_done = false;

    while (!is_done) {
        pthread_mutex_lock(&mbox->lock);
        if (!mbox->removed)
            mbox_settle_locked(mbox, MBOX_READABLE | MBOX_WRITABLE, &ready);
        is_done = mbox->removed || !mbox_has_expired(mbox);
        if (is_done && !mbox->removed)
            mbox_arm_expiry(mbox);
        pthread_mutex_unlock(&mbox->lock);
        mbox_ready_run(&ready);
    }
    mbox_unref(mbox);
}
