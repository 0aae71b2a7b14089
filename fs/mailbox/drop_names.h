/* The names of files in drop/ that are sent: for a while they go on answering to whoever sent them.
 *
 * Many programs touch what they have just written by its name (cp -p, rsync, Python's shutil.copy), and report a failure
 * if it is not there: then the file is sent, and is sent again when somebody tries again. So a name is remembered
 * when its file is sent, for the process that created it and those that this started. Others find nothing: two
 * senders of one name never meet.
 *
 * What is remembered is a name and what stat says of it, no file. It counts for nobody, because it stays when all that its
 * sender had is gone; instead there is a fixed number of places, which users share by their uid, and the oldest in
 * them gives way. Nothing runs when the time is over: an old name is not found any more, and is freed when another needs
 * its place.
 *
 * A process is known by its pid and its birth, so that one with the same pid inherits nothing. (Before Linux 6.9 the
 * births of a caller's ancestors can't be told without waiting for those that are in an execve; there a
 * process's children are told by the pid alone.)
 *
 * Context: any thread; nothing waits. The lock is a leaf. */
#ifndef IPCFS_FS_DROP_NAMES_H
#define IPCFS_FS_DROP_NAMES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

struct caller;

/* The places are as many rings of as many names. */
#define DROP_NAMES_N_RINGS 16
#define DROP_NAMES_RING_SIZE 256

struct drop_name;

struct drop_names {
    time_t (*clock)(void); /* seconds; CLOCK_MONOTONIC, but for tests */
    pthread_mutex_t lock;
    /* Under lock: */
    struct drop_names_ring {
        struct drop_name *names[DROP_NAMES_RING_SIZE]; /* NULL: free */
        unsigned int next;                             /* the oldest one, or free */
    } rings[DROP_NAMES_N_RINGS];
};

void drop_names_init(struct drop_names *names);
void drop_names_deinit(struct drop_names *names);

/* Makes ready what drop_names_remember() takes: @name in the drop/ whose inode number is @dir, of @caller, whose request is
 * being answered. Return: NULL when memory is short. To be freed with free() if it is not remembered. */
struct drop_name *drop_name_new(uint64_t dir, const char *name, const struct caller *caller);

/* From now on @name answers for a while, with @attr. Takes @name over. */
void drop_names_remember(struct drop_names *names, struct drop_name *name, const struct stat *attr);

/* In the next three @caller's request is being answered. They find what @caller has sent as @name to @dir not long
 * ago, or a process that it descends from. */

/* Return: 0 with what stat says; -ENOENT. */
int drop_names_find(struct drop_names *names, uint64_t dir, const char *name,
                    const struct caller *caller, struct stat *ret_attr);

/* The name answers no more. Return: 0; -ENOENT. */
int drop_names_forget(struct drop_names *names, uint64_t dir, const char *name,
                      const struct caller *caller);

/* Now @to answers, and @name no more. Return: 0; -ENOENT; -ENOMEM. */
int drop_names_rename(struct drop_names *names, uint64_t dir, const char *name, const char *to,
                      const struct caller *caller);

#endif
