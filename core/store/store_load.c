/* What is found in live.mdb becomes mailboxes and messages again.
 *
 * The mailboxes come first, in the order of their ids, then their messages in the order of their keys, which is that
 * of the queues: each goes to the end of one. Nothing is written meanwhile: what the mailboxes note is what is there.
 * A million messages take about half a second. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store_internal.h"

/* Twice what store_write.c sets aside at once. */
#define IDS_AT_START (UINT64_C(1) << 23)

/* What was published in a topic. */
struct load_original {
    struct store_place place;
    struct journal_note *note;
    struct msg *msg;
};

/* What is found. */
struct load {
    struct store *store;
    MDB_txn *txn;
    int (*make)(const struct store_found *found, void *arg, struct mbox **ret_mbox);
    void *arg;
    uint64_t box;      /* whose messages are read */
    struct mbox *mbox; /* a reference; NULL: there is none */
    uint64_t last_id;
    /* What was published, in the order of places, with references and holds for as long as copies may come. */
    struct load_original *originals;
    size_t n_originals;
    /* The mailboxes that were made, in the order of their ids. */
    struct mbox **mboxes;
    size_t n_mboxes;
    size_t next;
};

/* Return: 0 with the text, empty where there is none; a negative errno. */
static int load_text(struct load *load, enum store_table table, uint64_t box, const char **ret_text,
                     size_t *ret_n)
{
    struct store_key key = store_key_box(table, box);
    const void *value;
    const void *text;
    size_t n;
    int r = store_db_get(load->txn, &key, &value, &n);

    *ret_text = "";
    *ret_n = 0;
    if (r == MDB_NOTFOUND)
        return 0;
    if (r != 0)
        return store_db_errno(r);
    r = store_bytes_decode(key.bytes, key.n_bytes, value, n, &text, ret_n);
    if (r == 0)
        *ret_text = text;
    return r;
}

static int load_remember(struct load *load, struct mbox *mbox)
{
    size_t n = load->n_mboxes;

    /* At powers of two. */
    if ((n & (n - 1)) == 0) {
        struct mbox **grown = realloc(load->mboxes, (n ? 2 * n : 1) * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        load->mboxes = grown;
    }
    load->mboxes[load->n_mboxes++] = mbox;
    return 0;
}

/* Return: the mailbox @box; NULL: there is none. What others belong to was made before them. */
static struct mbox *find_mbox(const struct load *load, uint64_t box)
{
    size_t from = 0;
    size_t to = load->n_mboxes;

    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (load->mboxes[middle]->kept->id < box)
            from = middle + 1;
        else
            to = middle;
    }
    return from < load->n_mboxes && load->mboxes[from]->kept->id == box ? load->mboxes[from] : NULL;
}

static int load_box(struct load *load, uint64_t box, const MDB_val *key, const MDB_val *value)
{
    struct store_found found;
    struct mbox *mbox;
    int r = store_name_decode(key->mv_data, key->mv_size, value->mv_data, value->mv_size,
                              &found.name);

    if (r == 0)
        r = load_text(load, STORE_ATTRIBUTES, box, &found.attributes, &found.n_attributes);
    if (r == 0)
        r = load_text(load, STORE_CONFIG, box, &found.config, &found.n_config);
    if (r < 0)
        return r;
    found.parent = find_mbox(load, found.name.parent);
    load->store->loading_box = box;
    if (box > load->store->last_box)
        load->store->last_box = box;
    r = load->make(&found, load->arg, &mbox);
    if (r < 0)
        return r;
    load->store->stat.n_boxes++;
    r = load_remember(load, mbox);
    if (r < 0)
        mbox_unref(mbox);
    return r;
}

/* Return: the mailbox @box; NULL: there is none. They are asked for in their order. */
static struct mbox *next_mbox(struct load *load, uint64_t box)
{
    while (load->next < load->n_mboxes && load->mboxes[load->next]->kept->id < box)
        load->next++;
    if (load->next == load->n_mboxes || load->mboxes[load->next]->kept->id != box)
        return NULL;
    return load->mboxes[load->next];
}

int store_load_original(MDB_txn *txn, struct store_message *copy)
{
    struct store_key key = store_place_key(copy->original);
    struct store_message original;
    const void *value;
    size_t n;
    int r;

    if (!copy->is_copy)
        return 0;
    r = store_db_get(txn, &key, &value, &n);
    if (r != 0)
        return r == MDB_NOTFOUND ? -ENOENT : store_db_errno(r);
    r = store_message_decode(key.bytes, key.n_bytes, value, n, &original);
    if (r < 0 || original.is_copy)
        return r < 0 ? r : -EUCLEAN;
    copy->is_copy = false;
    copy->headers = original.headers;
    copy->header_bytes = original.header_bytes;
    copy->data = original.data;
    copy->size_bytes = original.size_bytes;
    return 0;
}

static int load_headers(const struct store_message *message, struct headers **ret_headers)
{
    const unsigned char *from = message->headers;
    size_t left = message->header_bytes;
    struct headers *headers = NULL;
    int r = 0;

    while (r == 0 && left > 0) {
        size_t n_name = from[0];
        size_t n_value = left < 3 ? left : (size_t)from[1] << 8 | from[2];

        if (left < 3 || n_name + n_value > left - 3)
            r = -EUCLEAN;
        else
            r = headers_add(&headers, (const char *)from + 3, n_name,
                            (const char *)from + 3 + n_name, n_value);
        if (r == 0) {
            from += 3 + n_name + n_value;
            left -= 3 + n_name + n_value;
        }
    }
    if (r < 0)
        free(headers);
    else
        *ret_headers = headers;
    return r;
}

int store_load_msg(const struct store_message *message, struct msg **ret_msg)
{
    const struct msg_sender sender = { message->pid, message->uid, message->gid };
    struct msg *msg = msg_new(message->data, message->size_bytes, message->prio, sender);
    int r;

    if (!msg)
        return -ENOMEM;
    msg->id = message->id;
    msg->arrived = message->arrived;
    r = load_headers(message, &msg->headers);
    if (r < 0)
        msg_unref(msg);
    else
        *ret_msg = msg;
    return r;
}

/* Return: a note of what is kept at @place in @mbox; NULL when memory is short. */
static struct journal_note *new_note(struct mbox *mbox, struct store_place place,
                                     const struct store_message *message)
{
    struct journal_note *note = calloc(1, sizeof(*note));

    if (!note)
        return NULL;
    note->is_kept = true;
    note->is_on_disk = message->is_on_disk;
    note->is_shared = message->is_shared;
    note->at = note->to = place;
    note->box = mbox->kept;
    return note;
}

/* Makes room at the end of the array. Return: 0; -ENOMEM. */
static int grow_originals(struct load *load)
{
    size_t n = load->n_originals;
    struct load_original *grown;

    /* At powers of two. */
    if ((n & (n - 1)) != 0)
        return 0;
    grown = realloc(load->originals, (n ? 2 * n : 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    load->originals = grown;
    return 0;
}

/* Return: whether what is at @place is remembered; a negative errno. */
static int is_remembered(struct load *load, struct store_place place)
{
    struct store_key key = store_key_history(place.box, place.seq);
    const void *value;
    size_t n;
    int r = store_db_get(load->txn, &key, &value, &n);

    if (r == MDB_NOTFOUND)
        return 0;
    return r == 0 ? 1 : store_db_errno(r);
}

/* @msg was published in @mbox, which gets it back where it remembers it. */
static int load_published(struct load *load, struct mbox *mbox, struct store_place place,
                          const struct store_message *message, struct msg *msg)
{
    struct mbox_domain *domain = load->store->domain;
    struct journal_note *note;
    int remembered = is_remembered(load, place);
    int r = remembered < 0 ? remembered : grow_originals(load);

    if (r < 0)
        return r;
    note = new_note(mbox, place, message);
    if (!note)
        return -ENOMEM;
    note->is_original = true;
    note->is_remembered = remembered;
    note->is_given_up = !remembered;
    /* As if there were one more, until all have been met: the history may be too long now, and forget it. */
    note->n_copies = 1;
    mbox->kept->n_users++;
    quota_charge_restore(&msg->charge, &domain->quota, msg->sender.uid, msg_charge_bytes(msg));
    load->originals[load->n_originals++] = (struct load_original){ place, note, msg_ref(msg) };
    return mbox_restore_published(mbox, msg, place.seq, remembered ? note : NULL);
}

static int compare_places(const void *a, const void *b)
{
    const struct store_place *one = a;
    const struct store_place *other = &((const struct load_original *)b)->place;

    if (one->box != other->box)
        return one->box < other->box ? -1 : 1;
    return one->seq < other->seq ? -1 : one->seq > other->seq;
}

/* Return: what is a copy of @place; NULL: that is not there. */
static const struct load_original *find_original(const struct load *load, struct store_place place)
{
    return load->n_originals > 0 ? bsearch(&place, load->originals, load->n_originals,
                                           sizeof(*load->originals), compare_places)
                                 : NULL;
}

/* @msg waits in @mbox, as a copy of @original where there is one. */
static int load_waiting(struct load *load, struct mbox *mbox, struct store_place place,
                        const struct store_message *message, struct msg *msg,
                        const struct load_original *original)
{
    struct mbox_found found = { .msg = msg,
                                .seq = place.seq,
                                .n_attempts = message->attempts,
                                .is_shared = message->is_shared,
                                .is_copy = original };
    int r;

    found.note = new_note(mbox, place, message);
    if (!found.note)
        return -ENOMEM;
    if (original) {
        found.note->is_copy = true;
        found.note->original = original->note;
        original->note->n_copies++;
    }
    r = mbox_restore(mbox, &found);
    if (r < 0)
        free(found.note);
    else
        load->store->stat.n_messages++;
    return r;
}

static int load_whole(struct load *load, struct mbox *mbox, struct store_place place,
                      const struct store_message *message)
{
    struct msg *msg;
    int r = store_load_msg(message, &msg);

    if (r < 0)
        return r;
    if (msg->id > load->last_id)
        load->last_id = msg->id;
    r = mbox->backend ? load_published(load, mbox, place, message, msg)
                      : load_waiting(load, mbox, place, message, msg, NULL);
    msg_unref(msg);
    return r;
}

static int load_message(struct load *load, struct store_place place, const MDB_val *key,
                        const MDB_val *value)
{
    struct mbox *mbox = next_mbox(load, place.box);
    const struct load_original *original;
    struct store_message message;
    int r;

    /* A subscription that was just being made when the daemon was killed. */
    if (!mbox)
        return store_forget_place(load->store, place);
    r = store_message_decode(key->mv_data, key->mv_size, value->mv_data, value->mv_size, &message);
    if (r < 0)
        return r;
    if (!message.is_copy)
        return load_whole(load, mbox, place, &message);
    original = find_original(load, message.original);
    if (!original || mbox->backend)
        return store_forget_place(load->store, place);
    return load_waiting(load, mbox, place, &message, original->msg, original);
}

/* No copies come any more: what nobody has is forgotten. */
static void end_originals(struct load *load)
{
    for (size_t i = 0; i < load->n_originals; i++) {
        struct load_original *original = &load->originals[i];
        quota_charge_hand_on(&original->msg->charge);
        msg_unref(original->msg);
        pthread_mutex_lock(&load->store->lock);
        store_drop_copy(load->store, original->note);
        pthread_mutex_unlock(&load->store->lock);
    }
    free(load->originals);
}

static int load_info(struct load *load, uint64_t which, const MDB_val *key, const MDB_val *value)
{
    struct mbox_domain *domain = load->store->domain;
    uint64_t number;
    const void *text;
    size_t n;
    int r;

    if (which == STORE_INFO_MOUNT) {
        r = store_bytes_decode(key->mv_data, key->mv_size, value->mv_data, value->mv_size, &text,
                               &n);
        if (r == 0 && n == MBOX_DOMAIN_ID_DIGITS)
            memcpy(domain->id, text, n);
        return r;
    }
    r = store_number_decode(key->mv_data, key->mv_size, value->mv_data, value->mv_size, &number);
    if (r == 0 && which == STORE_INFO_IDS && number > load->last_id)
        load->last_id = number;
    return r;
}

static int load_record(struct load *load, const MDB_val *key, const MDB_val *value)
{
    struct store_place place = { 0 };

    switch (store_key_parse(key->mv_data, key->mv_size, &place.box, &place.seq)) {
    case STORE_INFO:
        return load_info(load, place.box, key, value);
    case STORE_NAME:
        return load_box(load, place.box, key, value);
    case STORE_MESSAGE:
        return load_message(load, place, key, value);
    default:
        return 0;
    }
}

/* Names before messages. */
static int load_table(struct load *load, MDB_cursor *cursor, enum store_table table)
{
    unsigned char letter = (unsigned char)table;
    MDB_val key = { .mv_size = 1, .mv_data = &letter };
    MDB_val value;
    int r = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);

    while (r == 0 && *(const unsigned char *)key.mv_data == letter) {
        int bad = load_record(load, &key, &value);

        if (bad < 0)
            return bad;
        r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    return r == 0 || r == MDB_NOTFOUND ? 0 : store_db_errno(r);
}

static int load_all(struct load *load)
{
    MDB_cursor *cursor;
    int r = store_db_errno(mdb_cursor_open(load->txn, STORE_DBI, &cursor));

    if (r < 0)
        return r;
    r = load_table(load, cursor, STORE_INFO);
    if (r == 0)
        r = load_table(load, cursor, STORE_NAME);
    if (r == 0)
        r = load_table(load, cursor, STORE_MESSAGE);
    mdb_cursor_close(cursor);
    end_originals(load);
    for (size_t i = 0; i < load->n_mboxes; i++)
        mbox_unref(load->mboxes[i]);
    free(load->mboxes);
    return r;
}

/* What is of the store as a whole, for a new one too. */
struct beginning {
    uint64_t ids;
    const char *mount_id;
};

static int write_beginning(MDB_txn *txn, void *arg)
{
    struct beginning *beginning = arg;
    struct store_key mount = store_key_info(STORE_INFO_MOUNT);
    struct store_key version = store_key_info(STORE_INFO_VERSION);
    unsigned char value[STORE_SUM_BYTES + MBOX_DOMAIN_ID_DIGITS];
    unsigned char number[STORE_NUMBER_BYTES];
    int r = store_write_ids(txn, &beginning->ids);

    store_bytes_encode(&mount, beginning->mount_id, MBOX_DOMAIN_ID_DIGITS, value);
    if (r == 0)
        r = store_db_put(txn, &mount, value, sizeof(value));
    store_number_encode(&version, STORE_FORMAT_VERSION, number);
    return r == 0 ? store_db_put(txn, &version, number, sizeof(number)) : r;
}

/* Sets ids aside, in both databases: then none of them comes again. */
static int begin_ids(struct store *store, uint64_t last_id)
{
    struct beginning beginning = { last_id + IDS_AT_START, store->domain->id };
    int r = store_db_reserve(&store->live, 0, 1);

    if (r == 0)
        r = store_db_write(&store->live, write_beginning, &beginning);
    if (r == 0)
        r = store_db_write(&store->disk, write_beginning, &beginning);
    if (r < 0)
        return r;
    store->ids = beginning.ids;
    atomic_store(&store->domain->last_id, last_id);
    atomic_store(&store->domain->ids_wanted, last_id + IDS_AT_START / 2);
    return 0;
}

int store_load(struct store *store, struct mbox_domain *domain,
               int (*make)(const struct store_found *found, void *arg, struct mbox **ret_mbox),
               void *arg)
{
    struct load load = { .store = store, .make = make, .arg = arg };
    int r;

    store->domain = domain;
    domain->journal = &store->journal;
    store->is_loading = true;
    r = store_db_read_begin(&store->live, &load.txn);
    if (r == 0) {
        r = load_all(&load);
        store_db_read_end(&store->live, load.txn);
    }
    store->is_loading = false;
    if (r == 0)
        r = begin_ids(store, load.last_id);
    store_note_size(store);
    /* What the last daemon had no time to copy. */
    store->to_do_txn = 1;
    return r;
}
