/* All processes that are in use or looked at, and the thread that waits for their ends.
 *
 * The table holds a reference to those in use. Of the others it knows which were looked at last, and has the
 * kernel forget all but a few: each takes a descriptor.
 *
 * Locks: the table's is taken before a mailbox's. No last reference is given back under it.
 *
 * Context: any thread and no lock held, where it says nothing else. */
#ifndef IPCFS_FS_PROCESSES_H
#define IPCFS_FS_PROCESSES_H

#include "process.h"

/* Processes are boxes of @kind in the directory whose node's slot is @parent. All are their owner's.
 * Return: 0; a negative errno. @processes is to be deinited in any case. Context: before the first request. */
int processes_init(struct processes *processes, struct boxes *boxes, const struct box_kind *kind,
                   struct node *const *parent);

/* Starts the thread. Return: 0; a negative errno. Context: before the first request. */
int processes_start(struct processes *processes);

/* Ends the thread. Context: no request is being answered any more. */
void processes_stop(struct processes *processes);

/* The last reference to a process is gone. */
void processes_deinit(struct processes *processes);

/* @uid looks for a process; if it is new here, it counts for him, until somebody uses it. Return: 0 with a
 * reference to the process (its mailbox's); as process_new. Context: any thread, no lock held. */
int processes_find(struct processes *processes, pid_t pid, uid_t uid, struct process **ret_process);

/* As if all in use had ended. Context: any thread, no lock held. */
void processes_end_all(struct processes *processes, struct mbox_ready *ready);

/* Calls @visit for each in use, under the table's lock, until it returns other than 0.
 * Return: what the last visit returned; 0. */
int processes_each(struct processes *processes, int (*visit)(struct process *process, void *arg),
                   void *arg);

/* Return: how many are in use. Context: any thread; never waits. */
size_t processes_count(struct processes *processes);

/* Return: how many links there are. Context: any thread; never waits. */
size_t processes_count_links(struct processes *processes);

/* For struct box_kind, which says what each returns. */
int process_use(struct box *box, uid_t uid);
void process_notice_end(struct box *box);
void process_free(struct box *box);

#endif
