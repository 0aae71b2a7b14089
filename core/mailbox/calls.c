/* The table is part of a mailbox, and its functions are called from inside it: so what becomes of an asker's inbox, a
 * mailbox too, is for call.c to say (asker->clear, asker->fail).
 *
 * A message may be dropped deep inside a change of the mailbox; its asker is noted down in a list then, and told before
 * the mailbox's lock is given up. */
#include "calls.h"

#include <errno.h>

void calls_init(struct calls *calls)
{
    *calls = (struct calls){ 0 };
    TAILQ_INIT(&calls->list);
    TAILQ_INIT(&calls->ended);
}

void asker_set_asked(struct asker *asker, struct mbox *mbox)
{
    pthread_mutex_lock(&asker->lock);
    asker->asked = mbox;
    pthread_mutex_unlock(&asker->lock);
}

static struct asker *calls_find(struct mbox *mbox, uint64_t id)
{
    struct asker *asker;

    HASH_FIND(hh, mbox->calls.by_id, &id, sizeof(id), asker);
    return asker;
}

/* Return: the asker of @id, which can be answered; NULL. */
struct asker *calls_find_sent(struct mbox *mbox, uint64_t id)
{
    struct asker *asker = calls_find(mbox, id);

    return asker && asker->is_sent ? asker : NULL;
}

static void calls_stand_at(struct call_cursor *cursor, struct asker *asker)
{
    if (cursor->at)
        LIST_REMOVE(cursor, link);
    cursor->at = asker;
    if (asker)
        LIST_INSERT_HEAD(&asker->cursors, cursor, link);
}

/* Return: whether there was memory for it. */
bool calls_add(struct mbox *mbox, struct asker *asker)
{
    HASH_ADD(hh, mbox->calls.by_id, id, sizeof(asker->id), asker);
    return hash_added(asker, hh);
}

static void list_add(struct mbox *mbox, struct asker *asker)
{
    asker->is_sent = true;
    asker->seq = ++mbox->calls.last_seq;
    TAILQ_INSERT_TAIL(&mbox->calls.list, asker, link);
}

static void list_remove(struct mbox *mbox, struct asker *asker)
{
    struct call_cursor *cursor;

    while ((cursor = LIST_FIRST(&asker->cursors)))
        calls_stand_at(cursor, TAILQ_NEXT(asker, link));
    TAILQ_REMOVE(&mbox->calls.list, asker, link);
    asker->is_sent = false;
}

void calls_take_out(struct mbox *mbox, struct asker *asker)
{
    HASH_DELETE(hh, mbox->calls.by_id, asker);
    if (asker->is_sent)
        list_remove(mbox, asker);
}

void calls_note_sent(struct mbox *mbox, const struct msg *msg)
{
    struct asker *asker = msg->is_call ? calls_find(mbox, msg->id) : NULL;

    if (!asker || asker->is_sent)
        return;
    asker->clear(asker);
    list_add(mbox, asker);
}

static void calls_end_of(struct mbox *mbox, struct asker *asker, int result)
{
    bool was_sent = asker->is_sent;

    calls_take_out(mbox, asker);
    if (was_sent) {
        asker->result = result;
        TAILQ_INSERT_TAIL(&mbox->calls.ended, asker, link);
    } else {
        asker_set_asked(asker, NULL);
    }
}

void calls_end(struct mbox *mbox, const struct msg *msg, int result)
{
    struct asker *asker = msg->is_call ? calls_find(mbox, msg->id) : NULL;

    if (asker)
        calls_end_of(mbox, asker, result);
}

void calls_end_all(struct mbox *mbox, int result)
{
    while (mbox->calls.by_id)
        calls_end_of(mbox, mbox->calls.by_id, result);
}

void calls_tell(struct mbox *mbox, struct mbox_ready *ready)
{
    struct asker *asker;

    while ((asker = TAILQ_FIRST(&mbox->calls.ended))) {
        TAILQ_REMOVE(&mbox->calls.ended, asker, link);
        asker->fail(asker, asker->result, ready);
    }
}

int calls_move(struct mbox *mbox, struct mbox *to, const struct msg *msg)
{
    struct asker *asker = msg->is_call ? calls_find(mbox, msg->id) : NULL;

    if (!asker)
        return 0;
    calls_take_out(mbox, asker);
    if (!calls_add(to, asker)) {
        /* Its place was free a moment ago. */
        if (!calls_add(mbox, asker))
            asker_set_asked(asker, NULL);
        else
            list_add(mbox, asker);
        return -ENOMEM;
    }
    list_add(to, asker);
    asker_set_asked(asker, to);
    return 0;
}

void call_cursor_rewind(struct mbox *mbox, struct call_cursor *cursor, uint64_t key)
{
    struct asker *asker;

    pthread_mutex_lock(&mbox->lock);
    cursor->last_seq = mbox->calls.last_seq;
    asker = TAILQ_FIRST(&mbox->calls.list);
    while (asker && asker->seq <= key)
        asker = TAILQ_NEXT(asker, link);
    calls_stand_at(cursor, asker);
    pthread_mutex_unlock(&mbox->lock);
}

size_t call_cursor_next(struct mbox *mbox, struct call_cursor *cursor, struct call_place *places,
                        size_t n_max)
{
    struct asker *asker;
    size_t n = 0;

    pthread_mutex_lock(&mbox->lock);
    asker = cursor->at;
    while (asker && n < n_max && asker->seq <= cursor->last_seq) {
        places[n++] = (struct call_place){ .key = asker->seq, .id = asker->id };
        asker = TAILQ_NEXT(asker, link);
    }
    calls_stand_at(cursor, asker);
    pthread_mutex_unlock(&mbox->lock);
    return n;
}

void call_cursor_end(struct mbox *mbox, struct call_cursor *cursor)
{
    pthread_mutex_lock(&mbox->lock);
    calls_stand_at(cursor, NULL);
    pthread_mutex_unlock(&mbox->lock);
}
