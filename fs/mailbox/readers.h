/* Those who read one open file: one process, or several that share its descriptor.
 *
 * They take turns. Whoever has the turn knows whether the answer before has arrived, so that what it left is
 * the next one's, once. Who must wait for a message leaves a parked request and gives the turn up. When
 * somebody has taken a message and left something of it, those who wait are called, to look again.
 *
 * The turn is a lock that comes before all others, and the one lock that is held while the kernel is
 * answered: it is asked for by nobody but readers and pollers of this very file.
 *
 * Context: any thread; only the turn is waited for. */
#ifndef IPCFS_FS_READERS_H
#define IPCFS_FS_READERS_H

#include "fs/kernel/parked.h"

struct readers {
    pthread_mutex_t turn;
    TAILQ_HEAD(, parked) waiting; /* under turn */
};

void readers_init(struct readers *readers);
void readers_deinit(struct readers *readers);

void readers_lock(struct readers *readers);
void readers_unlock(struct readers *readers);

/* Has the turn: takes a message for @req, waiting for one unless @flags have O_NONBLOCK. @complete is to
 * begin with readers_return(). Return: as parked_take, or -EAGAIN. */
int readers_take(struct readers *readers, struct file *file, fuse_req_t req, size_t size, int flags,
                 const struct mbox_op *wanted,
                 void (*complete)(struct mbox_op *op, struct mbox_ready *ready),
                 struct mbox_entry **ret_entry, struct mbox_ready *ready);

/* Takes the turn for a completion. Return: as parked_end. */
struct ended readers_return(struct readers *readers, struct mbox_op *op);

/* Has the turn: all who wait come back without a message. */
void readers_call(struct readers *readers, struct mbox_ready *ready);

/* Has the turn. Return: whether what it got is for one who has not seen what this file has by now (@seen): another reader
 * of the file has got it meanwhile. */
bool readers_was_told_before(const struct ended *ended, uint64_t seen);

/* Return: whether it came back because it was called. */
bool readers_was_called(const struct ended *ended);

#endif
