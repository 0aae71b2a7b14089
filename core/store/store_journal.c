/* The noting down: what the mailboxes say goes into two queues, of mailboxes and of notes.
 *
 * A note is queued once at a time, with what is to be done by then: what is moved and then received is only received.
 * A mailbox that is queued is written as it is when it is written.
 *
 * Who has the turn writes. It is taken by whoever notes something while nobody has it, and goes into the list of
 * ready ops of that caller, who runs it when it holds no lock (store_write.c). Callers without such a list, and a disk
 * that has been slow, wake the writer, a thread that takes the turn. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store_internal.h"

uint64_t store_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* After a slow transaction, for so long others are left to the writer. */
#define IS_SLOW(store) ((store)->slow_until && store_now() < (store)->slow_until)

void store_kick(struct store *store, struct mbox_ready *ready)
{
    if (store->is_turn_taken)
        return;
    if (ready && (!IS_SLOW(store) || !store->has_writer)) {
        store->is_turn_taken = true;
        store->n_rounds = 0;
        TAILQ_INSERT_TAIL(ready, &store->turn, link);
    } else {
        store->is_wanted = true;
        pthread_cond_signal(&store->writer_cond);
    }
}

static struct journal_box *box_new(struct mbox_journal *journal, struct mbox *mbox)
{
    struct store *store = store_of(journal);
    struct journal_box *box = calloc(1, sizeof(*box));

    if (!box)
        return NULL;
    box->mbox = mbox;
    pthread_mutex_lock(&store->lock);
    box->id = store->is_loading ? store->loading_box : ++store->last_box;
    box->is_known = box->is_stored = store->is_loading;
    if (!store->is_loading)
        store->stat.n_boxes++;
    pthread_mutex_unlock(&store->lock);
    return box;
}

/* Under store->lock. */
static void queue_box(struct store *store, struct journal_box *box, struct mbox_ready *ready)
{
    box->is_retry = false;
    if (!box->is_queued) {
        box->is_queued = true;
        mbox_ref(box->mbox);
        TAILQ_INSERT_TAIL(&store->boxes, box, link);
    }
    store_kick(store, ready);
}

static void set_name(struct journal_box *box, char *name)
{
    free(box->new_name);
    box->new_name = name;
}

static int box_rename(struct mbox_journal *journal, struct mbox *mbox, const char *text,
                      struct mbox *other, const char *other_text, struct mbox_ready *ready)
{
    struct store *store = store_of(journal);
    char *name = strdup(text);
    char *other_name = other ? strdup(other_text) : NULL;

    if (!name || (other && !other_name)) {
        free(name);
        free(other_name);
        return -ENOMEM;
    }
    pthread_mutex_lock(&store->lock);
    if (mbox->kept->is_gone || store->is_loading) {
        free(name);
    } else {
        set_name(mbox->kept, name);
        queue_box(store, mbox->kept, ready);
    }
    if (other && (!other->kept || other->kept->is_gone)) {
        free(other_name);
    } else if (other) {
        set_name(other->kept, other_name);
        queue_box(store, other->kept, ready);
    }
    pthread_mutex_unlock(&store->lock);
    return 0;
}

static void box_configure(struct mbox_journal *journal, struct mbox *mbox, struct mbox_ready *ready)
{
    struct store *store = store_of(journal);
    struct journal_box *box = mbox->kept;

    pthread_mutex_lock(&store->lock);
    /* Before it has a name it is nothing yet, and then all of it is written. */
    if (!box->is_gone && !store->is_loading && (box->is_known || box->is_queued))
        queue_box(store, box, ready);
    pthread_mutex_unlock(&store->lock);
}

/* Under store->lock. Return: whether the reference of the queue is the caller's now. */
static bool unqueue_box(struct store *store, struct journal_box *box)
{
    if (!box->is_queued)
        return false;
    box->is_queued = false;
    TAILQ_REMOVE(&store->boxes, box, link);
    return true;
}

static void box_destroy(struct mbox_journal *journal, struct mbox *mbox, struct mbox_ready *ready)
{
    struct store *store = store_of(journal);
    struct journal_box *box = mbox->kept;
    bool has_reference = false;

    pthread_mutex_lock(&store->lock);
    if (!box->is_gone && !store->is_ended) {
        box->is_gone = true;
        store->stat.n_boxes--;
        if (box->is_known)
            queue_box(store, box, ready);
        else
            has_reference = unqueue_box(store, box);
    }
    pthread_mutex_unlock(&store->lock);
    /* The caller has another. */
    if (has_reference)
        mbox_unref(mbox);
}

static void journal_release(struct mbox_journal *journal, struct mbox *mbox)
{
    (void)journal;
    free(mbox->kept->new_name);
    free(mbox->kept->writing_name);
    free(mbox->kept);
    mbox->kept = NULL;
}

static struct journal_note *note_new(struct mbox_journal *journal)
{
    (void)journal;
    return calloc(1, sizeof(struct journal_note));
}

/* Under store->lock. */
static void queue_note(struct store *store, struct journal_note *note, enum store_what what,
                       struct mbox_ready *ready)
{
    note->what = what;
    note->is_retry = false;
    if (!note->is_queued) {
        note->is_queued = true;
        TAILQ_INSERT_TAIL(&store->notes, note, link);
    }
    store_kick(store, ready);
}

static struct store_place place_in(struct mbox *mbox, const struct mbox_entry *entry)
{
    return (struct store_place){ .box = mbox->kept->id, .seq = entry->seq };
}

static void post(struct mbox_journal *journal, struct mbox *mbox, struct mbox_entry *entry,
                 struct mbox_ready *ready)
{
    struct store *store = store_of(journal);
    struct journal_note *note = entry->note;

    pthread_mutex_lock(&store->lock);
    note->to = place_in(mbox, entry);
    note->box = mbox->kept;
    note->mbox = mbox_ref(mbox);
    note->entry = entry;
    note->msg = msg_ref(entry->msg);
    note->is_on_disk = mbox->limits.durable == MBOX_DURABLE_DISK;
    queue_note(store, note, STORE_POST, ready);
    pthread_mutex_unlock(&store->lock);
}

/* Drops what a queued change refers to. Under store->lock. Return: a reference that is the caller's. */
static struct mbox *drop_change(struct journal_note *note)
{
    struct mbox *mbox = note->mbox;

    msg_unref(note->msg);
    free(note->headers);
    note->msg = NULL;
    note->headers = NULL;
    note->mbox = NULL;
    return mbox;
}

static void remove_entry(struct mbox_journal *journal, struct mbox *mbox, struct mbox_entry *entry,
                         struct mbox_ready *ready)
{
    struct store *store = store_of(journal);
    struct journal_note *note = entry->note;
    struct mbox *moved_to;

    pthread_mutex_lock(&store->lock);
    moved_to = drop_change(note);
    note->mbox = mbox_ref(mbox);
    note->entry = entry;
    queue_note(store, note, STORE_REMOVE, ready);
    pthread_mutex_unlock(&store->lock);
    if (moved_to)
        mbox_unref(moved_to);
}

/* Under store->lock. Return: whether nothing of @note is in live.mdb, or will be. */
static bool is_nothing(const struct journal_note *note)
{
    return !note->is_in_batch && (!note->is_kept || (note->box && note->box->is_gone));
}

static void forget(struct mbox_journal *journal, struct journal_note *note,
                   struct mbox_ready *ready)
{
    struct store *store = store_of(journal);
    struct mbox *moved_to;
    bool is_over;

    pthread_mutex_lock(&store->lock);
    moved_to = drop_change(note);
    is_over = is_nothing(note) || (store->is_ended && !note->is_in_batch && !note->is_queued);
    if (!is_over)
        queue_note(store, note, STORE_FORGET, ready);
    else if (note->is_queued)
        TAILQ_REMOVE(&store->notes, note, link);
    if (is_over && note->is_kept)
        store->stat.n_messages--;
    pthread_mutex_unlock(&store->lock);
    if (moved_to)
        mbox_unref(moved_to);
    if (is_over)
        free(note);
}

static void change(struct mbox_journal *journal, struct mbox *to, struct mbox_entry *entry,
                   struct mbox_ready *ready)
{
    struct store *store = store_of(journal);
    struct journal_note *note = entry->note;
    struct headers *headers = headers_copy(entry->headers);
    struct mbox *moved_to;

    pthread_mutex_lock(&store->lock);
    moved_to = drop_change(note);
    note->to = place_in(to, entry);
    note->box = to->kept;
    note->mbox = mbox_ref(to);
    note->msg = msg_ref(entry->msg);
    note->attempts = entry->n_attempts;
    note->headers = headers;
    if (to->limits.durable == MBOX_DURABLE_DISK)
        note->is_on_disk = true;
    queue_note(store, note, STORE_CHANGE, ready);
    pthread_mutex_unlock(&store->lock);
    if (moved_to)
        mbox_unref(moved_to);
}

static void need_ids(struct mbox_journal *journal)
{
    struct store *store = store_of(journal);

    pthread_mutex_lock(&store->lock);
    store->needs_ids = true;
    store_kick(store, NULL);
    pthread_mutex_unlock(&store->lock);
}

/* Under store->lock. */
static bool has_work(const struct store *store)
{
    return !TAILQ_EMPTY(&store->notes) || !TAILQ_EMPTY(&store->boxes) || store->needs_ids ||
           store->has_done;
}

/* So long one waits who would rather say that it is written. */
#define FLUSH_NS UINT64_C(100000000)

/* Waits until another thread has written what there is, or that takes too long. Under store->lock. */
static void wait_for_others(struct store *store)
{
    uint64_t deadline = store_now() + FLUSH_NS;
    const struct timespec at = { .tv_sec = (time_t)(deadline / 1000000000),
                                 .tv_nsec = (long)(deadline % 1000000000) };

    while ((store->is_turn_taken || has_work(store)) && store_now() < deadline)
        pthread_cond_timedwait(&store->turn_cond, &store->lock, &at);
}

static void flush(struct mbox_journal *journal)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct store *store = store_of(journal);

    pthread_mutex_lock(&store->lock);
    if (has_work(store))
        store_kick(store, &ready);
    if (TAILQ_EMPTY(&ready) && store->has_writer)
        wait_for_others(store);
    pthread_mutex_unlock(&store->lock);
    mbox_ready_run(&ready);
}

const struct journal_ops store_journal_ops = {
    .box_new = box_new,
    .note_new = note_new,
    .post = post,
    .remove = remove_entry,
    .forget = forget,
    .change = change,
    .rename = box_rename,
    .configure = box_configure,
    .destroy = box_destroy,
    .release = journal_release,
    .need_ids = need_ids,
    .flush = flush,
};
