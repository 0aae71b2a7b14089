/* Questions about a process whose answer takes as long as its user likes: it has as many descriptors, and as
 * many ancestors, as it was given. So they are answered step by step, each of bounded work; who asks keeps
 * the process from going away by having a request of its open.
 *
 * Context: one thread at a time. No step waits for anybody. */
#ifndef IPCFS_FS_QUESTION_H
#define IPCFS_FS_QUESTION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What there is to know of an open file to find its descriptors. */
struct question_file {
    dev_t dev;        /* the mount's; 0: not known */
    uint64_t node_id; /* all opens of one lookup have the same */
    uint64_t ino;     /* all opens of one name have the same; for where node ids can't be had */
};

enum question_kind {
    QUESTION_LAST_CLOSE,
    QUESTION_DESCENT,
};

/* The answer to a question that needs more steps. */
#define QUESTION_OPEN 2

struct question {
    enum question_kind kind;
    pid_t pid; /* whose descriptors; the ancestor to be looked at next */
    /* QUESTION_LAST_CLOSE: */
    struct question_file file;
    off_t position; /* in the list of descriptors */
    /* QUESTION_DESCENT: */
    pid_t ancestor;
    int pidfd; /* of pid, between steps; -1: none */
};

/* Asks whether thread @tid, of process @pid, has closed the last descriptor that the process had of @file. A shell
 * moves descriptors about (dash closes 1 while it keeps the file as 12), and each such close is a FLUSH.
 * In execve that can't be told, and the answer is no.
 * Return: the question, of which question_step() takes the first step. */
struct question question_closes_last(pid_t tid, pid_t pid, const struct question_file *file);

/* Asks whether the process of thread @tid is @ancestor or descends from it, as far as its parents are alive.
 * Return: the question, as of question_closes_last(). */
struct question question_descends(pid_t tid, pid_t ancestor);

/* Goes on, looking at @n_max descriptors or ancestors at most, or about.
 * Return: 0: no; 1: yes; QUESTION_OPEN. */
int question_step(struct question *question, unsigned int n_max);

/* Gives back what a question holds that is open. */
void question_end(struct question *question);

#endif
