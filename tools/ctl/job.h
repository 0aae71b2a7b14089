/* One of the jobs that `ipcctl work` does at a time: a message on lease, and the command that works on it.
 *
 * A slot keeps a handle of `work` open. The command inherits it: if ipcctl is killed the message stays on lease until
 * the command has ended too, so nobody else gets it meanwhile. */
#ifndef IPCFS_TOOLS_CTL_JOB_H
#define IPCFS_TOOLS_CTL_JOB_H

#include <sys/types.h>

#include "object.h"

struct job {
    const struct object *object;
    int fd;    /* of `work`; negative: not open */
    pid_t pid; /* of the command; 0: none runs */
    char *id;  /* of the message */
    int answer; /* where the command's output goes, if the message is a question; negative: nowhere */
};

/* Opens the handle. Return: 0; a negative errno. */
int job_open(struct job *job, const struct object *object);

/* Takes a message if there is one, and runs @command on it.
 * Return: 1: it runs; 0: there is none; a negative errno: of the mailbox. Ends the program where the command can't be run. */
int job_start(struct job *job, char *const *command);

/* The command has ended with @status, of waitpid(2): says what became of the message. Return: 1: it is done; 0: it is
 * back; a negative errno. */
int job_end(struct job *job, int status);

/* Gives back what is on lease, and the handle. */
void job_close(struct job *job);

#endif
