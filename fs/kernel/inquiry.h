/* Slow answers to questions about processes (question.h): what a few steps don't answer is left to one thread,
 * so that whoever made his question long waits for it, and no thread that others need does.
 *
 * The thread takes a step of a question in turn, user by user: the users' uids share a fixed number of lanes, each
 * lane gets every so many turns, and within a lane each question does. So the most that one user's questions
 * cost another's is one step for each of his.
 *
 * A question belongs to a request that is not answered meanwhile. An interrupt ends it.
 *
 * Context: any thread, no lock held; none waits but inquiries_stop. */
#ifndef IPCFS_FS_INQUIRY_H
#define IPCFS_FS_INQUIRY_H

#include <fuse_lowlevel.h>

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "question.h"

struct quota;

#define INQUIRY_N_LANES 64

/* The answer will come later. */
#define INQUIRY_PARKED 2

/* Embedded in what keeps what the request needs. */
struct inquiry {
    /* Called once, by the inquiries' thread, with 0 or 1, -EINTR, or, when all ends, -ENOTCONN. Answers the request
     * and frees what it is embedded in. */
    void (*answered)(struct inquiry *inquiry, int answer);
    fuse_req_t req;

    /* The inquiries'. */
    struct inquiries *inquiries;
    struct question question;
    uid_t uid; /* for whose descriptor the question is charged */
    /* Under the inquiries' lock: */
    bool is_queued;
    bool is_cancelled;
    TAILQ_ENTRY(inquiry) link;
};

TAILQ_HEAD(inquiry_lane, inquiry);

struct inquiries {
    struct quota *quota;
    pthread_mutex_t lock; /* a leaf */
    pthread_cond_t added;
    /* Under lock: */
    struct inquiry_lane lanes[INQUIRY_N_LANES];
    struct inquiry_lane cancelled;
    struct inquiry *current; /* at work on; in no lane */
    unsigned int n_waiting;  /* in all lanes */
    unsigned int turn;       /* the lane that was served last */
    bool stopping;
    pthread_t thread;
    bool started;
};

void inquiries_init(struct inquiries *inquiries, struct quota *quota);

/* Starts the thread. Return: 0; a negative errno. */
int inquiries_start(struct inquiries *inquiries);

/* Ends the thread; who waits gets -ENOTCONN. No more questions are asked. */
void inquiries_stop(struct inquiries *inquiries);

void inquiries_deinit(struct inquiries *inquiries);

/* Answers @question, with a few steps. Return: 0 or 1; QUESTION_OPEN: ask inquiry_ask. */
int inquiry_try(struct question *question);

/* Has @question, which inquiry_try left open, answered later; its request's interrupts come here meanwhile.
 * Return: INQUIRY_PARKED; -EDQUOT, -ENFILE: there is no descriptor for it; @inquiry is the caller's. */
int inquiry_ask(struct inquiries *inquiries, struct inquiry *inquiry, struct question *question);

#endif
