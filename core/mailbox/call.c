/* The table of open questions, and the ways out of it.
 *
 *   ask ──> in the table ──sent──> answerable ──answer──> inbox
 *                │                     ├──message gone, mailbox gone──> ended ──> inbox, as a failure
 *                └──send failed──┐     └──asker gone──┐
 *                                └────────────────────┴──> nothing
 *
 * The id is given when the question enters the table, before the message is posted: whoever receives the message can
 * answer at once. Until it has arrived it is in the table but not answerable, so that nobody answers a question whose
 * sender still waits for room. The table itself is in calls.c. */
#include "call.h"

#include <assert.h>
#include <errno.h>

#include "mbox_queue.h"
#include "mbox_settle.h"

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

static void call_fail(struct asker *asker, int result, struct mbox_ready *ready)
{
    pthread_mutex_lock(&asker->inbox.lock);
    mbox_fail(&asker->inbox, result, ready);
    pthread_mutex_unlock(&asker->inbox.lock);
    asker_set_asked(asker, NULL);
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
    *asker = (struct asker){ .release = release, .clear = clear_inbox, .fail = call_fail };
    mbox_init(&asker->inbox, domain, inbox_release);
    pthread_mutex_init(&asker->lock, NULL);
}

/* The functions from here on are under the mailbox's lock, up to the next such line. */

static int call_enter(struct asker *asker, struct mbox *mbox, struct msg *msg, uid_t uid)
{
    if (mbox->removed)
        return -EIDRM;
    if (asker_waits(asker))
        return -EBUSY;
    msg->is_call = true;
    msg->id = mbox_new_id(mbox);
    asker->id = msg->id;
    asker->uid = uid;
    if (!calls_add(mbox, asker))
        return -ENOMEM;
    asker_set_asked(asker, mbox);
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
        call_fail(asker, r, ready);
        return;
    }
    pthread_mutex_lock(&inbox->lock);
    mbox_let_in(inbox, entry, 0);
    mbox_settle_locked(inbox, MBOX_READABLE, ready);
    pthread_mutex_unlock(&inbox->lock);
    asker_set_asked(asker, NULL);
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
    r = call_enter(asker, mbox, msg, uid);
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
            calls_take_out(mbox, asker);
            asker_set_asked(asker, NULL);
        }
        pthread_mutex_unlock(&mbox->lock);
        mbox_unref(mbox);
    }
}

bool call_is_open(struct mbox *mbox, uint64_t id)
{
    bool is_open;

    pthread_mutex_lock(&mbox->lock);
    is_open = calls_find_sent(mbox, id);
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
    asker = calls_find_sent(mbox, id);
    if (mbox->removed)
        r = -EIDRM;
    else if (!asker)
        r = -EPIPE;
    if (r == 0) {
        calls_take_out(mbox, asker);
        give(asker, entry, ready);
    }
    pthread_mutex_unlock(&mbox->lock);
    if (r < 0)
        mbox_entry_free(entry);
    return r;
}
