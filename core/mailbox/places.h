/* The places of a mailbox that are reserved and not filled yet (mbox_reserve), and who holds them.
 *
 * Places are not messages: no receiver takes them out, and the mailbox's owner can't remove one. So whoever
 * holds many, by files that stay open, would keep others from sending for as long as it likes. Therefore all
 * places take room from a user who holds one itself; from others they take half of what the mailbox may hold at most.
 * What was sent in the other half stays as the places are filled: the mailbox may then hold half as much again.
 *
 * Context: under the mailbox's lock. */
#ifndef IPCFS_CORE_PLACES_H
#define IPCFS_CORE_PLACES_H

#include "entry.h"

struct places_user;

struct places {
    uint64_t n;                  /* how many are reserved */
    struct mbox_entries entries; /* theirs, as many: what will fill them needs no memory */
    struct places_user *users;   /* who holds them, by uid */
};

void places_init(struct places *places);

/* @entry, whose message's sender has one more, is kept. Never fails: without memory to note who has it, it takes room as
 * others' places do. */
void places_take(struct places *places, struct mbox_entry *entry);

/* User @uid has one less. Return: an entry, which is the caller's. */
struct mbox_entry *places_give_back(struct places *places, uid_t uid);

/* Return: how many of the @n_messages that a mailbox may hold are taken from whoever holds no place. */
uint64_t places_count(const struct places *places, uint64_t n_messages);

/* Return: how many are taken from user @uid. */
uint64_t places_count_for(const struct places *places, uint64_t n_messages, uid_t uid);

#endif
