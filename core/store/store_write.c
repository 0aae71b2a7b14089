/* The writing: whoever has the turn takes what is queued and puts it into live.mdb in one transaction.
 *
 * All mailboxes that are queued go into one transaction, so that two that change names do it at one moment, and before
 * the messages. If the transaction fails, each part is tried by itself, so that a message for which there is no room
 * fails alone. What removes finds room when nothing else does (store_db.h).
 *
 * After each batch the turn goes to the end of the list of ready ops: those whose messages are stored are told first.
 * Who has had it for long leaves the rest to the writer.
 *
 * What disk.mdb is to have too is noted in the same transaction, as a key in the table of what is to be copied. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/clock.h"
#include "store_internal.h"

/* A transaction that takes this long was held up by a disk. */
#define SLOW_NS UINT64_C(20000000)
#define SLOW_FOR_NS UINT64_C(1000000000)

/* One thread has the turn for so many batches. */
#define ROUNDS_MAX 16

/* So many ids are set aside at once. */
#define IDS_BLOCK (UINT64_C(1) << 22)

/* Under store->lock. Return: how long the message of @item is. */
static uint64_t item_bytes(const struct store_item *item)
{
    const struct headers *headers = item->headers ? item->headers : item->msg->headers;

    return STORE_MESSAGE_HEAD_BYTES + item->msg->size_bytes + (headers ? headers->size_bytes : 0);
}

/* What stands for a copy takes no more. */
#define COPY_VALUE_BYTES (2 * (uint64_t)STORE_MESSAGE_HEAD_BYTES)

/* Under store->lock: the copies of @item, which is a publication. */
static void take_attached(struct store_batch *batch, struct store_item *item)
{
    struct journal_note *copy;
    uint64_t n = 0;

    for (copy = item->note->attached; copy; copy = copy->next) {
        copy->is_void = item->is_void || copy->box->is_gone;
        n += copy->is_void ? 0 : 1;
        batch->n_notes++;
    }
    /* It was only to keep its place in the order. */
    if (n == 0 && !item->is_remembered)
        item->is_void = true;
    batch->n_puts += n;
    batch->n_bytes += n * COPY_VALUE_BYTES;
}

/* Under store->lock. */
static void take_note(struct store_batch *batch, struct journal_note *note)
{
    struct store_item *item = &batch->items[batch->n_items++];

    *item = (struct store_item){
        .note = note,
        .what = note->what,
        .is_kept = note->is_kept,
        .is_on_disk = note->is_on_disk,
        .is_void = note->what == STORE_POST && note->box->is_gone,
        .at = note->at,
        .to = note->to,
        .is_copy = note->is_copy,
        .is_shared = note->is_shared,
        .is_remembered = note->is_remembered,
        .attempts = note->attempts,
        .headers = note->headers,
        .box = note->box,
        .mbox = note->mbox,
        .entry = note->entry,
        .msg = note->msg,
    };
    if (item->what == STORE_CHANGE && note->box->is_gone)
        item->is_void = true;
    if (note->is_copy && note->original)
        item->original = note->original->to;
    if (item->what == STORE_POST && note->is_original)
        take_attached(batch, item);
    if (item->msg && !item->is_void) {
        batch->n_bytes += item_bytes(item);
        batch->n_puts++;
    }
    batch->n_notes++;
    note->is_queued = false;
    note->is_in_batch = true;
    note->what = STORE_NOTHING;
    note->mbox = NULL;
    note->entry = NULL;
    note->msg = NULL;
    note->headers = NULL;
}

/* Under store->lock. */
static void take_boxes(struct store *store, struct store_batch *batch)
{
    struct journal_box *box;

    TAILQ_INIT(&batch->boxes);
    while ((box = TAILQ_FIRST(&store->boxes))) {
        TAILQ_REMOVE(&store->boxes, box, link);
        TAILQ_INSERT_TAIL(&batch->boxes, box, batch_link);
        box->is_queued = false;
        box->is_known = true;
        box->is_writing_gone = box->is_gone;
        free(box->writing_name);
        box->writing_name = box->new_name;
        box->new_name = NULL;
    }
}

/* Return: whether there is something to write. */
static bool take_batch(struct store *store, struct store_batch *batch)
{
    struct journal_note *note;

    batch->n_items = 0;
    batch->n_bytes = 0;
    batch->n_puts = 0;
    batch->n_notes = 0;
    batch->ids = 0;
    pthread_mutex_lock(&store->lock);
    take_boxes(store, batch);
    while (batch->n_notes < STORE_BATCH_NOTES && batch->n_bytes < STORE_BATCH_BYTES &&
           (note = TAILQ_FIRST(&store->notes))) {
        TAILQ_REMOVE(&store->notes, note, link);
        take_note(batch, note);
    }
    if (store->needs_ids)
        batch->ids = atomic_load(&store->domain->last_id) + 2 * IDS_BLOCK;
    store->needs_ids = false;
    batch->has_done = store->has_done;
    batch->done = store->done;
    store->has_done = false;
    pthread_mutex_unlock(&store->lock);
    return batch->n_items > 0 || !TAILQ_EMPTY(&batch->boxes) || batch->ids || batch->has_done;
}

/* disk.mdb lacks @key as it is now. */
static int note_to_do(struct store_batch *batch, MDB_txn *txn, const struct store_key *key)
{
    struct store_key at = store_key_to_do(batch->txn, batch->n_to_do++);
    unsigned char value[STORE_SUM_BYTES + STORE_KEY_BYTES_MAX];

    store_bytes_encode(&at, key->bytes, key->n_bytes, value);
    return store_db_put(txn, &at, value, STORE_SUM_BYTES + key->n_bytes);
}

/* Puts what @item is of, or, with @copy, one of its copies. */
static int put_at(struct store_batch *batch, MDB_txn *txn, const struct store_item *item,
                  const struct journal_note *copy)
{
    struct store_key key = store_place_key(copy ? copy->to : item->to);
    const struct msg *msg = item->msg;
    const struct headers *headers = item->headers ? item->headers : msg->headers;
    const struct store_message message = {
        .id = msg->id,
        .arrived = msg->arrived,
        .prio = msg->prio,
        .is_on_disk = item->is_on_disk,
        .is_shared = copy || item->is_shared,
        .is_copy = copy || item->is_copy,
        .original = copy ? item->to : item->original,
        .pid = msg->sender.pid,
        .uid = msg->sender.uid,
        .gid = msg->sender.gid,
        .attempts = item->attempts,
        .headers = headers ? headers->data : NULL,
        .header_bytes = headers ? headers->size_bytes : 0,
        .data = msg->data,
        .size_bytes = msg->size_bytes,
    };
    int r = store_db_put_message(txn, &key, &message);

    return r == 0 && item->is_on_disk ? note_to_do(batch, txn, &key) : r;
}

static int put_remembered(struct store_batch *batch, MDB_txn *txn, const struct store_item *item)
{
    struct store_key key = store_key_history(item->to.box, item->to.seq);
    unsigned char value[STORE_SUM_BYTES];
    int r;

    store_bytes_encode(&key, NULL, 0, value);
    r = store_db_put(txn, &key, value, sizeof(value));
    return r == 0 && item->is_on_disk ? note_to_do(batch, txn, &key) : r;
}

/* With what is to be there with it: the copies of a publication, and that it is remembered. */
static int put_message(struct store_batch *batch, MDB_txn *txn, const struct store_item *item)
{
    const struct journal_note *copy;
    int r = put_at(batch, txn, item, NULL);

    if (item->what != STORE_POST || !item->note->is_original)
        return r;
    if (r == 0 && item->is_remembered)
        r = put_remembered(batch, txn, item);
    for (copy = item->note->attached; r == 0 && copy; copy = copy->next) {
        if (!copy->is_void)
            r = put_at(batch, txn, item, copy);
    }
    return r;
}

static int remove_remembered(struct store_batch *batch, MDB_txn *txn, const struct store_item *item)
{
    struct store_key key = store_key_history(item->at.box, item->at.seq);
    int r;

    if (!item->is_kept || !item->note->is_original)
        return 0;
    r = store_db_remove(txn, &key);
    return r == 0 && item->is_on_disk ? note_to_do(batch, txn, &key) : r;
}

static int write_remove_message(struct store_batch *batch, MDB_txn *txn,
                                const struct store_item *item)
{
    struct store_key key = store_place_key(item->at);
    int r;

    if (!item->is_kept)
        return 0;
    r = store_db_remove(txn, &key);
    if (r == 0 && item->is_on_disk)
        r = note_to_do(batch, txn, &key);
    return r == 0 ? remove_remembered(batch, txn, item) : r;
}

static bool is_elsewhere(const struct store_item *item)
{
    return item->at.box != item->to.box || item->at.seq != item->to.seq;
}

static int write_item(struct store_batch *batch, MDB_txn *txn, const struct store_item *item)
{
    int r = 0;

    if ((item->is_void && item->what == STORE_POST) || item->what == STORE_AWAIT)
        return 0;
    if (item->what == STORE_UNREMEMBER)
        return remove_remembered(batch, txn, item);
    if (item->what == STORE_REMOVE || item->what == STORE_FORGET || item->is_void)
        return write_remove_message(batch, txn, item);
    if (item->is_kept && is_elsewhere(item))
        r = write_remove_message(batch, txn, item);
    return r == 0 ? put_message(batch, txn, item) : r;
}

static int wipe_box(struct store_batch *batch, MDB_txn *txn, uint64_t box)
{
    struct store_key name = store_key_box(STORE_NAME, box);
    int r = store_db_remove_box(txn, box);

    return r == 0 ? note_to_do(batch, txn, &name) : r;
}

static int put_text(struct store_batch *batch, MDB_txn *txn, enum store_table table, uint64_t box,
                    const char *text, size_t n)
{
    struct store_key key = store_key_box(table, box);
    unsigned char value[STORE_SUM_BYTES + STORE_TEXT_MAX];
    int r;

    store_bytes_encode(&key, text, n, value);
    r = store_db_put(txn, &key, value, STORE_SUM_BYTES + n);
    return r == 0 ? note_to_do(batch, txn, &key) : r;
}

static enum store_kind kind_of(const struct journal_box *box)
{
    switch (box->kind) {
    case JOURNAL_TOPIC:
        return STORE_KIND_TOPIC;
    case JOURNAL_SUBSCRIPTION:
        return STORE_KIND_SUBSCRIPTION;
    case JOURNAL_MAILBOX:
        break;
    }
    return STORE_KIND_MAILBOX;
}

static int put_name(struct store_batch *batch, MDB_txn *txn, const struct journal_box *box)
{
    const struct store_name name = { .kind = kind_of(box),
                                     .parent = box->parent,
                                     .text = box->writing_name,
                                     .n_bytes = strlen(box->writing_name) };
    struct store_key key = store_key_box(STORE_NAME, box->id);
    unsigned char value[STORE_SUM_BYTES + STORE_NAME_HEAD_BYTES + STORE_NAME_BYTES_MAX];
    int r = store_db_put(txn, &key, value, store_name_encode(&key, &name, value));

    return r == 0 ? note_to_do(batch, txn, &key) : r;
}

/* Writes @box as it is now. No lock is held. */
static int write_box(struct store *store, MDB_txn *txn, struct journal_box *box)
{
    struct store_batch *batch = store->batch;
    char text[STORE_TEXT_MAX];
    char config[MBOX_LIMITS_TEXT_MAX];
    size_t n;
    int n_config;
    int r = 0;

    if (box->is_writing_gone)
        return wipe_box(batch, txn, box->id);
    n_config = mbox_format_config(box->mbox, config);
    if (n_config < 0)
        return 0;
    /* Nobody else touches a name that is in a batch. */
    if (box->writing_name)
        r = put_name(batch, txn, box);
    n = store->journal.describe ? store->journal.describe(box->mbox, text, sizeof(text)) : 0;
    if (r == 0)
        r = put_text(batch, txn, STORE_ATTRIBUTES, box->id, text, n);
    return r == 0 ? put_text(batch, txn, STORE_CONFIG, box->id, config, (size_t)n_config) : r;
}

static int put_ids(struct store_batch *batch, MDB_txn *txn)
{
    struct store_key key = store_key_info(STORE_INFO_IDS);
    unsigned char value[STORE_NUMBER_BYTES];
    int r;

    if (!batch->ids)
        return 0;
    store_number_encode(&key, batch->ids, value);
    r = store_db_put(txn, &key, value, sizeof(value));
    return r == 0 ? note_to_do(batch, txn, &key) : r;
}

static int remove_done(struct store_batch *batch, MDB_txn *txn)
{
    struct store_key first = store_key_to_do(0, 0);
    struct store_key last = store_key_to_do(batch->done.box, batch->done.seq);

    return batch->has_done ? store_db_remove_range(txn, &first, &last) : 0;
}

static void begin_work(struct store_batch *batch, MDB_txn *txn)
{
    batch->txn = mdb_txn_id(txn);
    batch->n_to_do = 0;
}

static int write_all(MDB_txn *txn, void *arg)
{
    struct store *store = arg;
    struct store_batch *batch = store->batch;
    struct journal_box *box;
    int r;

    begin_work(batch, txn);
    r = put_ids(batch, txn);
    if (r == 0)
        r = remove_done(batch, txn);
    TAILQ_FOREACH(box, &batch->boxes, batch_link) {
        if (r == 0)
            r = write_box(store, txn, box);
    }
    for (size_t i = 0; r == 0 && i < batch->n_items; i++)
        r = write_item(batch, txn, &batch->items[i]);
    return r;
}

/* All but the messages. */
static int write_boxes(MDB_txn *txn, void *arg)
{
    struct store *store = arg;
    size_t n_items = store->batch->n_items;
    int r;

    store->batch->n_items = 0;
    r = write_all(txn, store);
    store->batch->n_items = n_items;
    return r;
}

struct alone {
    struct store_batch *batch;
    const struct store_item *item;
};

static int write_alone(MDB_txn *txn, void *arg)
{
    struct alone *alone = arg;

    begin_work(alone->batch, txn);
    return write_item(alone->batch, txn, alone->item);
}

static int reserve_for(struct store *store, const struct store_item *item)
{
    uint64_t n = 1;

    if (!item->msg || item->is_void)
        return 0;
    for (const struct journal_note *copy = item->note->attached; copy; copy = copy->next)
        n++;
    return store_db_reserve(&store->live, item_bytes(item) + (n - 1) * COPY_VALUE_BYTES, n);
}

/* Return: whether a message of @item would be without its mailbox, and not be found again. */
static bool is_homeless(const struct store_item *item)
{
    if (!item->msg || item->is_void)
        return false;
    for (const struct journal_note *copy = item->note->attached; copy; copy = copy->next) {
        if (!copy->is_void && !copy->box->is_stored)
            return true;
    }
    return !item->box->is_stored;
}

void store_note_failure(struct store *store, int error)
{
    store->stat.n_failures++;
    store->stat.last_error = error;
    clock_gettime(CLOCK_REALTIME, &store->stat.failed);
}

void store_note_size(struct store *store)
{
    store->stat.n_used_bytes = store_db_used(&store->live);
    store->stat.n_map_bytes = store->live.map_bytes;
}

/* Under store->lock. There is something to copy, by the transaction that was just committed. */
static void note_transaction(struct store *store, const struct store_batch *batch)
{
    store->stat.n_transactions++;
    store_note_size(store);
    if (batch->n_to_do == 0)
        return;
    store->to_do_txn = batch->txn;
    pthread_cond_signal(&store->sync_cond);
}

static void committed(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    note_transaction(store, store->batch);
    pthread_mutex_unlock(&store->lock);
}

static void failed(struct store *store, int error)
{
    pthread_mutex_lock(&store->lock);
    store_note_failure(store, error);
    pthread_mutex_unlock(&store->lock);
}

static void write_one_by_one(struct store *store, struct store_batch *batch, int boxes_result)
{
    for (size_t i = 0; i < batch->n_items; i++) {
        struct store_item *item = &batch->items[i];
        struct alone alone = { batch, item };

        item->result = reserve_for(store, item);
        if (item->result == 0 && boxes_result < 0 && is_homeless(item))
            item->result = boxes_result;
        if (item->result == 0)
            item->result = store_db_write(&store->live, write_alone, &alone);
        if (item->result == 0)
            committed(store);
    }
}

/* Return: what became of the mailboxes; each item has its own result. */
static int write_batch(struct store *store, struct store_batch *batch)
{
    int r = batch->n_puts > 0 ? store_db_reserve(&store->live, batch->n_bytes, batch->n_puts) : 0;

    if (r == 0)
        r = store_db_write(&store->live, write_all, store);
    if (r == 0) {
        committed(store);
        for (size_t i = 0; i < batch->n_items; i++)
            batch->items[i].result = 0;
        return 0;
    }
    failed(store, r);
    r = store_db_write(&store->live, write_boxes, store);
    if (r == 0)
        committed(store);
    write_one_by_one(store, batch, r);
    return r;
}

/* What could not be written is to be written with the next batch. Under store->lock. Return: whether it is. */
static bool requeue_box(struct store *store, struct journal_box *box)
{
    if (!box->new_name) {
        box->new_name = box->writing_name;
        box->writing_name = NULL;
    }
    if (box->is_queued)
        return false;
    box->is_queued = true;
    box->is_retry = true;
    TAILQ_INSERT_HEAD(&store->boxes, box, link);
    return true;
}

static void end_boxes(struct store *store, struct store_batch *batch, int result)
{
    struct journal_box *box;
    bool is_queued;

    while ((box = TAILQ_FIRST(&batch->boxes))) {
        TAILQ_REMOVE(&batch->boxes, box, batch_link);
        is_queued = false;
        pthread_mutex_lock(&store->lock);
        if (result < 0 && !store->is_ended)
            is_queued = requeue_box(store, box);
        else
            box->is_stored = true;
        pthread_mutex_unlock(&store->lock);
        if (!is_queued)
            mbox_unref(box->mbox);
    }
}

void store_tell(struct journal_note *note, enum store_what what, struct mbox *mbox,
                struct mbox_entry *entry, int result, struct mbox_ready *ready)
{
    /* It is in no queue: nobody else has it. */
    if (what == STORE_REMOVE && (result == 0 || !note->is_kept)) {
        struct store *store = store_of(entry->journal);

        entry->note = NULL;
        pthread_mutex_lock(&store->lock);
        store_free_note(store, note);
        pthread_mutex_unlock(&store->lock);
    }
    mbox_stored(mbox, entry, result, ready);
    mbox_unref(mbox);
}

/* It stays as it was in live.mdb, and is tried again with the next batch, if nothing else is to be done by then. Under
 * store->lock. Return: whether @item's references are the note's again. */
static bool requeue_note(struct store *store, struct store_item *item)
{
    struct journal_note *note = item->note;

    if (note->is_queued || store->is_ended)
        return false;
    note->what = item->what;
    note->mbox = item->mbox;
    note->msg = item->msg;
    note->headers = item->headers;
    note->is_queued = true;
    note->is_retry = true;
    TAILQ_INSERT_HEAD(&store->notes, note, link);
    return true;
}

/* Under store->lock: what live.mdb has of @note now. */
static void set_kept(struct store *store, struct journal_note *note, bool is_kept)
{
    /* What was published counts in its copies. */
    if (!note->is_original && is_kept != note->is_kept)
        store->stat.n_messages += is_kept ? 1 : UINT64_MAX;
    note->is_kept = is_kept;
}

/* Under store->lock: the copies of a publication are by themselves now, or, with @is_kept false, nothing. */
static void let_go_of_attached(struct store *store, struct journal_note *note, bool is_kept)
{
    struct journal_note *copy;

    while ((copy = note->attached)) {
        note->attached = copy->next;
        copy->next = NULL;
        copy->at = copy->to;
        set_kept(store, copy, is_kept && !copy->is_void);
    }
}

/* Under store->lock: what live.mdb has of it now. */
static void note_result(struct store *store, const struct store_item *item)
{
    struct journal_note *note = item->note;

    note->is_in_batch = false;
    let_go_of_attached(store, note, item->result == 0);
    if (item->result < 0)
        return;
    if (item->what == STORE_UNREMEMBER) {
        note->is_remembered = false;
    } else if (item->what == STORE_POST || item->what == STORE_CHANGE) {
        set_kept(store, note, !item->is_void);
        note->at = item->to;
        if (!note->is_copy)
            store_leave_original(store, note);
    } else {
        set_kept(store, note, false);
    }
}

/* Under store->lock. Return: whether it has to wait for the disk. */
static bool wait_for_disk(struct store *store, const struct store_batch *batch,
                          struct store_item *item)
{
    struct journal_note *note = item->note;

    if (item->result < 0 || !item->is_on_disk || item->is_void || !item->entry)
        return false;
    /* It may have been alone in its transaction, which was none then. */
    if (item->what == STORE_AWAIT && store->to_do_txn <= store->done_txn)
        return false;
    note->what = item->what;
    note->mbox = item->mbox;
    note->entry = item->entry;
    note->txn = item->what == STORE_AWAIT ? store->to_do_txn : batch->txn;
    TAILQ_INSERT_TAIL(&store->disk_waiting, note, link);
    pthread_cond_signal(&store->sync_cond);
    return true;
}

static void end_item(struct store *store, const struct store_batch *batch, struct store_item *item,
                     struct mbox_ready *ready)
{
    struct journal_note *note = item->note;
    bool is_passed_on = false;

    pthread_mutex_lock(&store->lock);
    note_result(store, item);
    if (item->entry)
        is_passed_on = wait_for_disk(store, batch, item);
    else if (item->result < 0)
        is_passed_on = requeue_note(store, item);
    if (!is_passed_on && item->what == STORE_FORGET)
        store_free_note(store, note);
    pthread_mutex_unlock(&store->lock);
    if (is_passed_on && !item->entry)
        return;
    msg_unref(item->msg);
    free(item->headers);
    if (is_passed_on)
        return;
    if (item->entry)
        store_tell(note, item->what, item->mbox, item->entry, item->result, ready);
    else if (item->mbox)
        mbox_unref(item->mbox);
}

static void write_end_batch(struct store *store, struct store_batch *batch, int result,
                            struct mbox_ready *ready)
{
    end_boxes(store, batch, result);
    for (size_t i = 0; i < batch->n_items; i++)
        end_item(store, batch, &batch->items[i], ready);
    pthread_mutex_lock(&store->lock);
    if (result == 0 && batch->ids) {
        store->ids = batch->ids;
        atomic_store(&store->domain->ids_wanted, batch->ids - IDS_BLOCK);
    } else if (batch->ids) {
        store->needs_ids = true;
    }
    if (result < 0 && batch->has_done && !store->has_done) {
        store->has_done = true;
        store->done = batch->done;
    }
    pthread_mutex_unlock(&store->lock);
}

/* The store has ended: who waits is told. */
static void refuse_batch(struct store_batch *batch)
{
    for (size_t i = 0; i < batch->n_items; i++)
        batch->items[i].result = -EIDRM;
}

/* Under store->lock. What could not be written is at the beginning, and waits for what comes next. */
static bool has_news(const struct store *store)
{
    const struct journal_note *note = TAILQ_LAST(&store->notes, store_notes);
    const struct journal_box *box = TAILQ_LAST(&store->boxes, store_boxes);

    return (note && !note->is_retry) || (box && !box->is_retry);
}

/* Return: whether the turn goes on. */
static bool pass_turn(struct store *store)
{
    bool has_more;

    pthread_mutex_lock(&store->lock);
    has_more = has_news(store);
    if (has_more && ++store->n_rounds >= ROUNDS_MAX && store->has_writer) {
        store->is_wanted = true;
        has_more = false;
    }
    store->is_turn_taken = has_more;
    if (store->is_wanted)
        pthread_cond_signal(&store->writer_cond);
    pthread_cond_broadcast(&store->turn_cond);
    pthread_mutex_unlock(&store->lock);
    return has_more;
}

static int write_in_time(struct store *store, struct store_batch *batch)
{
    uint64_t began = clock_now_ns();
    int r = write_batch(store, batch);
    uint64_t now = clock_now_ns();

    if (now - began < SLOW_NS)
        return r;
    pthread_mutex_lock(&store->lock);
    store->slow_until = now + SLOW_FOR_NS;
    pthread_mutex_unlock(&store->lock);
    return r;
}

void store_take_turn(struct mbox_op *op, struct mbox_ready *ready)
{
    struct store *store = (struct store *)((char *)op - offsetof(struct store, turn));
    struct store_batch *batch = store->batch;

    if (take_batch(store, batch)) {
        bool is_ended;
        int r = 0;

        pthread_mutex_lock(&store->lock);
        is_ended = store->is_ended;
        pthread_mutex_unlock(&store->lock);
        if (is_ended)
            refuse_batch(batch);
        else
            r = write_in_time(store, batch);
        write_end_batch(store, batch, is_ended ? 0 : r, ready);
    }
    if (pass_turn(store))
        TAILQ_INSERT_TAIL(ready, op, link);
}

void store_drain(struct store *store)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    pthread_mutex_lock(&store->lock);
    while (store->is_turn_taken)
        pthread_cond_wait(&store->turn_cond, &store->lock);
    store->is_turn_taken = true;
    store->n_rounds = 0;
    pthread_mutex_unlock(&store->lock);
    TAILQ_INSERT_TAIL(&ready, &store->turn, link);
    mbox_ready_run(&ready);
}
