/* The connection to NATS.
 *
 * Messages come and go in the loop's thread (carrier.h). What the NATS library tells of the connection it tells in a thread of its
 * own, which puts it into a queue and wakes the loop. The connection mends itself for as long as the program runs;
 * nothing is published while it is away, so that what a mapping sends again is all there is. */
#ifndef IPCFS_TOOLS_NATS_SERVER_H
#define IPCFS_TOOLS_NATS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nats/nats.h>

#include "settings.h"

/* A subject that this program listens to, mostly one that nobody else does; embedded in what it belongs to. Messages to it come in the order of
 * the connection. Neither function closes an inbox. */
struct inbox {
    struct inbox *prev; /* of all that are open */
    struct inbox *next;
    natsSubscription *subscription;
    char *subject; /* one for the messages of a pull; with ".N" behind it, answers to question N */
    bool has_parts;
    /* In the loop's thread; @part is what stands behind the last point. Frees the message: it doesn't. */
    void (*arrived)(struct inbox *inbox, const char *part, natsMsg *msg);
    /* Nobody listens to where a question with this inbox went; to which isn't told. NULL: that doesn't matter. */
    void (*unanswered)(struct inbox *inbox);
};

/* Subjects that begin so a server may forbid; any other ends the program with one line. */
#define SERVER_OPTIONAL "_IPCFS."

/* Told of each change of the connection, in the loop's thread. Embedded in what it belongs to. */
struct listener {
    struct listener *next;
    void (*changed)(struct listener *listener, bool is_connected);
};

/* Connects, or goes on trying where no server is there. Ends the program with one line where that will not help:
 * a wrong address, wrong credentials. */
void server_open(const struct settings *settings);
/* Waits a second at most until the server has what was published. */
void server_flush(void);
void server_close(void);

bool server_is_connected(void);
const char *server_url(void);

/* Return: the most bytes of a message with its headers. */
size_t server_max_payload(void);

/* How often the connection has been made: what was sent in another one may be lost. */
uint64_t server_generation(void);

jsCtx *server_jetstream(void);
/* "$JS.API" or that of the domain. */
const char *server_api(void);

void server_listen(struct listener *listener);

/* Return: 0; -ENOTCONN, -EIO: it did not go out. */
int inbox_open(struct inbox *inbox, bool has_parts,
               void (*arrived)(struct inbox *inbox, const char *part, natsMsg *msg),
               void (*unanswered)(struct inbox *inbox));
/* As inbox_open, of a subject that others publish to; @subject is the inbox's then, also if it failed. */
int inbox_open_at(struct inbox *inbox, char *subject,
                  void (*arrived)(struct inbox *inbox, const char *part, natsMsg *msg));
void inbox_close(struct inbox *inbox);

/* Frees @msg, which may be NULL, a little later: the NATS library does that in a thread of its own, and waking that once for many
 * messages is much cheaper than once for each. */
void server_release(natsMsg *msg);

/* Return: 0; -ENOTCONN; -EMSGSIZE: more than the server takes; -EIO. */
int server_publish(natsMsg *msg);
int server_ask(const char *subject, const char *reply, const void *data, size_t n_bytes);

#endif
