/* Inside the mailbox: messages that are given up, by their lease or because they waited too long, and the mailbox that
 * gets them.
 *
 * Context: no mailbox's lock is held, where it does not say otherwise; nothing blocks. For the other files of the mailbox alone. */
#ifndef IPCFS_CORE_MBOX_BURY_H
#define IPCFS_CORE_MBOX_BURY_H

#include "mbox.h"

/* Looks for the mailbox @name, which is to have what @mbox gives up, and makes the headers that @entry has there:
 * *ret_headers is the caller's, or NULL where there is no memory or no room for one more.
 * Return: the mailbox, with a reference; NULL: there is none but @mbox itself.
 * Context: no lock held. */
struct mbox *mbox_find_dead(struct mbox *mbox, const char *name, const struct mbox_entry *entry,
                            struct headers **ret_headers);

/* Return: 0: @dead can have @entry, and has made room; a negative errno. Under its lock, and that of the mailbox that
 * @entry is in. */
int mbox_check_burial(struct mbox *mbox, struct mbox *dead, struct mbox_entry *entry);

/* Moves @entry, which nothing links, from @mbox to @dead, with @headers in place of its own; NULL: they stay.
 * Under both locks. */
void mbox_bury_in(struct mbox *mbox, struct mbox *dead, struct mbox_entry *entry,
                  struct headers *headers, struct mbox_ready *ready);

/* For mbox.undertaker: takes what has expired to the mailbox that limits.dead names, or drops it. */
void mbox_bury_expired(struct mbox_op *op, struct mbox_ready *ready);

/* For the domain's timer (expiry.h): it is time to look for what has expired. Return: false: the last reference to the mailbox
 * is being given back. Context: under the timer's lock. */
bool mbox_hold_for_expiry(struct expiry_place *place);

/* For it too: looks, and gives that reference back. */
void mbox_look_for_expired(struct expiry_place *place);

#endif
