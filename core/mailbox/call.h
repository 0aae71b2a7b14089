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
 * Locks: a mailbox's comes before the inboxes' of those who asked there, and these before struct asker's own, a leaf.
 *
 * Context: any thread that holds no mailbox's lock; what is needed is taken, for a moment. An asker is made and freed while nobody
 * else has it. */
#ifndef IPCFS_CORE_CALL_H
#define IPCFS_CORE_CALL_H

#include "calls.h"

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

#endif
