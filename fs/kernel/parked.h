/* A request that may have to wait: an engine's op joined to the request that it will answer.
 *
 * parked_new() lets the kernel's interrupts find the op; then the op is given to the engine. When
 * the engine keeps it (MBOX_PARKED), its completion answers; else the caller takes the request
 * back with parked_free() and answers itself.
 *
 * The kernel asks once for a waiting call to end, and then waits for the answer however long: an
 * interrupt always ends the wait.
 *
 * Context: no mailbox's lock is held; nothing waits but parked_free(), for an interrupt that is being handled. */
#ifndef IPCFS_FS_PARKED_H
#define IPCFS_FS_PARKED_H

#include "file.h"

struct parked {
    struct mbox_op op;
    fuse_req_t req;
    struct file *file; /* a reference; NULL: it is of no open file */
    struct mbox *mbox; /* the one that op is given to: of the file's, or else with a reference */
    struct deferred *deferred;
    size_t size;              /* of the caller's buffer */
    void *user;               /* whatever @complete needs */
    TAILQ_ENTRY(parked) link; /* for whom it waits for */
};

/* @complete answers the request and frees with parked_free(). Return: NULL when memory is short. */
struct parked *parked_new(struct file *file, struct mbox *mbox, fuse_req_t req, size_t size,
                          void (*complete)(struct mbox_op *op, struct mbox_ready *ready));

/* As parked_new, for what is of no open file. Its completion answers with the result and no more.
 * Return: NULL when memory is short. */
struct parked *parked_new_for(struct mbox *mbox, fuse_req_t req, struct deferred *deferred);

/* No interrupt will come for it any more, and it and its op are gone. The request is still to be
 * answered by the caller, who must hold a reference to the file while it needs it. */
void parked_free(struct parked *parked);

static inline struct parked *parked_of(struct mbox_op *op)
{
    return (struct parked *)((char *)op - offsetof(struct parked, op));
}

/* What is left of a parked request once its op has completed. */
struct ended {
    struct file *file; /* a reference, to be given back once the request is answered */
    fuse_req_t req;    /* to be answered */
    size_t size;
    size_t max_bytes;
    uint64_t seen;
    int result;
    struct mbox_entry *entry; /* received; in flight */
};

/* Begins a completion: frees what was parked. Return: what is left of it. */
struct ended parked_end(struct mbox_op *op);

/* A completion that answers with the result and no more, as a close has it. */
void parked_answer(struct mbox_op *op, struct mbox_ready *ready);

/* Return: an op that nobody waits for, which frees itself; NULL when memory is short. */
struct mbox_op *detached_op_new(void);

/* Takes a message, waiting for one: mbox_take() with a parked op that wants what @wanted does.
 * Return: as mbox_take; -ENOMEM. */
int parked_take(struct file *file, fuse_req_t req, size_t size, const struct mbox_op *wanted,
                void (*complete)(struct mbox_op *op, struct mbox_ready *ready),
                struct mbox_entry **ret_entry, struct mbox_ready *ready);

#endif
