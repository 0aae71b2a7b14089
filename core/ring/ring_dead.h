/* What of a ring both its backend and whoever waits for it look after: how far it has got, and who holds it up
 * and is dead.
 *
 * Context: under the mailbox's lock; nothing here waits. */
#ifndef IPCFS_CORE_RING_DEAD_H
#define IPCFS_CORE_RING_DEAD_H

#include "ring_state.h"

/* So many dead are passed at a time. Others wait for the mailbox's lock, and whoever maps the ring can fill
 * it with claims of the dead. */
#define RING_DEAD_MAX 64

/* Return: whether each consumer sees everything. The ring has memory. */
bool ring_mbox_is_each(const struct ring_mbox *ring);

/* Counts what has been published, or some of it. Return: the id of the last change. *@ret_more: there is more to count. */
uint64_t ring_mbox_count_changes(struct ring_mbox *ring, bool *ret_more);

/* Frees what a dead one holds that is in the way. Return: how many dead have been found. */
unsigned int ring_mbox_bury(struct ring_mbox *ring);

/* Another memory is going to take the place of this one. */
void ring_mbox_forget_suspects(struct ring_mbox *ring);

#endif
