/* The file `send`: one write is one message.
 *
 * Context: a handler; a message that finds no room is parked. */
#ifndef IPCFS_FS_SEND_H
#define IPCFS_FS_SEND_H

#include "fs/kernel/file.h"

/* Answers @req, a write to @file: posts @size bytes at @data, as one message of priority @prio.
 * @last_pid is whose write came last, a guess at whose this is. */
void send_message(struct file *file, fuse_req_t req, const char *data, size_t size, off_t offset,
                  int flags, unsigned int prio, _Atomic pid_t *last_pid);

/* Return: 0: a write of @size bytes at @offset may be one message, as far as the kernel goes; -EMSGSIZE. */
int send_check(struct file *file, size_t size, off_t offset, int flags);

/* Answers @req, a write of @size bytes that came to @result. */
void send_answer(fuse_req_t req, int result, size_t size);

/* Opens a send file whose messages have priority @prio. Return: 0; -ENOMEM. */
int send_open(struct kernel *kernel, struct mbox *mbox, unsigned int prio, struct file **ret_file);

#endif
