#include "mbox_cursor.h"

/* How many bits of a key tell the place within a priority. */
#define SEQ_BITS 58

static uint64_t key_of(const struct msg *msg)
{
    return (uint64_t)(MSG_N_PRIOS - 1 - msg->prio) << SEQ_BITS | msg->seq;
}

/* The functions up to mbox_cursors_move_to_end are under the mailbox's lock. */

static void stand_at(struct mbox_cursor *cursor, struct msg *msg)
{
    if (cursor->at)
        LIST_REMOVE(cursor, link);
    cursor->at = msg;
    if (msg)
        LIST_INSERT_HEAD(&msg->cursors, cursor, link);
}

/* Return: @msg, or the next that was there at the rewinding; what came later is at the end of its priority. */
static struct msg *from_here(struct mbox *mbox, const struct mbox_cursor *cursor, struct msg *msg)
{
    while (msg && msg->seq > cursor->last_seq)
        msg = msgq_first_below(&mbox->queue, msg->prio);
    return msg;
}

static struct msg *next_of(struct mbox *mbox, const struct mbox_cursor *cursor,
                           const struct msg *msg)
{
    return from_here(mbox, cursor, msgq_next(&mbox->queue, msg));
}

void mbox_cursors_move_on(struct mbox *mbox, struct msg *msg)
{
    struct mbox_cursor *cursor;

    while ((cursor = LIST_FIRST(&msg->cursors)))
        stand_at(cursor, next_of(mbox, cursor, msg));
}

void mbox_cursors_move_to_end(struct msg *msg)
{
    struct mbox_cursor *cursor;

    while ((cursor = LIST_FIRST(&msg->cursors)))
        stand_at(cursor, NULL);
}

/* Those below take it. */

void mbox_cursor_rewind(struct mbox *mbox, struct mbox_cursor *cursor)
{
    pthread_mutex_lock(&mbox->lock);
    cursor->last_seq = mbox->last_seq;
    stand_at(cursor, msgq_first(&mbox->queue));
    pthread_mutex_unlock(&mbox->lock);
}

size_t mbox_cursor_look(struct mbox *mbox, struct mbox_cursor *cursor, struct mbox_place *places,
                        size_t n_max)
{
    const struct msg *msg;
    size_t n = 0;

    pthread_mutex_lock(&mbox->lock);
    for (msg = cursor->at; msg && n < n_max; msg = next_of(mbox, cursor, msg))
        places[n++] = (struct mbox_place){ .key = key_of(msg), .id = msg->id };
    pthread_mutex_unlock(&mbox->lock);
    return n;
}

void mbox_cursor_pass(struct mbox *mbox, struct mbox_cursor *cursor, uint64_t key)
{
    struct msg *msg;

    pthread_mutex_lock(&mbox->lock);
    msg = cursor->at;
    while (msg && key_of(msg) <= key)
        msg = next_of(mbox, cursor, msg);
    stand_at(cursor, msg);
    pthread_mutex_unlock(&mbox->lock);
}

void mbox_cursor_skip(struct mbox *mbox, struct mbox_cursor *cursor, size_t n)
{
    struct msg *msg;

    pthread_mutex_lock(&mbox->lock);
    msg = cursor->at;
    while (msg && n-- > 0)
        msg = next_of(mbox, cursor, msg);
    stand_at(cursor, msg);
    pthread_mutex_unlock(&mbox->lock);
}

void mbox_cursor_end(struct mbox *mbox, struct mbox_cursor *cursor)
{
    pthread_mutex_lock(&mbox->lock);
    stand_at(cursor, NULL);
    pthread_mutex_unlock(&mbox->lock);
}
