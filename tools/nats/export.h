/* A mailbox, or a subscription of a topic, whose messages go to a subject of NATS.
 *
 * Each message is on lease (`work`) from when it is read until the stream acknowledged it; then it is `done`. As many are in
 * flight as the window says, each on a descriptor of its own. When something fails, nothing new is taken, what is in flight is
 * waited for, and whatever was not acknowledged is sent again in its order. So that a server that dies can't keep a
 * message and lose the one before, each names the one before it (Nats-Expected-Last-Msg-Id) and is refused without it. Where
 * others publish to the same subject at the same time fewer are in flight, down to one, which needs to name none.
 *
 * All functions are for the loop's thread. */
#ifndef IPCFS_TOOLS_NATS_EXPORT_H
#define IPCFS_TOOLS_NATS_EXPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "envelope.h"
#include "settings.h"

struct export;

struct export_stat {
    uint64_t sent;     /* acknowledged, and done here */
    uint64_t repeated; /* sent again after a failure */
    uint64_t skipped;  /* of a topic: another host's, not sent back */
    uint64_t dead;     /* too large, gone to the dead-letter mailbox */
    unsigned in_flight;
    unsigned held; /* too large, and kept on lease */
    bool is_gone;  /* its mailbox was removed */
};

/* Ends the program with one line where the mailbox can't be opened. */
struct export *export_new(const struct mapping *mapping, const struct settings *settings,
                          const struct envelope_source *source);
void export_free(struct export *export);

/* Takes nothing more; `export_is_idle` tells when nothing is in flight any more. */
void export_stop(struct export *export);
bool export_is_idle(const struct export *export);

void export_get_stat(const struct export *export, struct export_stat *ret);

#endif
