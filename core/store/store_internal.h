/* Inside the store: what its files share.
 *
 * Three kinds of threads meet here. Whoever notes something only adds to a queue. One at a time writes live.mdb: the one
 * who has the turn, which goes from hand to hand as an op in lists of ready ops. And one copies to disk.mdb.
 *
 * Context: the threads that are named; store->lock is held where it says so, and else not. Who has the turn and who copies may
 * wait for the disk; nobody does under store->lock. */
#ifndef IPCFS_CORE_STORE_INTERNAL_H
#define IPCFS_CORE_STORE_INTERNAL_H

#include "core/mailbox/mbox_keep.h"
#include "store.h"
#include "store_db.h"

/* One transaction takes so many notes, and stops taking more after so many bytes. */
#define STORE_BATCH_NOTES 1024
#define STORE_BATCH_BYTES (UINT64_C(16) << 20)

/* The longest text of attributes or of a config. */
#define STORE_TEXT_MAX 2048

enum store_what {
    STORE_NOTHING,
    STORE_POST,
    STORE_REMOVE,
    STORE_FORGET,
    STORE_CHANGE,
    STORE_AWAIT,      /* nothing: what was noted before is written by then */
    STORE_UNREMEMBER, /* what was published stays, for there are copies */
};

TAILQ_HEAD(store_notes, journal_note);
TAILQ_HEAD(store_boxes, journal_box);

/* What is known of one entry. It is the entry's (which is under its mailbox's lock), and also the store's while it is
 * queued, in the batch that is being written, or waits for the disk. */
struct journal_note {
    TAILQ_ENTRY(journal_note) link; /* store->notes, store->disk_waiting */
    /* Under store->lock: */
    enum store_what what; /* what is to be done, while it is queued */
    bool is_queued;
    bool is_in_batch;
    bool is_retry;   /* queued again, because it could not be written */
    bool is_kept;    /* live.mdb has it, at @at */
    bool is_on_disk; /* disk.mdb is to have it too */
    struct store_place at;
    struct store_place to;    /* where it is to be */
    struct journal_box *box;  /* of @to */
    struct mbox *mbox;        /* with what: POST, REMOVE, CHANGE, AWAIT: a reference */
    struct mbox_entry *entry; /* POST, REMOVE, AWAIT */
    struct msg *msg;          /* POST, CHANGE: a reference */
    uint32_t attempts;
    struct headers *headers; /* CHANGE: in place of the message's; NULL: they are the message's */
    uint64_t txn;            /* while it waits for the disk: of live.mdb */
    bool is_shared;          /* others may have the same message */
    bool is_copy;            /* it is to be written as a copy of @original's */
    struct journal_note *original; /* what it is a copy of in live.mdb; NULL: of nothing */
    /* Of what is published: */
    bool is_original;
    bool is_remembered;            /* live.mdb is to have that it is in the history, or has it */
    bool is_given_up;              /* its owner has forgotten it: it stays for its copies alone */
    uint64_t n_copies;             /* whose original it is */
    struct journal_note *attached; /* those that are to be written with it; next: of a copy */
    struct journal_note **attached_end;
    struct journal_note *next;
    bool is_void; /* of a copy that is attached, in a batch: its mailbox is gone */
};

/* One mailbox. It lives as long as that has references, or what was published in it has notes. */
struct journal_box {
    TAILQ_ENTRY(journal_box) link;       /* store->boxes */
    TAILQ_ENTRY(journal_box) batch_link; /* the batch's: it may be queued again meanwhile */
    uint64_t id;
    enum journal_kind kind;
    uint64_t parent; /* what it belongs to; 0: nothing */
    struct mbox *mbox;
    /* Under store->lock: */
    unsigned int n_users; /* the mailbox, and notes of what was published */
    bool is_queued;       /* with a reference to the mailbox */
    bool is_known;        /* live.mdb has it, or is about to */
    bool is_stored;       /* live.mdb has it */
    bool is_gone;         /* removed, or owned: not kept any more */
    bool is_retry;        /* as a note's */
    char *new_name;       /* to be written; NULL: it has not changed */
    /* Of who has the turn, as they were when the batch began: */
    char *writing_name;
    bool is_writing_gone;
};

/* One note as it is being written. */
struct store_item {
    struct journal_note *note;
    enum store_what what;
    bool is_kept;
    bool is_on_disk;
    bool is_void; /* its mailbox is gone: there is nothing to write */
    bool is_copy;
    bool is_shared;
    bool is_remembered;
    struct store_place original; /* of a copy */
    struct store_place at;
    struct store_place to;
    uint32_t attempts;
    struct headers *headers;
    struct journal_box *box;
    struct mbox *mbox;
    struct mbox_entry *entry;
    struct msg *msg;
    int result;
};

struct store_batch {
    struct store_item items[STORE_BATCH_NOTES];
    size_t n_items;
    struct store_boxes boxes; /* taken out of the queue; written one by one from here */
    uint64_t n_bytes;         /* of messages that are put */
    uint64_t n_puts;
    uint64_t n_notes; /* with those that are attached */
    uint64_t ids;     /* to be set aside; 0: as before */
    bool has_done;
    struct store_place done; /* the last key of the table of what is to be copied that has been */
    /* While it is written: */
    uint64_t txn;
    uint64_t n_to_do;
};

struct store {
    struct mbox_journal journal;
    struct mbox_domain *domain; /* set by store_load */
    struct store_dir dir;
    struct store_db live;
    struct store_db disk;
    bool is_loading;
    uint64_t loading_box;

    pthread_mutex_t lock; /* a leaf */
    /* Under lock: */
    struct store_notes notes;
    struct store_boxes boxes;
    uint64_t last_box;
    bool is_turn_taken;
    bool is_wanted; /* the writer is to take the turn */
    bool is_ended;  /* nothing is written any more */
    bool needs_ids;
    uint64_t ids; /* set aside: live.mdb has a number as high */
    uint64_t
        slow_until; /* CLOCK_MONOTONIC, ns: a transaction was slow; until then the writer takes the turn */
    struct store_notes
        disk_waiting;   /* what is in live.mdb, and on its way to disk.mdb; the oldest first */
    uint64_t to_do_txn; /* the last transaction that left something to copy */
    uint64_t done_txn;  /* up to which it was copied */
    bool has_done;
    struct store_place done;
    bool is_stopping;
    struct store_stat stat;

    struct mbox_op turn;   /* in the list of ready ops of whoever has the turn */
    unsigned int n_rounds; /* by who has it */
    struct store_batch *batch;
    /* The writer alone waits for it: each wakeup is a switch of threads. */
    pthread_cond_t writer_cond;
    pthread_cond_t turn_cond; /* the turn was given back, or goes on */
    pthread_cond_t sync_cond;
    pthread_t writer;
    pthread_t syncer;
    bool has_writer;
    bool has_syncer;
};

static inline struct store *store_of(struct mbox_journal *journal)
{
    return (struct store *)((char *)journal - offsetof(struct store, journal));
}

extern const struct journal_ops store_journal_ops;

/* There is something to write. Under store->lock. @ready may be NULL. */
void store_kick(struct store *store, struct mbox_ready *ready);

/* Writes one batch of what was noted: the completion of store->turn. */
void store_take_turn(struct mbox_op *op, struct mbox_ready *ready);

/* Writes until nothing is left to write; waits for whoever has the turn. */
void store_drain(struct store *store);

/* Tells the mailbox of @entry what became of what was said of it, with a reference to @mbox, which is given back. */
void store_tell(struct journal_note *note, enum store_what what, struct mbox *mbox,
                struct mbox_entry *entry, int result, struct mbox_ready *ready);

/* Under store->lock: a transaction failed with @error, negative. */
void store_note_failure(struct store *store, int error);

/* Under store->lock: how large live.mdb is now, for store_get_stat, which does not touch the map: a page of that may have to
 * come from the disk. For who has the turn. */
void store_note_size(struct store *store);

/* @note is in no queue, and nobody's any more. Under store->lock. */
void store_free_note(struct store *store, struct journal_note *note);

/* @note, which live.mdb has as no copy, or is to, is none any more. Under store->lock. */
void store_leave_original(struct store *store, struct journal_note *note);

/* What was published has one copy less, and goes with the last if its owner has forgotten it. Under store->lock. */
void store_drop_copy(struct store *store, struct journal_note *original);

/* Removes what is found at @place in live.mdb, and belongs to nothing. Return: 0; -ENOMEM. */
int store_forget_place(struct store *store, struct store_place place);

/* Copies all that is to do to disk.mdb. Return: 0; a negative errno. */
int store_sync_all(struct store *store);

/* The thread that does so while the store is used. Return: NULL. */
void *store_sync_run(void *arg);

/* Return: 0: @copy stands as a message of its own, with headers and bytes of its original, good as long as @txn has not
 * changed anything; -ENOENT: that is missing; -EUCLEAN. A message that is no copy stays as it is. */
int store_load_original(MDB_txn *txn, struct store_message *copy);

/* Return: 0 with the message, one reference, the caller's; -EUCLEAN; -ENOMEM. */
int store_load_msg(const struct store_message *message, struct msg **ret_msg);

/* Work for store_db_write: notes that no id above *@arg was given away.
 * Return: LMDB's. */
int store_write_ids(MDB_txn *txn, void *arg);

/* Return: the key of a message. */
static inline struct store_key store_place_key(struct store_place place)
{
    return store_key_message(place.box, place.seq);
}

#endif
