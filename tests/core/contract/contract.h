/* What a mailbox promises, as one table of cases for whoever offers a mailbox: the engine itself,
 * and a mount. A driver is the way to one mailbox; each case gets a new and empty one. */
#ifndef IPCFS_TESTS_CONTRACT_H
#define IPCFS_TESTS_CONTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/mailbox/mbox.h"

/* A send or receive that was started and may wait. */
struct call;

/* Sizes are in bytes; a negative result is a negative errno. */
struct driver {
    /* Whatever a call changes has changed when it returns, in others' calls too. */
    bool at_once;

    void *(*make)(void);
    /* Ends the mailbox, messages or not, and all that make() made. */
    void (*destroy)(void *box);

    int (*configure)(void *box, const char *text);
    int (*stat)(void *box, struct mbox_stat *ret_stat);
    /* As rmdir. */
    int (*remove)(void *box);
    /* Return: MBOX_READABLE | MBOX_WRITABLE | MBOX_REMOVED, as a sender and a receiver see it. */
    unsigned int (*poll)(void *box);

    /* Starts a send of @size bytes at priority @prio, or a receive of one whole message. With
     * @nonblock it does not wait. Returns once the call has ended or waits. */
    struct call *(*start_send)(void *box, const void *data, size_t size, unsigned int prio,
                               bool nonblock);
    struct call *(*start_recv)(void *box, size_t max_bytes, bool nonblock);
    bool (*has_ended)(struct call *call);
    /* As a signal does that the caller handles. */
    void (*interrupt)(struct call *call);
    /* Waits for the end, not for ever. Return: bytes sent or received; a negative errno.
     * @data: MBOX_MESSAGE_BYTES_MAX bytes for what was received; or NULL. Frees @call. */
    ssize_t (*finish)(struct call *call, void *data);
};

/* The program's. */
extern const struct driver contract_driver;

#endif
