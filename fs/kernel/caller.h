/* Who is behind a request: the kernel names a thread, people mean a process.
 *
 * Context: a thread that answers the request in question, so that the caller can't go away. To read /proc takes
 * microseconds, and waits for nobody but where it says so. */
#ifndef IPCFS_FS_CALLER_H
#define IPCFS_FS_CALLER_H

#include <fuse_lowlevel.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/mailbox/msg.h"
#include "node.h"

struct file;

/* Return: who asks. */
struct caller caller_of(fuse_req_t req);

/* Return: whether who asks is in group @gid, as far as can be seen. */
bool caller_is_in_group(fuse_req_t req, gid_t gid);

/* Finds the process of thread @tid, whose request is being answered, so that it can't go away
 * meanwhile. @hint is a guess, often right, or 0.
 * Return: the process's pid; 0 when it is not in sight (another pid namespace). */
pid_t caller_process(pid_t tid, pid_t hint);

/* Return: the process and user behind @req. @last_pid remembers for the next one. */
struct msg_sender caller_as_sender(fuse_req_t req, _Atomic pid_t *last_pid);

/* Return: who sent what @req writes to @file: the user that opened it, the process that writes.
 * @last_pid as above. */
struct msg_sender caller_as_writer(fuse_req_t req, const struct file *file,
                                   _Atomic pid_t *last_pid);

/* Return: whether process @pid is in sight; then *@ret_uid and *@ret_gid are its effective ids. */
bool caller_ids(pid_t pid, uid_t *ret_uid, gid_t *ret_gid);

/* Return: the pid of @pid's parent; 0 when there is none in sight. */
pid_t caller_parent(pid_t pid);

/* Return: field @number (3 or more) of /proc/TID/stat, as proc(5) numbers them; 0: it can't be read. Context: @tid
 * is not in execve: the kernel would let us wait for that, and that waits for us while it closes files. */
unsigned long long caller_stat_field(pid_t tid, unsigned int number);

/* Return: whether thread @tid, which is closing a file, may be made to wait for somebody. Not while it exits: no
 * signal reaches it any more. Nor while it is in execve: whoever looks at the process meanwhile (ps, top,
 * a debugger, a reader of its /proc/PID/stat) would wait with it. */
bool caller_can_wait(pid_t tid);

/* Return: whether thread @tid closes files in execve: then some of /proc waits for it. */
bool caller_is_in_execve(pid_t tid);

/* Return: whether thread @tid is exiting, and closes its files for that. */
bool caller_is_exiting(pid_t tid);

/* Return: whether a signal is ending the process of @tid, which is closing its files. */
bool caller_is_being_killed(pid_t tid);

#endif
