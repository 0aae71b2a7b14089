/* Carries bytes between the NATS library's buffers and its socket, in the loop's thread: no thread is woken for a message, and
 * what was published goes out in one write once the loop has done what there was to do.
 *
 * A call of the library that waits for an answer of the server would wait for ever here, for nobody would carry the answer. It is
 * made by a thread of its own (carrier_aside), and the loop's thread carries meanwhile.
 *
 * There is one connection in the program. All functions are for the loop's thread. */
#ifndef IPCFS_TOOLS_NATS_CARRIER_H
#define IPCFS_TOOLS_NATS_CARRIER_H

#include <stddef.h>

#include <nats/nats.h>

/* Before the connection is made with @options. Calls @arrived when something came in: subscriptions may have messages, which
 * it takes without a wait. Ends the program with one line where it can't. */
void carrier_init(natsOptions *options, void (*arrived)(void));

/* When the library is closed. */
void carrier_deinit(void);

/* Runs @ask in another thread, and returns when it has. @arrived is not called meanwhile, nor anything else of the loop. */
void carrier_aside(void (*ask)(void *closure), void *closure);

/* What was published goes out, as much as the socket takes. Done anyway before the loop waits. */
void carrier_send(void);

/* So many bytes were published just now. Much of it goes out at once, and a server that reads slowly is waited for. */
void carrier_published(size_t n_bytes);

#endif
