/* What is in a mount, and what each thing's stat and config say: for ls and top. */
#ifndef IPCFS_TOOLS_CTL_ENTRY_H
#define IPCFS_TOOLS_CTL_ENTRY_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "object.h"
#include "settings.h"

struct entry {
    struct object object;
    bool has_attr; /* false: it is gone meanwhile */
    struct stat attr;
    /* Empty where this user may not read them, or there are none. */
    struct settings stat;
    struct settings config;
};

struct entries {
    bool names_only; /* set first: nothing but the names is looked at */
    struct entry *list;
    size_t n;
};

/* Adds what is in @room, sorted by name. Return: 0, also where this mount has no such room; a negative
 * errno. */
int entries_add_room(struct entries *entries, const char *mount, enum room room);

/* Adds @object, and takes over what it owns. Return: 0; a negative errno, and nothing was taken. */
int entries_add_object(struct entries *entries, struct object *object);

void entries_deinit(struct entries *entries);

/* The numbers of an entry: messages that wait; their bytes, of rings and regions the memory's. Return: whether
 * it has one. */
bool entry_messages(const struct entry *entry, uint64_t *ret);
bool entry_bytes(const struct entry *entry, uint64_t *ret);

/* The limits: a number in digits, or "max". NULL: it has none. */
const char *entry_max_messages(const struct entry *entry);
const char *entry_max_bytes(const struct entry *entry);

/* Who sent the newest of the messages that wait. Return: whether one waits and this user may see it. */
bool entry_last_sender(const struct entry *entry, pid_t *ret_pid, uid_t *ret_uid);

/* Return: how many messages are on lease, have expired, are dead, as far as there are any: "2 leased, 1 dead"; the caller's
 * to free. */
char *entry_given_out(const struct entry *entry);

#endif
