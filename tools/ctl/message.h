/* What is to be sent: a text, or what is in a file or comes from standard input. */
#ifndef IPCFS_TOOLS_CTL_MESSAGE_H
#define IPCFS_TOOLS_CTL_MESSAGE_H

#include "object.h"
#include "util.h"

struct message {
    const char *data;
    size_t n_bytes;
    char *owned; /* data, where it was read */
};

/* Makes *@message of @text, the caller's; else of what is in @file; "-", or NULL: of standard input. No more of an
 * input without end is read than @object can hold at all. Ends the program where it can't be read.
 * Return: 0; -EFBIG: it is longer than that; -ENOENT: @object is not there. */
int message_read(struct message *message, const struct object *object, const char *text,
                 const char *file);

void message_deinit(struct message *message);

#endif
