/* The table of open questions, and the ways out of it.
 *
 *   ask ──> in the table ──sent──> answerable ──answer──> inbox
 *                │                     ├──message gone, mailbox gone──> ended ──> inbox, as a failure
 *                └──send failed──┐     └──asker gone──┐
 *                                └────────────────────┴──> nothing
 *
 * The id is given when the question enters the table, before the message is posted: whoever receives the message can
 * answer at once. Until it has arrived it is in the table but not answerable, so that nobody answers a question whose
 * sender still waits for room.
 *
 * A message may be dropped deep inside a change of the mailbox; its asker is noted down in a list then, and told before
 * the mailbox's lock is given up. */
#include "call.h"

#include <assert.h>
#include <errno.h>

#include "mbox_queue.h"
#include "mbox_settle.h"

void calls_init(struct calls *calls)
{
    *calls = (struct calls){ 0 };
    TAILQ_INIT(&calls->list);
    TAILQ_INIT(&calls->ended);
}

static void inbox_release(struct mbox *inbox)
{
    struct asker *asker = (struct asker *)((char *)inbox - offsetof(struct asker, inbox));
    struct mbox_ready nobody = TAILQ_HEAD_INITIALIZER(nobody);

    assert(!asker->asked);
    mbox_remove(inbox, true, &nobody);
    mbox_deinit(inbox);
    pthread_mutex_destroy(&asker->lock);
    asker->release(asker);
}

void asker_init(struct asker *asker, struct mbox_domain *domain,
                void (*release)(struct asker *asker))
{
    *asker = (struct asker){ .release = release };
    mbox_init(&asker->inbox, domain, inbox_release);
    pthread_mutex_init(&asker->lock, NULL);
}

static void set_asked(struct asker *asker, struct mbox *mbox)
{
    pthread_mutex_lock(&asker->lock);
    asker->asked = mbox;
    pthread_mutex_unlock(&asker->lock);
}

/* The functions from here on are under the mailbox's lock, up to the next such line. */

static struct asker *find(struct mbox *mbox, uint64_t id)
{
    struct asker *asker;

    HASH_FIND(hh, mbox->calls.by_id, &id, sizeof(id), asker);
    return asker;
}

/* Return: the asker of @id, which can be answered; NULL. */
static struct asker *find_sent(struct mbox *mbox, uint64_t id)
{
    struct asker *asker = find(mbox, id);

    return asker && asker->is_sent ? asker : NULL;
}

static void stand_at(struct call_cursor *cursor, struct asker *asker)
{
    if (cursor->at)
        LIST_REMOVE(cursor, link);
    cursor->at = asker;
    if (asker)
        LIST_INSERT_HEAD(&asker->cursors, cursor, link);
}

/* Return: whether there was memory for it. */
static bool table_add(struct mbox *mbox, struct asker *asker)
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
        stand_at(cursor, TAILQ_NEXT(asker, link));
    TAILQ_REMOVE(&mbox->calls.list, asker, link);
    asker->is_sent = false;
}

static void take_out(struct mbox *mbox, struct asker *asker)
{
    HASH_DELETE(hh, mbox->calls.by_id, asker);
    if (asker->is_sent)
        list_remove(mbox, asker);
}

/* Forgets what the question before has left in the inbox. */
static void clear_inbox(struct asker *asker)
{
    struct mbox *inbox = &asker->inbox;
    struct mbox_entry *entry;

    pthread_mutex_lock(&inbox->lock);
    inbox->failure = 0;
    while ((entry = msgq_first(&inbox->queue))) {
        mbox_queue_remove(inbox, entry);
        mbox_entry_free(entry);
    }
    pthread_mutex_unlock(&inbox->lock);
}

void calls_note_sent(struct mbox *mbox, const struct msg *msg)
{
    struct asker *asker = msg->is_call ? find(mbox, msg->id) : NULL;

    if (!asker || asker->is_sent)
        return;
    clear_inbox(asker);
    list_add(mbox, asker);
}

static void end(struct mbox *mbox, struct asker *asker, int result)
{
    bool was_sent = asker->is_sent;

    take_out(mbox, asker);
    if (was_sent) {
        asker->result = result;
        TAILQ_INSERT_TAIL(&mbox->calls.ended, asker, link);
    } else {
        set_asked(asker, NULL);
    }
}

void calls_end(struct mbox *mbox, const struct msg *msg, int result)
{
    struct asker *asker = msg->is_call ? find(mbox, msg->id) : NULL;

    if (asker)
        end(mbox, asker, result);
}

void calls_end_all(struct mbox *mbox, int result)
{
    while (mbox->calls.by_id)
        end(mbox, mbox->calls.by_id, result);
}

static void fail(struct asker *asker, int result, struct mbox_ready *ready)
{
    pthread_mutex_lock(&asker->inbox.lock);
    mbox_fail(&asker->inbox, result, ready);
    pthread_mutex_unlock(&asker->inbox.lock);
    set_asked(asker, NULL);
}

void calls_tell(struct mbox *mbox, struct mbox_ready *ready)
{
    struct asker *asker;

    while ((asker = TAILQ_FIRST(&mbox->calls.ended))) {
        TAILQ_REMOVE(&mbox->calls.ended, asker, link);
        fail(asker, asker->result, ready);
    }
}

int calls_move(struct mbox *mbox, struct mbox *to, const struct msg *msg)
{
    struct asker *asker = msg->is_call ? find(mbox, msg->id) : NULL;

    if (!asker)
        return 0;
    take_out(mbox, asker);
    if (!table_add(to, asker)) {
        /* Its place was free a moment ago. */
        if (!table_add(mbox, asker))
            set_asked(asker, NULL);
        else
            list_add(mbox, asker);
        return -ENOMEM;
    }
    list_add(to, asker);
    set_asked(asker, to);
    return 0;
}

static int enter(struct asker *asker, struct mbox *mbox, struct msg *msg, uid_t uid)
{
    if (mbox->removed)
        return -EIDRM;
    if (asker_waits(asker))
        return -EBUSY;
    msg->is_call = true;
    msg->id = mbox_new_id(mbox);
    asker->id = msg->id;
    asker->uid = uid;
    if (!table_add(mbox, asker))
        return -ENOMEM;
    set_asked(asker, mbox);
    return 0;
}

/* Gives @asker the answer @entry, which is charged to its sender. */
static void give(struct asker *asker, struct mbox_entry *entry, struct mbox_ready *ready)
{
    struct mbox *inbox = &asker->inbox;
    int r;

    mbox_entry_adopt_charge(entry, &inbox->domain->quota);
    r = quota_charge_move(&entry->msg->charge, asker->uid);
    if (r < 0) {
        mbox_entry_free(entry);
        fail(asker, r, ready);
        return;
    }
    pthread_mutex_lock(&inbox->lock);
    mbox_let_in(inbox, entry, 0);
    mbox_settle_locked(inbox, MBOX_READABLE, ready);
    pthread_mutex_unlock(&inbox->lock);
    set_asked(asker, NULL);
}

/* Those below take it. */

bool asker_waits(struct asker *asker)
{
    bool waits;

    pthread_mutex_lock(&asker->lock);
    waits = asker->asked;
    pthread_mutex_unlock(&asker->lock);
    return waits;
}

int asker_ask(struct asker *asker, struct mbox *mbox, struct msg *msg, uid_t uid,
              struct mbox_op *op, struct mbox_ready *ready)
{
    int r;

    pthread_mutex_lock(&mbox->lock);
    r = enter(asker, mbox, msg, uid);
    pthread_mutex_unlock(&mbox->lock);
    if (r < 0)
        return r;
    r = mbox_post(mbox, msg, op, ready);
    if (r < 0)
        asker_take_back(asker);
    return r;
}

/* Return: the mailbox whose table has its question, with a reference; NULL. */
static struct mbox *ref_asked(struct asker *asker)
{
    struct mbox *mbox;

    pthread_mutex_lock(&asker->lock);
    /* Not its last one: before that it is removed, and its table emptied. */
    mbox = asker->asked ? mbox_ref(asker->asked) : NULL;
    pthread_mutex_unlock(&asker->lock);
    return mbox;
}

void asker_take_back(struct asker *asker)
{
    struct mbox *mbox;

    while ((mbox = ref_asked(asker))) {
        pthread_mutex_lock(&mbox->lock);
        /* It may have been moved meanwhile. */
        if (asker->asked == mbox) {
            take_out(mbox, asker);
            set_asked(asker, NULL);
        }
        pthread_mutex_unlock(&mbox->lock);
        mbox_unref(mbox);
    }
}

bool call_is_open(struct mbox *mbox, uint64_t id)
{
    bool is_open;

    pthread_mutex_lock(&mbox->lock);
    is_open = find_sent(mbox, id);
    pthread_mutex_unlock(&mbox->lock);
    return is_open;
}

int call_answer(struct mbox *mbox, uint64_t id, struct msg *msg, struct mbox_ready *ready)
{
    struct mbox_entry *entry = mbox_entry_new(msg);
    struct asker *asker;
    int r = 0;

    if (!entry)
        return -ENOMEM;
    pthread_mutex_lock(&mbox->lock);
    asker = find_sent(mbox, id);
    if (mbox->removed)
        r = -EIDRM;
    else if (!asker)
        r = -EPIPE;
    if (r == 0) {
        take_out(mbox, asker);
        give(asker, entry, ready);
    }
    pthread_mutex_unlock(&mbox->lock);
    if (r < 0)
        mbox_entry_free(entry);
    return r;
}

void call_cursor_rewind(struct mbox *mbox, struct call_cursor *cursor, uint64_t key)
{
    struct asker *asker;

    pthread_mutex_lock(&mbox->lock);
    cursor->last_seq = mbox->calls.last_seq;
    asker = TAILQ_FIRST(&mbox->calls.list);
    while (asker && asker->seq <= key)
        asker = TAILQ_NEXT(asker, link);
    stand_at(cursor, asker);
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
    stand_at(cursor, asker);
    pthread_mutex_unlock(&mbox->lock);
    return n;
}

void call_cursor_end(struct mbox *mbox, struct call_cursor *cursor)
{
    pthread_mutex_lock(&mbox->lock);
    stand_at(cursor, NULL);
    pthread_mutex_unlock(&mbox->lock);
}
