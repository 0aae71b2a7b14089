/* The directory `link/` of a process: link/PEER is its end of the link to process PEER.
 *
 * There is one link to each pair of processes, from the first open of an end of it until one of the
 * two ends. Both are in use meanwhile (process.h). What is written to an end waits in the inbox of
 * the other: two mailboxes of the engine (core/mailbox/pair.h), with the default limits. */
#ifndef IPCFS_FS_LINK_H
#define IPCFS_FS_LINK_H

#include <fuse_lowlevel.h>

#include "fs/kernel/node.h"

struct process;

/* For struct node_ops, of the node of a process's link/. */
int link_lookup(struct node *dir, const char *name, const struct caller *caller,
                struct node **ret_node);
int link_list(struct node *dir, struct listing *listing);

/* A shell's `<>` and `>` ask for a file to be made where there is none: there is no such process. */
void link_create(struct node *dir, fuse_req_t req, const char *name, mode_t mode,
                 struct fuse_file_info *fi);

/* Asks the kernel to forget the ends of links to @process. Under the table's lock of processes. */
void links_forget_names(struct process *process);

/* @process has ended: nobody finds its links any more. Under the table's lock of processes. */
void links_detach(struct process *process);

/* Ends the links that were detached: who is at their other ends is told. */
void links_end(struct process *process, struct mbox_ready *ready);

#endif
