/* Whether a caller descends from a process: who receives for it, or by its claim.
 *
 * A request keeps what it has found out (struct descents): it is run again once a slow answer is known (call.h).
 *
 * Context: any thread; nothing here waits. */
#ifndef IPCFS_FS_CALLER_DESCENT_H
#define IPCFS_FS_CALLER_DESCENT_H

#include <errno.h>
#include <stdbool.h>
#include <sys/types.h>

struct caller;

/* What has been found out about a caller's ancestors. A request asks for two at most. */
#define N_DESCENTS 2

struct descents {
    struct descent {
        pid_t ancestor; /* 0: none */
        bool descends;
    } known[N_DESCENTS];
    unsigned int n_known;
    pid_t asked;
};

/* The answer takes long: its request is to wait for it (call.h). No other function returns this. */
#define CALLER_ASKS (-EINPROGRESS)

/* Asks whether the process of @caller is @ancestor or descends from it, as far as its parents are alive.
 * @caller has descents. Return: 0: no; 1: yes; CALLER_ASKS. */
int caller_descends(const struct caller *caller, pid_t ancestor);

/* The same of thread @tid, which waits in a request. Return: 0; 1; CALLER_ASKS: it is not among the nearer ones. */
int caller_descends_nearly(pid_t tid, pid_t ancestor);

/* The answer to what was asked last. */
void caller_note_descent(struct descents *descents, bool descends);

#endif
