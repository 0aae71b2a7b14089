/* A queue of messages in delivery order: by priority, highest first, and within one priority by
 * sequence number. Push, peek and remove take constant time.
 *
 * It links their entries and holds no references. Not locked: the owner's lock.
 *
 * Context: under that lock; nothing blocks. */
#ifndef IPCFS_CORE_MSGQ_H
#define IPCFS_CORE_MSGQ_H

#include "entry.h"

struct msgq {
    struct mbox_entries levels[MSG_N_PRIOS];
    uint32_t occupied; /* bit P: levels[P] is not empty */
    uint64_t n_messages;
    uint64_t n_bytes;
    uint64_t n_kept; /* those that the journal has, or is told of before anybody else is */
    uint64_t n_kept_bytes;
};

void msgq_init(struct msgq *q);

/* Adds @entry behind all of its priority; entry->seq is the highest of them. */
void msgq_push(struct msgq *q, struct mbox_entry *entry);

/* Puts @entry back where entry->seq belongs. Takes as long as there are older ones in the queue. */
void msgq_put_back(struct msgq *q, struct mbox_entry *entry);

/* Puts all of @others back, which are in the order of their seq where they have one priority. Takes as long as both have
 * messages together. */
void msgq_put_all_back(struct msgq *q, struct mbox_entries *others);

void msgq_remove(struct msgq *q, struct mbox_entry *entry);

/* Return: the message to be delivered next; NULL when there is none. */
struct mbox_entry *msgq_first(const struct msgq *q);

/* Return: the message delivered after @entry, which is in the queue; NULL when it is the last. */
struct mbox_entry *msgq_next(const struct msgq *q, const struct mbox_entry *entry);

/* Return: the message delivered first of those whose priority is lower than @prio; NULL when there is none. */
struct mbox_entry *msgq_first_below(const struct msgq *q, unsigned int prio);

/* Return: the oldest message of the lowest priority; NULL when there is none. */
struct mbox_entry *msgq_least(const struct msgq *q);

/* Return: whether a message of @prio or higher is in the queue. */
bool msgq_has_at_least(const struct msgq *q, unsigned int prio);

#endif
