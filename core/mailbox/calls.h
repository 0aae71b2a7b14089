/* The open questions of a mailbox (call.h): which asker waits for an answer to which message.
 *
 * Locks: the mailbox's, held by the caller where it does not say otherwise; it comes before the inboxes' of those who
 * asked there, and these before struct asker's own, a leaf.
 *
 * Context: under the mailbox's lock, but for what says that it takes it; nothing blocks. */
#ifndef IPCFS_CORE_CALLS_H
#define IPCFS_CORE_CALLS_H

#include "mbox.h"

struct call_cursor;

struct asker {
    struct mbox inbox;
    void (*release)(struct asker *asker);
    /* Under the lock of @asked, and taking the inbox's (call.c): its next question has been sent; and, once it has left
     * the table: it ends with a negative errno. */
    void (*clear)(struct asker *asker);
    void (*fail)(struct asker *asker, int result, struct mbox_ready *ready);
    pthread_mutex_t lock;
    /* Whose table its question is in; NULL: it has none open. Under lock, and changed under that mailbox's lock
     * as well. */
    struct mbox *asked;
    /* Under the lock of @asked: */
    uint64_t id; /* of the question */
    uid_t uid;   /* for whom the answer is going to count */
    bool is_sent;
    uint64_t seq; /* once it is sent: its place among those in the table */
    int result;   /* for the inbox, once it is over */
    TAILQ_ENTRY(asker) link;
    LIST_HEAD(, call_cursor) cursors; /* that stand at it */
    UT_hash_handle hh;
};

void calls_init(struct calls *calls);

/* @msg has arrived, if it is a question: from now on it can be answered. */
void calls_note_sent(struct mbox *mbox, const struct msg *msg);

/* @msg is gone: if it is an open question, its asker is going to be told @result, by calls_tell. */
void calls_end(struct mbox *mbox, const struct msg *msg, int result);

/* All questions are over, with @result: those that were not sent are told by their sends. */
void calls_end_all(struct mbox *mbox, int result);

/* Tells those whose questions are over. The mailbox calls it before it gives up its lock. */
void calls_tell(struct mbox *mbox, struct mbox_ready *ready);

/* @msg is going to @to, whose lock is held too. Return: 0; -ENOMEM: nothing has changed. */
int calls_move(struct mbox *mbox, struct mbox *to, const struct msg *msg);

/* Return: the asker of question @id, which can be answered; NULL. */
struct asker *calls_find_sent(struct mbox *mbox, uint64_t id);

/* Enters @asker by its id, not answerable yet. Return: whether there was memory for it. */
bool calls_add(struct mbox *mbox, struct asker *asker);

/* Takes @asker out of the table; it is told nothing. */
void calls_take_out(struct mbox *mbox, struct asker *asker);

/* Notes whose table @asker's question is in; NULL: it has none. */
void asker_set_asked(struct asker *asker, struct mbox *mbox);

/* --- Those who list them. Each takes the mailbox's lock. --- */

/* A place among the open questions of a mailbox, in the order in which they came, for one who lists them some at a
 * time. As a struct mbox_cursor: what was there all the time is met once, and zeroed, it stands at the end. */
struct call_cursor {
    struct asker *at; /* under the mailbox's lock */
    LIST_ENTRY(call_cursor) link;
    uint64_t last_seq; /* the mailbox's when it was rewound */
};

/* What was met. */
struct call_place {
    uint64_t key; /* greater than those of the ones before */
    uint64_t id;
};

/* Goes to the first that is behind @key; 0: to the first of all. What comes after this is not met. */
void call_cursor_rewind(struct mbox *mbox, struct call_cursor *cursor, uint64_t key);

/* Tells the @n_max open questions from here on, and goes behind them. Return: how many there are. */
size_t call_cursor_next(struct mbox *mbox, struct call_cursor *cursor, struct call_place *places,
                        size_t n_max);

/* Is used no more. */
void call_cursor_end(struct mbox *mbox, struct call_cursor *cursor);

#endif
