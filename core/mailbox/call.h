/* Calls: a question is sent to a mailbox, and its answer comes back to whoever asked, and to nobody else.
 *
 * An asker has an inbox, a mailbox that only it receives from, and one open question at a time. The question is a
 * message like any other, with a mark (msg.is_call). Which asker waits for an answer to which message is in one table,
 * by the message's id, of the mailbox that has or had the message (struct calls). It leaves the table with its
 * answer, with what ends it unanswered, or when its asker takes it back: an id that is not in the table can't be
 * answered, whatever it was. A question that is moved to another mailbox is in that one's table from then on.
 *
 * What comes to the inbox is the answer, as a message, or a failure (mbox_fail): -EIDRM, -ECANCELED, -ETIMEDOUT; or
 * -EDQUOT. The answer counts for its asker from the moment that it is given, who alone can make room by reading; when the
 * asker's bound does not allow that, it is lost, and the asker fails with -EDQUOT.
 *
 * Ownership: an asker is embedded in what its user makes of it, and counted by the references to its inbox; the table
 * holds none. So its user takes the question back before it gives up the last one.
 *
 * Locks: a mailbox's comes before the inboxes' of those who asked there, and these before struct asker's own, a leaf. */
#ifndef IPCFS_CORE_CALL_H
#define IPCFS_CORE_CALL_H

#include "mbox.h"

struct call_cursor;

struct asker {
    struct mbox inbox;
    void (*release)(struct asker *asker);
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

/* Makes an asker without a question; its inbox has one reference, the caller's. @release frees what embeds it. */
void asker_init(struct asker *asker, struct mbox_domain *domain,
                void (*release)(struct asker *asker));

/* Sends the question @msg, new and seen by nobody, to @mbox, as mbox_post does. Once it is sent, what the inbox still had
 * from the question before is dropped. The answer is going to count for @uid.
 * Return: as mbox_post; -EBUSY: the question before is open. When a send that parked fails, the caller takes the
 * question back. */
int asker_ask(struct asker *asker, struct mbox *mbox, struct msg *msg, uid_t uid,
              struct mbox_op *op, struct mbox_ready *ready);

/* No answer is wanted any more: what was asked and is not answered yet can't be. The message stays where it is. */
void asker_take_back(struct asker *asker);

/* Return: whether a question is open: what ends it, ends up in the inbox. */
bool asker_waits(struct asker *asker);

/* Return: whether message @id of @mbox, taken or not, is a question that can be answered. */
bool call_is_open(struct mbox *mbox, uint64_t id);

/* Answers question @id with @msg. The caller has charged what @msg costs (msg_charge_bytes) to its sender, and that goes
 * with it; on failure it is the caller's still.
 * Return: 0; -EPIPE: it is no question, is answered already, or its asker is gone; -EIDRM; -ENOMEM. */
int call_answer(struct mbox *mbox, uint64_t id, struct msg *msg, struct mbox_ready *ready);

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

/* For the mailbox, under its lock. */

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

#endif
