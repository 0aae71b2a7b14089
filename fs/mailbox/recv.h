/* The file `recv`: one message, then end of file. In packet mode, message after message.
 *
 * What reads like it but goes on after an end of file (a link's end, a bell) is made of it.
 *
 * Context: a handler; a read that finds no message is parked. */
#ifndef IPCFS_FS_RECV_H
#define IPCFS_FS_RECV_H

#include "readers.h"

#define RECV_GOES_ON 1

struct recv_file {
    struct file file;
    bool goes_on; /* the end of file comes once, and then the next message */
    /* Before a message is taken, with the turn. Return: RECV_GOES_ON; 0: there is none to wait for, but an end of file;
     * a negative errno. May be NULL. */
    int (*check)(struct recv_file *recv);
    struct readers readers;
    /* With the turn: */
    struct mbox_entry *entry; /* what was taken and is not read to its end; NULL: nothing */
    size_t offset;            /* where the next read goes on */
    bool at_end;              /* what was taken is read, and an end of file is next */
    uint64_t seen;            /* the id of the last message */
};

/* For struct file_ops, which says what each returns, of a file that starts with a struct recv_file. */
void recv_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags);
bool recv_has_unread(struct file *file);
void recv_close(struct file *file);

/* Has the turn: what was taken and is not read, the end of file too, is not going to be. */
void recv_forget(struct recv_file *recv);

/* Makes such a file. Return: 0; -ENOMEM. */
int recv_file_new(struct kernel *kernel, const struct file_ops *ops, struct mbox *mbox,
                  struct file **ret_file);

/* Return: 0; -ENOMEM. */
int recv_open(struct kernel *kernel, struct mbox *mbox, struct file **ret_file);

#endif
