/* The file `work`: a message on lease, and a word that says what became of it.
 *
 * The lease is the open file's, whoever has it: a process that inherited it may read on, and may say the word.
 * What getfattr tells of the open file is told of the message that it has (message_xattr.h).
 *
 * Context: a handler; never waits. */
#ifndef IPCFS_FS_WORK_H
#define IPCFS_FS_WORK_H

#include "core/mailbox/lease.h"
#include "fs/kernel/file.h"

struct box;
struct node;

/* Opens @node, which nobody else has, of @box. Return: 0; -ENOMEM. */
int work_open(struct node *node, struct box *box, struct file **ret_file);

/* @text is a word without its newline. Return: 0; -EINVAL. */
int work_parse_word(const char *text, size_t size, enum mbox_lease_word *ret_word);

/* For struct node_ops, which says what each returns. */
int work_xattr_get(struct node *node, const char *name, char **ret_value, size_t *ret_size);
int work_xattr_list(struct node *node, char **ret_names, size_t *ret_size);

#endif
