/* A journal behind mailboxes: it is told what becomes of messages and mailboxes, so that they can outlive the daemon.
 *
 * The mailbox calls it at each transition, under its own lock, so that the journal has the transitions of a mailbox in
 * their order; the journal only notes them down, and never waits. Whoever runs a list of ready ops (mbox_ready_run) may
 * find the journal's own op in it, and then does the writing, with no lock held: so a send is in the journal a
 * microsecond later without another thread's help, and what comes meanwhile goes together with the next.
 *
 * A message is posted to the journal first and is in the queue when that has it (mbox_stored). One that is removed
 * by its owner's word is out of the queue at once, and its remover is told when the journal has it too. All else is
 * only noted: a message that was received, dropped, or moved; who has moved one may wait for that (await).
 *
 * The journal keeps a struct journal_note of each entry that it has or is about to have, and a struct journal_box of
 * each mailbox; both are opaque here, and have one owner at a time: the entry, until mbox_entry_free() or a call below
 * says that the journal takes it.
 *
 * Context: any thread; the journal's own lock is a leaf. */
#ifndef IPCFS_CORE_JOURNAL_H
#define IPCFS_CORE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>

struct journal_box;
struct journal_note;
struct mbox;
struct mbox_entry;
struct mbox_journal;
struct mbox_ready;

/* What a mailbox is, for who makes it again. */
enum journal_kind {
    JOURNAL_MAILBOX,
    JOURNAL_TOPIC,
    JOURNAL_SUBSCRIPTION,
};

struct journal_ops {
    /* @parent: what @mbox belongs to, which is kept too; or NULL. Return: what is to be @mbox->kept; NULL when memory is
     * short. */
    struct journal_box *(*box_new)(struct mbox_journal *journal, struct mbox *mbox,
                                   enum journal_kind kind, struct mbox *parent);

    /* Return: a note for a message that is about to be posted; NULL when memory is short. */
    struct journal_note *(*note_new)(struct mbox_journal *journal);

    /* @entry, which has a note, is to be kept; mbox_stored() will follow, and @entry stays until then. */
    void (*post)(struct mbox_journal *journal, struct mbox *mbox, struct mbox_entry *entry,
                 struct mbox_ready *ready);

    /* @copy, which has a note, is the message of @entry, a publication that publish() will follow for, in @to. It is kept
     * in the same transaction, which mbox_stored() tells of for both. Nobody touches @copy until then. */
    void (*attach)(struct mbox_journal *journal, struct mbox_entry *entry, struct mbox *to,
                   struct mbox_entry *copy);

    /* As post, with the copies that were attached: all are kept, or none. The bytes are kept once, as long as @entry's note
     * is not forgotten, or one of the copies is kept; with @is_remembered, the next start is told that the note was there
     * (mbox_backend_ops.restore). */
    void (*publish)(struct mbox_journal *journal, struct mbox *mbox, struct mbox_entry *entry,
                    bool is_remembered, struct mbox_ready *ready);

    /* @copy, which has a note, is in @to now: one more copy of what @published is the note of, and nobody waits for that to
     * be noted. */
    void (*copy)(struct mbox_journal *journal, struct journal_note *published, struct mbox *to,
                 struct mbox_entry *copy, struct mbox_ready *ready);

    /* @entry, which is kept, is gone for good; mbox_stored() will follow, and @entry stays until then. */
    void (*remove)(struct mbox_journal *journal, struct mbox *mbox, struct mbox_entry *entry,
                   struct mbox_ready *ready);

    /* @entry, which has a note, is of no message: mbox_stored() will follow when all that was told before is noted, and, with
     * @on_disk, copied to the disk. */
    void (*await)(struct mbox_journal *journal, struct mbox *mbox, struct mbox_entry *entry,
                  bool on_disk, struct mbox_ready *ready);

    /* What @note is of is gone for good, and nobody waits for that to be noted. The note is the journal's, kept or not.
     * @ready may be NULL. */
    void (*forget)(struct mbox_journal *journal, struct journal_note *note,
                   struct mbox_ready *ready);

    /* @entry, which has a note and may be kept, is in @to now, with another number, or counts another attempt. */
    void (*change)(struct mbox_journal *journal, struct mbox *to, struct mbox_entry *entry,
                   struct mbox_ready *ready);

    /* @mbox has a new name, and so has @other, which may be NULL, at the same moment. Under the lock of the table of
     * names. Return: 0; -ENOMEM: then the names are to stay as they were. */
    int (*rename)(struct mbox_journal *journal, struct mbox *mbox, const char *text,
                  struct mbox *other, const char *other_text, struct mbox_ready *ready);

    /* @mbox has other attributes or another config. @ready may be NULL. */
    void (*configure)(struct mbox_journal *journal, struct mbox *mbox, struct mbox_ready *ready);

    /* @mbox is not kept any more, nor what is in it. @ready may be NULL. */
    void (*destroy)(struct mbox_journal *journal, struct mbox *mbox, struct mbox_ready *ready);

    /* @mbox has no reference left. */
    void (*release)(struct mbox_journal *journal, struct mbox *mbox);

    /* Ids are about to be given away that were not set aside yet. */
    void (*need_ids)(struct mbox_journal *journal);

    /* Writes what was noted, unless another is at it. No lock is held. */
    void (*flush)(struct mbox_journal *journal);
};

struct mbox_journal {
    const struct journal_ops *ops;
    /* Writes the attributes of @mbox as text of at most @size bytes, for its maker to understand again. Return: its
     * length. Called with no lock held. */
    size_t (*describe)(struct mbox *mbox, char *text, size_t size);
};

#endif
