/* What a consumer has given out, and this importer has not: newer messages wait for it, so that the order is kept.
 *
 * It was on its way when a connection was lost, or it went to an importer that was killed and whose request the server had still.
 * Either comes again after the consumer's ack_wait. Where another importer is alive (others.h) nothing is waited for: what is
 * missing is there, and there is no order between the two.
 *
 * Embedded in its import.
 *
 * Context: the loop's thread. missing_begin(), and what the timer does, ask the server and wait for its answer. */
#ifndef IPCFS_TOOLS_NATS_MISSING_H
#define IPCFS_TOOLS_NATS_MISSING_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "others.h"
#include "stream.h"

enum missing_stage { MISSING_NEW, MISSING_TOLD, MISSING_RECOUNTED };

struct missing {
    const char *what; /* the line, for the log; the import's */
    uint64_t n;       /* newer messages wait for so many */
    uint64_t next;    /* of the consumer's deliveries, in its own count */
    uint64_t counted; /* the last of them when n was counted */
    int64_t ack_wait_ns;
    enum missing_stage stage;
    bool is_shared; /* another importer has what is missing, and there is no order to keep */
    struct timer timer;
    struct others others;
    /* The state of the consumer, and how many messages that it has given out are here; @ret_is_sure: it knows of all of them that
     * the mailbox has. Return: 0; a negative errno: no answer. */
    int (*look)(struct missing *missing, struct consumer_state *ret, uint64_t *ret_n_known,
                bool *ret_is_sure);
    void (*over)(struct missing *missing); /* nothing is waited for any more */
};

/* Return: 0; -EIO, -EMFILE. */
int missing_init(struct missing *missing);
void missing_deinit(struct missing *missing);

/* A connection is new: whether others are there is not known. */
void missing_forget(struct missing *missing);

/* The consumer is there: counts, and greets others. Return: 0; a negative errno: no answer, and nothing is known. */
int missing_begin(struct missing *missing, const char *durable, const struct consumer *consumer);

/* A delivery has come, the @delivery-th of the consumer. */
void missing_watch(struct missing *missing, uint64_t delivery);

/* It was a message that is new here, for the first time given out or not. */
void missing_found(struct missing *missing, uint64_t delivery, bool is_repeated);

#endif
