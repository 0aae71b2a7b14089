/* Other importers of one consumer, as far as they are heard.
 *
 * Importers that share a consumer have its messages among them, and there is no order to keep; one that is alone waits for what
 * went elsewhere. The server doesn't tell one from the other, so importers tell each other: each greets those of its consumer when
 * it comes, and who is there answers. Where the server forbids a user these subjects nobody is heard.
 *
 * Embedded in its import.
 *
 * Context: the loop's thread; nothing waits. */
#ifndef IPCFS_TOOLS_NATS_OTHERS_H
#define IPCFS_TOOLS_NATS_OTHERS_H

#include <stdint.h>

#include "server.h"

struct others {
    struct inbox room;    /* where all of this consumer are greeted; subject NULL: of none yet */
    struct inbox answers; /* its subject is this importer's name, too */
    void (*heard)(struct others *others);
};

/* @heard is told each time that another is heard of. Return: 0; -EIO. */
int others_init(struct others *others, void (*heard)(struct others *others));
void others_deinit(struct others *others);

/* Listens for those of a consumer: of this name, made at this time (another consumer of the name has a room of its own). */
void others_enter(struct others *others, const char *durable, int64_t created_ns);

/* Nothing comes of it without a connection. A greeting may miss one that came at the same moment; it may be said again. */
void others_greet(const struct others *others);

#endif
