/* What the kernel is told without having asked: to forget a name, that a directory is gone, to give up
 * names that nobody finds again.
 *
 * For each of these the kernel may need the lock of a directory, and whoever lists that directory holds it
 * for as long as the memory takes that the listing goes to: for ever, if it is memory of a file that
 * somebody else serves. So notices are a user's, they wait only for those of the same user, and nothing
 * else waits for them: each user with notices has a thread, which ends a while after the last of them.
 *
 * A notice is charged to its user; one that can't be charged or for which memory is short is not given:
 * names are valid for no time at the kernel's, so whoever looks finds what there is all the same.
 *
 * Context: any thread. The lock is a leaf, but for the quota's. */
#ifndef IPCFS_FS_NOTIFY_H
#define IPCFS_FS_NOTIFY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct quota;
struct notice;
struct notify_lane;

struct notify {
    pthread_mutex_t lock;
    pthread_cond_t lane_ended;
    struct quota *quota;
    /* Under lock: */
    int fd;                    /* a copy of the session's; -1: there is none */
    bool is_heard;             /* there is somebody to tell */
    unsigned int n_telling;    /* threads that use fd now */
    struct notify_lane *lanes; /* by uid: those that have a thread */
};

void notify_init(struct notify *notify, struct quota *quota);

/* From now on there is somebody to tell: the session behind @session_fd. Return: 0; a negative errno. */
int notify_start(struct notify *notify, int session_fd);

/* Gives no more notices; those that wait are dropped. Waits a moment for the one that each thread may be
 * giving. Return: whether all threads have ended: else @notify and what it points to must stay. */
bool notify_stop(struct notify *notify);

/* It has been stopped. */
void notify_deinit(struct notify *notify);

/* Begins a notice of @uid's: what is added to it is told in that order.
 * Return: NULL: nobody is to be told, or memory is short. */
struct notice *notice_new(struct notify *notify, uid_t uid);

/* Adds: forget @name in the directory of node @dir. @notice may be NULL, as below. */
void notice_add_expiry(struct notice *notice, uint64_t dir, const char *name);

/* Adds: the directory of node @child, called @name in that of @parent, is gone. What the kernel does not
 * delete, because it knows something in there, it is to forget. */
void notice_add_deletion(struct notice *notice, uint64_t parent, uint64_t child, const char *name);

/* Adds: give up all names of the @n nodes in @ids. Kernels before Linux 6.18 don't know how to. */
void notice_add_prune(struct notice *notice, const uint64_t *ids, size_t n);

/* Lets @notice be given, by another thread. Takes it over. */
void notice_give(struct notice *notice);

#endif
