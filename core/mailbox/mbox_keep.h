/* A mailbox that is kept in a journal (journal.h).
 *
 * Context: each function takes the mailbox's lock, but where nobody else has the mailbox or the op yet. */
#ifndef IPCFS_CORE_MBOX_KEEP_H
#define IPCFS_CORE_MBOX_KEEP_H

#include "journal.h"
#include "mbox.h"

/* For the journal, with no lock held: it has what was said of @entry (post, remove), or @result says why not. */
void mbox_stored(struct mbox *mbox, struct mbox_entry *entry, int result, struct mbox_ready *ready);

/* For the journal, before the mailbox is used: @msg waits in @mbox with number @seq, which is higher than all before,
 * as it did when it was noted, and had come back from lease @n_attempts times. Takes @note. It counts for its sender, whatever the bounds say.
 * Return: 0; -ENOMEM. */
int mbox_restore(struct mbox *mbox, struct msg *msg, uint64_t seq, unsigned int n_attempts,
                 struct journal_note *note);

/* A new mailbox is to be kept, if its domain has a journal: with durable=daemon, and once it has a name.
 * Return: 0; -ENOMEM. */
int mbox_keep(struct mbox *mbox);

/* Return: whether a send waits for the journal: then several together are one batch (mbox_batch_begin). */
bool mbox_is_durable(struct mbox *mbox);

/* The attributes of @mbox are others now, which is written at once, unless another thread writes. */
void mbox_note_attributes(struct mbox *mbox);

/* Writes what was noted of @domain's mailboxes, unless another thread is at it. */
static inline void mbox_flush(struct mbox_domain *domain)
{
    if (domain->journal)
        domain->journal->ops->flush(domain->journal);
}

#endif
