/* What getfattr tells of a message: user.ipcfs.NAME, as the envelope has it (envelope.h), and user.ipcfs.h.NAME,
 * its headers.
 *
 * Context: nothing here waits; who has the entry keeps it meanwhile. */
#ifndef IPCFS_FS_MESSAGE_XATTR_H
#define IPCFS_FS_MESSAGE_XATTR_H

#include "core/mailbox/entry.h"

/* Return: 0 with the value of @name, which the caller frees; -ENODATA: there is none; -ENOMEM. */
int message_xattr_get(const struct mbox_entry *entry, const char *name, char **ret_value,
                      size_t *ret_size);

/* Return: whether @name says who sent a message, how urgent it is, or whether it is a question: which takes no more than
 * the message's sender, prio and is_call to tell. */
bool message_xattr_is_sender(const char *name);

/* Which of them are told of. */
enum message_xattrs {
    MESSAGE_XATTRS_OF_QUEUE, /* who sent it and how urgent it is; what the rest of a file does not say */
    MESSAGE_XATTRS_ALL,      /* as well its id, time and size, and the envelope without the body */
};

/* Return: 0 with the names, each ended by NUL, which the caller frees; -ENOMEM. */
int message_xattr_list(const struct mbox_entry *entry, enum message_xattrs which, char **ret_names,
                       size_t *ret_size);

#endif
