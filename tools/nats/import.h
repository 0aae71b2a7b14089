/* A subject of NATS whose messages go to a mailbox, or to a topic.
 *
 * A durable consumer is pulled; a message is acknowledged when the mailbox has it. A mailbox that is full stops the pulling: what is
 * here already waits, and the server is told that it is worked on. What the server gives out again although the mailbox has it
 * (its acknowledgement was lost) is told from the stream's sequence and only acknowledged again. After a connection was lost,
 * messages that were on their way come late: newer ones wait for them, so that the order is kept.
 *
 * All functions are for the loop's thread. */
#ifndef IPCFS_TOOLS_NATS_IMPORT_H
#define IPCFS_TOOLS_NATS_IMPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "envelope.h"
#include "settings.h"

struct import;

struct import_stat {
    uint64_t received;    /* the mailbox has them */
    uint64_t redelivered; /* given out again by the server */
    uint64_t skipped;     /* of a topic: from this mount */
    uint64_t refused;     /* larger than the mailbox takes; they stay in the stream */
    uint64_t lag;         /* in the stream, not given out yet */
    unsigned waiting;     /* here, and not in the mailbox yet */
    uint64_t missing;     /* given out and not here; newer messages wait for them */
    bool is_full;
    bool is_gone;
};

/* Ends the program with one line where the mailbox can't be opened. */
struct import *import_new(const struct mapping *mapping, const struct settings *settings,
                          const struct envelope_source *source);
/* What is here and not in the mailbox goes back to the server. */
void import_free(struct import *import);

void import_get_stat(const struct import *import, struct import_stat *ret);

#endif
