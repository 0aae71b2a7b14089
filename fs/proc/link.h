/* Links of pairs of processes.
 *
 * There is one link to each pair, from the first open of an end of it until one of the two ends. Both are in
 * use meanwhile (process.h). What is written to an end waits in the inbox of the other: two mailboxes of the
 * engine (core/mailbox/pair.h), with the default limits.
 *
 * Locks: the table's of processes.
 *
 * Context: any thread, where it says nothing else; nothing waits. */
#ifndef IPCFS_FS_LINK_H
#define IPCFS_FS_LINK_H

#include "process.h"

/* The name of an end, which is there without a link: to look for one does not make it. A reference to each. */
struct end_name {
    struct process *process;
    struct process *peer;
    LIST_ENTRY(end_name) entry; /* in peer->names, under the table's lock */
};

/* Makes the name of @process's end of the link to @peer, with a reference to each, of which that to @peer is
 * the caller's until now. Return: 0; -ENOENT: one of them has ended; -ENOMEM. Context: any thread; never waits. */
int end_name_new(struct process *process, struct process *peer, struct end_name **ret_name);

void end_name_free(struct end_name *name);

/* Opens the end of @name, and makes the link for @uid if there is none.
 * Return: 0; -ENOENT: one of the two has ended; -EDQUOT; -ENOSPC; -ENOMEM. Context: any thread; never waits. */
int link_open(const struct end_name *name, uid_t uid, struct file **ret_file);

/* Calls @visit with the peer of each link of @process, if that is alive, under the table's lock, until it
 * returns other than 0. Return: what the last visit returned; 0. */
int links_each(struct process *process, int (*visit)(pid_t peer, void *arg), void *arg);

/* Asks the kernel to forget the ends of links to @process. Context: under the table's lock. */
void links_forget_names(struct process *process);

/* @process has ended: nobody finds its links any more. Context: under the table's lock. */
void links_detach(struct process *process);

/* Ends the links that were detached: who is at their other ends is told. Context: no lock held. */
void links_end(struct process *process, struct mbox_ready *ready);

#endif
