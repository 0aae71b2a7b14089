/* JetStream's side of a mapping: the stream that keeps a subject, and a consumer of it.
 *
 * A stream that is there is used as it is, or refused where it can't serve. One that is missing is made, named after
 * the subject: for a queue (export, import) a work queue, which keeps a message until it is acknowledged; for a topic one that
 * keeps a message until each host's consumer has it.
 *
 * All functions ask the server and wait for its answer, some seconds at most. */
#ifndef IPCFS_TOOLS_NATS_STREAM_H
#define IPCFS_TOOLS_NATS_STREAM_H

#include <stdint.h>

#include "settings.h"

/* ack_wait of a consumer that is made here. */
#define STREAM_ACK_WAIT_S 10

struct stream_want {
    const char *subject;
    enum mapping_kind kind;
    const struct settings *settings;
};

/* Finds the stream of a subject, or makes it. *@ret_name is the caller's to free.
 * Return: 0; -EAGAIN: no answer, or not now; -EINVAL: there is one that can't serve, or it can't be made. *@ret_why, the
 * caller's to free, says it in either case. */
int stream_open(const struct stream_want *want, char **ret_name, char **ret_why);

struct consumer_state {
    uint64_t n_ack_pending; /* given out, not acknowledged */
    uint64_t ack_floor;     /* stream sequence up to which all is acknowledged */
    uint64_t n_pending;     /* not given out yet */
    uint64_t n_delivered;   /* deliveries there were, repeated ones too */
};

struct consumer {
    int64_t created_ns; /* tells it from others of its name */
    int64_t
        ack_wait_ns; /* what was given out and not acknowledged is given out again after it; one that was there has its own */
};

/* Finds the durable pull consumer, or makes it. Return: as stream_open. */
int consumer_open(const char *stream, const char *durable, const struct stream_want *want,
                  struct consumer *ret, char **ret_why);

/* Return: 0; -EAGAIN: no answer; -ENOENT: it isn't there. */
int consumer_look(const char *stream, const char *durable, struct consumer_state *ret);

/* What may be a stream's or a consumer's name: letters, digits and '-' stay, '.' becomes '_', another byte '=XX'.
 * Return: the caller's to free. */
char *stream_encode(const char *prefix, const char *text);

#endif
