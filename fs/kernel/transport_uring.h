/* Requests over io_uring (Linux 6.14): a processor's callers are answered by a thread on that processor, without
 * a switch to another and without a read and a write for each request.
 *
 * The kernel has a queue for each processor that there may ever be, and into each we put entries: room for a
 * request and its answer. A request keeps its entry until it is answered, however long that takes; a thread puts
 * in more when few are free.
 *
 * Who owns what: struct uring owns its threads, each thread its ring; entries belong to a thread, whose ring their
 * answers go through. Locks: a thread's own, a leaf.
 *
 * Context: the thread that begins and ends serving, where it does not say otherwise. */
#ifndef IPCFS_FS_TRANSPORT_URING_H
#define IPCFS_FS_TRANSPORT_URING_H

#include <fuse_lowlevel.h>

#include <stdbool.h>
#include <sys/uio.h>

struct uring;

/* Sees whether io_uring can be had, before the kernel is told that it will be used.
 * Return: 0; a negative errno, and *@ret_reason is what to do about it, as part of a line. */
int uring_new(struct fuse_session *session, struct uring **ret_uring, const char **ret_reason);

/* Puts entries into all queues: from then on requests come, and are handled. @payload_bytes is the most that a
 * request or an answer may have beside its header. Return: 0; a negative errno, and no request will come.
 * Context: the kernel has been told. */
int uring_start(struct uring *uring, size_t payload_bytes);

/* Return: whether @unique, of an answer, is a request's that came through io_uring. */
bool uring_has(uint64_t unique);

/* Gives the answer to such a request, as libfuse has it. Return: its length. Context: any thread; never waits. */
ssize_t uring_answer(const struct iovec *iov, int count);

/* @request came over /dev/fuse. If it interrupts one of ours, has it name that as libfuse knows it. */
void uring_name_interrupted(struct uring *uring, struct fuse_buf *request);

/* Handles no more requests. Those that come stay unanswered; answers are still given.
 * Context: waits for the handlers that run. */
void uring_quiesce(struct uring *uring);

/* Ends all threads and frees. Answers given before go out. NULL is allowed. */
void uring_free(struct uring *uring);

#endif
