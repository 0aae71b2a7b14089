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

/* What is found. */
struct load {
    struct store *store;
    MDB_txn *txn;
    int (*make)(const struct store_found *found, void *arg, struct mbox **ret_mbox);
    void *arg;
    uint64_t box;      /* whose messages are read */
    struct mbox *mbox; /* a reference; NULL: there is none */
    uint64_t last_id;
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

static int load_message(struct load *load, struct store_place place, const MDB_val *key,
                        const MDB_val *value)
{
    struct mbox *mbox = next_mbox(load, place.box);
    struct store_message message;
    struct journal_note *note;
    struct msg *msg = NULL;
    int r;

    if (!mbox)
        return 0;
    r = store_message_decode(key->mv_data, key->mv_size, value->mv_data, value->mv_size, &message);
    if (r == 0)
        r = store_load_msg(&message, &msg);
    if (!msg)
        return r;
    if (msg->id > load->last_id)
        load->last_id = msg->id;
    note = calloc(1, sizeof(*note));
    r = -ENOMEM;
    if (note) {
        note->is_kept = true;
        note->is_on_disk = message.is_on_disk;
        note->at = note->to = place;
        note->box = mbox->kept;
        r = mbox_restore(mbox, msg, place.seq, message.attempts, note);
    }
    if (r < 0)
        free(note);
    else
        load->store->stat.n_messages++;
    msg_unref(msg);
    return r;
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
