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

#include "core/base/clock.h"
#include "store_internal.h"

/* After a slow transaction, for so long others are left to the writer. */
#define IS_SLOW(store) ((store)->slow_until && clock_now_ns() < (store)->slow_until)

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

static struct journal_box *box_new(struct mbox_journal *journal, struct mbox *mbox,
                                   enum journal_kind kind, struct mbox *parent)
{
    struct store *store = store_of(journal);
    struct journal_box *box = calloc(1, sizeof(*box));

    if (!box)
        return NULL;
    box->mbox = mbox;
    box->kind = kind;
    box->parent = parent && parent->kept ? parent->kept->id : 0;
    box->n_users = 1;
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

/* Under store->lock: one user less. */
static void leave_box(struct journal_box *box)
{
    if (--box->n_users == 0)
        free(box);
}

static void journal_release(struct mbox_journal *journal, struct mbox *mbox)
{
    struct store *store = store_of(journal);

    free(mbox->kept->new_name);
    free(mbox->kept->writing_name);
    pthread_mutex_lock(&store->lock);
    leave_box(mbox->kept);
    pthread_mutex_unlock(&store->lock);
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

/* Under store->lock. */
static void journal_post_locked(struct store *store, struct mbox *mbox, struct mbox_entry *entry,
                                struct mbox_ready *ready)
{
    struct journal_note *note = entry->note;

    note->to = place_in(mbox, entry);
    note->box = mbox->kept;
    note->mbox = mbox_ref(mbox);
    note->entry = entry;
    note->msg = msg_ref(entry->msg);
    note->is_shared = entry->is_shared;
    if (mbox->limits.durable == MBOX_DURABLE_DISK)
        note->is_on_disk = true;
    queue_note(store, note, STORE_POST, ready);
}

static void post(struct mbox_journal *journal, struct mbox *mbox, struct mbox_entry *entry,
                 struct mbox_ready *ready)
{
    struct store *store = store_of(journal);

    pthread_mutex_lock(&store->lock);
    journal_post_locked(store, mbox, entry, ready);
    pthread_mutex_unlock(&store->lock);
}

/* Under store->lock. @note, of @entry in @to, is a copy of @original's. */
static void make_copy(struct journal_note *note, struct journal_note *original, struct mbox *to,
                      const struct mbox_entry *entry)
{
    note->to = place_in(to, entry);
    note->box = to->kept;
    /* It may have no name yet: then the messages are what is to be removed with it. */
    note->box->is_known = true;
    note->is_shared = true;
    note->is_copy = true;
    note->original = original;
    original->n_copies++;
}

static void journal_attach(struct mbox_journal *journal, struct mbox_entry *entry, struct mbox *to,
                           struct mbox_entry *copy)
{
    struct store *store = store_of(journal);
    struct journal_note *original = entry->note;
    struct journal_note *note = copy->note;

    pthread_mutex_lock(&store->lock);
    make_copy(note, original, to, copy);
    if (!original->attached)
        original->attached_end = &original->attached;
    *original->attached_end = note;
    original->attached_end = &note->next;
    /* The publication waits for the disk if one of them does. */
    if (to->limits.durable == MBOX_DURABLE_DISK)
        original->is_on_disk = true;
    pthread_mutex_unlock(&store->lock);
}

static void journal_publish(struct mbox_journal *journal, struct mbox *mbox,
                            struct mbox_entry *entry, bool is_remembered, struct mbox_ready *ready)
{
    struct store *store = store_of(journal);
    struct journal_note *note = entry->note;

    pthread_mutex_lock(&store->lock);
    note->is_original = true;
    note->is_remembered = is_remembered;
    mbox->kept->n_users++;
    journal_post_locked(store, mbox, entry, ready);
    for (struct journal_note *copy = note->attached; copy; copy = copy->next)
        copy->is_on_disk = note->is_on_disk;
    pthread_mutex_unlock(&store->lock);
}

static void journal_copy(struct mbox_journal *journal, struct journal_note *published,
                         struct mbox *to, struct mbox_entry *copy, struct mbox_ready *ready)
{
    struct store *store = store_of(journal);
    struct journal_note *note = copy->note;

    pthread_mutex_lock(&store->lock);
    if (published->is_kept && !published->box->is_gone) {
        make_copy(note, published, to, copy);
        note->is_on_disk = published->is_on_disk;
        note->mbox = mbox_ref(to);
        note->msg = msg_ref(copy->msg);
        queue_note(store, note, STORE_CHANGE, ready);
    }
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

static void journal_await(struct mbox_journal *journal, struct mbox *mbox, struct mbox_entry *entry,
                          bool on_disk, struct mbox_ready *ready)
{
    struct store *store = store_of(journal);
    struct journal_note *note = entry->note;

    pthread_mutex_lock(&store->lock);
    note->mbox = mbox_ref(mbox);
    note->entry = entry;
    note->is_on_disk = on_disk;
    queue_note(store, note, STORE_AWAIT, ready);
    pthread_mutex_unlock(&store->lock);
}

/* Under store->lock. Return: whether nothing of @note is in live.mdb, or will be. */
static bool is_nothing(const struct journal_note *note)
{
    return !note->is_in_batch && (!note->is_kept || (note->box && note->box->is_gone));
}

/* What @note, which its owner has forgotten, is to live.mdb from now on; a copy is one less. Under store->lock. Return:
 * whether it is queued, or still there for its copies. */
static bool forget_locked(struct store *store, struct journal_note *note, struct mbox_ready *ready)
{
    bool is_lost = store->is_ended && !note->is_in_batch && !note->is_queued;

    if (note->original && !is_nothing(note) && !is_lost) {
        queue_note(store, note, STORE_FORGET, ready);
        store_leave_original(store, note);
        return true;
    }
    if (note->is_original && note->n_copies > 0) {
        note->is_given_up = true;
        if (note->is_remembered && !is_nothing(note) && !is_lost)
            queue_note(store, note, STORE_UNREMEMBER, ready);
        return true;
    }
    if (!is_nothing(note) && !is_lost) {
        queue_note(store, note, STORE_FORGET, ready);
        return true;
    }
    if (note->is_queued)
        TAILQ_REMOVE(&store->notes, note, link);
    if (note->is_kept && !note->is_original)
        store->stat.n_messages--;
    return false;
}

void store_drop_copy(struct store *store, struct journal_note *original)
{
    if (--original->n_copies > 0 || !original->is_given_up)
        return;
    if (!forget_locked(store, original, NULL))
        store_free_note(store, original);
}

void store_leave_original(struct store *store, struct journal_note *note)
{
    struct journal_note *original = note->original;

    note->original = NULL;
    if (original)
        store_drop_copy(store, original);
}

void store_free_note(struct store *store, struct journal_note *note)
{
    store_leave_original(store, note);
    if (note->is_original && note->box)
        leave_box(note->box);
    free(note);
}

int store_forget_place(struct store *store, struct store_place place)
{
    struct journal_note *note = calloc(1, sizeof(*note));

    if (!note)
        return -ENOMEM;
    note->is_kept = true;
    note->is_original = true;
    note->at = place;
    pthread_mutex_lock(&store->lock);
    queue_note(store, note, STORE_FORGET, NULL);
    pthread_mutex_unlock(&store->lock);
    return 0;
}

static void forget(struct mbox_journal *journal, struct journal_note *note,
                   struct mbox_ready *ready)
{
    struct store *store = store_of(journal);
    struct mbox *moved_to;

    pthread_mutex_lock(&store->lock);
    moved_to = drop_change(note);
    if (!forget_locked(store, note, ready))
        store_free_note(store, note);
    pthread_mutex_unlock(&store->lock);
    if (moved_to)
        mbox_unref(moved_to);
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
    /* Elsewhere it has its bytes itself. */
    if (note->box != to->kept || headers)
        note->is_copy = false;
    note->to = place_in(to, entry);
    note->box = to->kept;
    note->is_shared = entry->is_shared;
    note->mbox = mbox_ref(to);
    note->msg = msg_ref(entry->msg);
    note->attempts = entry->n_attempts;
    note->headers = headers;
    /* A copy is worth as much as its original. */
    if (to->limits.durable == MBOX_DURABLE_DISK && !note->is_copy)
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
    uint64_t deadline = clock_now_ns() + FLUSH_NS;
    const struct timespec at = { .tv_sec = (time_t)(deadline / 1000000000),
                                 .tv_nsec = (long)(deadline % 1000000000) };

    while ((store->is_turn_taken || has_work(store)) && clock_now_ns() < deadline)
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
    .attach = journal_attach,
    .publish = journal_publish,
    .copy = journal_copy,
    .remove = remove_entry,
    .await = journal_await,
    .forget = forget,
    .change = change,
    .rename = box_rename,
    .configure = box_configure,
    .destroy = box_destroy,
    .release = journal_release,
    .need_ids = need_ids,
    .flush = flush,
};
