/* A message as one JSON object: who sent it, when, and what it says. */
#ifndef IPCFS_FS_ENVELOPE_H
#define IPCFS_FS_ENVELOPE_H

#include "core/msg.h"

/* Return: the object on one line without a newline, to be freed with free(); NULL when memory is
 * short. What is valid UTF-8 is in "text", all else in "base64". */
char *envelope_format(const struct msg *msg);

#endif
