#include "mbox_cursor.h"

/* How many bits of a key tell the place within a priority. */
#define SEQ_BITS 58

static uint64_t cursor_key_of(const struct mbox_entry *entry)
{
    return (uint64_t)(MSG_N_PRIOS - 1 - entry->msg->prio) << SEQ_BITS | entry->seq;
}

/* The functions up to mbox_cursors_move_to_end are under the mailbox's lock. */

static void cursor_stand_at(struct mbox_cursor *cursor, struct mbox_entry *entry)
{
    if (cursor->at)
        LIST_REMOVE(cursor, link);
    cursor->at = entry;
    if (entry)
        LIST_INSERT_HEAD(&entry->cursors, cursor, link);
}

/* Return: @entry, or the next that was there at the rewinding; what came later is at the end of its priority. */
static struct mbox_entry *from_here(struct mbox *mbox, const struct mbox_cursor *cursor,
                                    struct mbox_entry *entry)
{
    while (entry && entry->seq > cursor->last_seq)
        entry = msgq_first_below(&mbox->queue, entry->msg->prio);
    return entry;
}

static struct mbox_entry *next_of(struct mbox *mbox, const struct mbox_cursor *cursor,
                                  const struct mbox_entry *entry)
{
    return from_here(mbox, cursor, msgq_next(&mbox->queue, entry));
}

void mbox_cursors_move_on(struct mbox *mbox, struct mbox_entry *entry)
{
    struct mbox_cursor *cursor;

    while ((cursor = LIST_FIRST(&entry->cursors)))
        cursor_stand_at(cursor, next_of(mbox, cursor, entry));
}

void mbox_cursors_move_to_end(struct mbox_entry *entry)
{
    struct mbox_cursor *cursor;

    while ((cursor = LIST_FIRST(&entry->cursors)))
        cursor_stand_at(cursor, NULL);
}

/* Those below take it. */

void mbox_cursor_rewind(struct mbox *mbox, struct mbox_cursor *cursor)
{
    pthread_mutex_lock(&mbox->lock);
    cursor->last_seq = mbox->last_seq;
    cursor_stand_at(cursor, msgq_first(&mbox->queue));
    pthread_mutex_unlock(&mbox->lock);
}

size_t mbox_cursor_look(struct mbox *mbox, struct mbox_cursor *cursor, struct mbox_place *places,
                        size_t n_max)
{
    const struct mbox_entry *entry;
    size_t n = 0;

    pthread_mutex_lock(&mbox->lock);
    for (entry = cursor->at; entry && n < n_max; entry = next_of(mbox, cursor, entry))
        places[n++] = (struct mbox_place){ .key = cursor_key_of(entry), .id = entry->msg->id };
    pthread_mutex_unlock(&mbox->lock);
    return n;
}

void mbox_cursor_pass(struct mbox *mbox, struct mbox_cursor *cursor, uint64_t key)
{
    struct mbox_entry *entry;

    pthread_mutex_lock(&mbox->lock);
    entry = cursor->at;
    while (entry && cursor_key_of(entry) <= key)
        entry = next_of(mbox, cursor, entry);
    cursor_stand_at(cursor, entry);
    pthread_mutex_unlock(&mbox->lock);
}

void mbox_cursor_skip(struct mbox *mbox, struct mbox_cursor *cursor, size_t n)
{
    struct mbox_entry *entry;

    pthread_mutex_lock(&mbox->lock);
    entry = cursor->at;
    while (entry && n-- > 0)
        entry = next_of(mbox, cursor, entry);
    cursor_stand_at(cursor, entry);
    pthread_mutex_unlock(&mbox->lock);
}

void mbox_cursor_end(struct mbox *mbox, struct mbox_cursor *cursor)
{
    pthread_mutex_lock(&mbox->lock);
    cursor_stand_at(cursor, NULL);
    pthread_mutex_unlock(&mbox->lock);
}
