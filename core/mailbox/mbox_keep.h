/* A mailbox that is kept in a journal (journal.h).
 *
 * Context: each function takes the mailbox's lock, but where nobody else has the mailbox or the op yet. */
#ifndef IPCFS_CORE_MBOX_KEEP_H
#define IPCFS_CORE_MBOX_KEEP_H

#include "journal.h"
#include "mbox.h"

/* For the journal, with no lock held: it has what was said of @entry (post, remove), or @result says why not. */
void mbox_stored(struct mbox *mbox, struct mbox_entry *entry, int result, struct mbox_ready *ready);

/* A message that is found again. */
struct mbox_found {
    struct msg *msg;
    uint64_t seq; /* higher than all before in its mailbox */
    unsigned int n_attempts;
    bool is_shared; /* as in struct mbox_entry */
    bool is_copy;   /* of what is published: it counts once for all, and was charged before */
    struct journal_note *note;
};

/* For the journal, before the mailbox is used: @found waits in @mbox as it did when it was noted. Takes its note. It counts
 * for its sender, whatever the bounds say. Return: 0; -ENOMEM. */
int mbox_restore(struct mbox *mbox, const struct mbox_found *found);

/* For the journal, before @mbox, which has a backend, is used: @msg was published there with number @seq. @note, which it
 * takes: it was remembered; NULL: it is not any more. Return: 0; -ENOMEM. */
int mbox_restore_published(struct mbox *mbox, struct msg *msg, uint64_t seq,
                           struct journal_note *note);

/* A new mailbox is to be kept, if its domain has a journal: with durable=daemon, and once it has a name. @parent: what it
 * belongs to; or NULL. Return: 0; -ENOMEM. */
int mbox_keep(struct mbox *mbox, enum journal_kind kind, struct mbox *parent);

/* Writes what its config says to @text of MBOX_LIMITS_TEXT_MAX bytes. Return: how many; -EIDRM. */
int mbox_format_config(struct mbox *mbox, char *text);

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
