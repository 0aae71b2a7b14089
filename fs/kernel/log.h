/* What went wrong, for whoever runs the mount: one line for a request that failed because something is short
 * (memory, descriptors, a quota), or that should never fail. What the mount promises to answer, such as ENOENT
 * or EAGAIN, is nobody's trouble.
 *
 * The same failure (operation, error, user) is told once in LOG_PERIOD_SECONDS, then with how often it came
 * meanwhile; all together are no more than LOG_LINES_MAX lines in that time: nobody fills a disk with them.
 *
 * Lines go to stderr while the daemon is in the foreground, else to syslog(3). Either may be slow, so a thread
 * of its own writes them; who logs never waits.
 *
 * Context: any thread, any lock held: the log's lock is a leaf. */
#ifndef IPCFS_FS_LOG_H
#define IPCFS_FS_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define LOG_PERIOD_SECONDS 60
#define LOG_LINES_MAX 30

#define LOG_LINE_BYTES 512

/* One kind of failure that was told. */
struct log_failure {
    const char *operation; /* NULL: the entry is free */
    int error;
    uid_t uid;
    unsigned long n_untold;
};

struct log {
    pthread_mutex_t lock;
    pthread_cond_t added;
    bool to_syslog; /* fixed before the thread starts */
    /* Under lock: */
    struct log_failure failures[LOG_LINES_MAX]; /* of this period */
    size_t n_failures;
    unsigned long n_others;                    /* for which there was no line left */
    time_t period_start;                       /* CLOCK_MONOTONIC_COARSE */
    char lines[LOG_LINES_MAX][LOG_LINE_BYTES]; /* that wait to be written, a circle */
    size_t first_line;
    size_t n_lines;
    bool is_stopping;
    bool has_thread;
    pthread_t thread;
};

void log_init(struct log *log);

/* Return: 0; a negative errno. */
int log_start(struct log *log, bool to_syslog);

/* Writes what is left. */
void log_stop(struct log *log);
void log_deinit(struct log *log);

/* @operation, a string that stays, failed with @error (positive) for @uid. @name: of what, or NULL. */
void log_failed(struct log *log, const char *operation, const char *name, int error, uid_t uid,
                pid_t pid);

#endif
