/* The messages that one open `work.json` has on lease, by their ids, the words about them, and the answers.
 *
 * It is embedded in the open file, and all of it is under that file's turn (readers.h). An entry in it has been taken on
 * lease (lease.h) and is the file's; one that is in flight still is taken out again if it does not arrive.
 *
 * Context: with that turn; never waits. */
#ifndef IPCFS_FS_HELD_H
#define IPCFS_FS_HELD_H

#include "core/mailbox/mbox.h"

struct held {
    struct mbox_entry *by_id; /* the oldest lease first */
};

/* Return: 0; -ENOMEM. */
int held_add(struct held *held, struct mbox_entry *entry);
void held_remove(struct held *held, struct mbox_entry *entry);

/* The @n youngest, which were in flight, have arrived, or not: then they are the mailbox's again. */
void held_commit(struct held *held, struct mbox *mbox, size_t n, struct mbox_ready *ready);
void held_abort(struct held *held, struct mbox *mbox, size_t n, struct mbox_ready *ready);

/* What is written to the file. */
struct held_words {
    const char *data;
    size_t size;
    struct msg_sender sender; /* of the answers in it, for whom they count */
};

/* Ends leases as the lines of @words say: `done ID`, `again ID`, `dead ID`; or an answer (json_line.h), which is given to
 * who asked, and that is `done`. What follows the last newline is a line where it is the only one. With @op, a batch
 * (mbox_batch_begin), that waits for the journal to have what is done or given up.
 * Return: how many bytes of lines took effect; a negative errno, and none did: -EINVAL: the first is no such line; -ENODATA:
 * it names no message that is held; -EMSGSIZE: an answer is too long; -EPIPE: who asked is gone, has an answer, or never
 * asked; -EIDRM; what quota_charge returns; -ENOMEM. */
ssize_t held_say(struct held *held, struct mbox *mbox, const struct held_words *words,
                 struct mbox_op *op, struct mbox_ready *ready);

/* All go back to their places, as if `again` had been said. */
void held_return(struct held *held, struct mbox *mbox, struct mbox_ready *ready);

#endif
