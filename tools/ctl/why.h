/* Errors in words: what could not be done, and what to do about it. */
#ifndef IPCFS_TOOLS_CTL_WHY_H
#define IPCFS_TOOLS_CTL_WHY_H

#include <sys/types.h>

#include "object.h"

/* Says on stderr that @doing ("send to") @object has failed with @error, positive, on its file @file
 * ("send"; NULL: on its directory). */
void why_say(const struct object *object, const char *doing, const char *file, int error);

/* The owner of a mailbox, noted before a wait: when that ends with EIDRM it is too late to ask. */
struct why_owner {
    pid_t pid; /* 0: it had none */
    char *shown;
};

void why_note_owner(struct why_owner *owner, const struct object *object);
void why_forget_owner(struct why_owner *owner);

/* Says that @object has gone, and why. */
void why_say_gone(const struct object *object, const struct why_owner *owner);

/* Return: why @object has no room, "1024 of 1024 messages, 3000 of 16777216 bytes", the caller's to free. */
char *why_full(const struct object *object);

#endif
