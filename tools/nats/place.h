/* A file of a mailbox or topic that a mapping lives on, and what becomes of the mapping when the mailbox goes.
 *
 * The mount's end is the program's end: whoever runs it starts it again. A mailbox that is removed while the bridge runs is
 * waited for, with inotify on the directory that it will be made in. */
#ifndef IPCFS_TOOLS_NATS_PLACE_H
#define IPCFS_TOOLS_NATS_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"

struct place {
    char *dir;    /* of the mailbox or topic, "MOUNT/mbox/orders" */
    char *parent; /* where its name is made, "MOUNT/mbox" */
    struct source source;
    void (*returned)(
        struct place *place); /* tries; calls place_wait again if it is not there yet */
};

/* @kind: "mbox" or "topic". */
void place_init(struct place *place, const char *mount, const char *kind, const char *name,
                void (*returned)(struct place *place));
void place_deinit(struct place *place);

/* Opens @file of the place. Return: a descriptor; a negative errno. */
int place_open(const struct place *place, const char *file, int flags);

/* Reads one line "KEY=VALUE" of a mailbox's config or stat. Return: the value, the caller's to free; NULL: there is none. */
char *place_read(const char *mailbox, const char *file, const char *key);

/* From now on `returned` is called whenever a name is made in the parent. */
void place_wait(struct place *place);
void place_wait_no_more(struct place *place);

/* Is @error that the mailbox has gone? Ends the program where it is the mount that has. */
bool place_is_gone(const struct place *place, int error);

/* Ends the program, which can't live without @file of the place, or without the mount if that is what has gone. */
void place_die(const struct place *place, const char *file, int error) __attribute__((noreturn));

#endif
