/* The lines that wait are no more than a period may have, so there is always room for one that may be told. */
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define QUOTED_BYTES 300

void log_init(struct log *log)
{
    *log = (struct log){ 0 };
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->added, NULL);
}

void log_deinit(struct log *log)
{
    pthread_cond_destroy(&log->added);
    pthread_mutex_destroy(&log->lock);
}

/* Takes the next line out. Under lock. Return: whether there was one. */
static bool next_line(struct log *log, char line[LOG_LINE_BYTES])
{
    while (log->n_lines == 0 && !log->is_stopping)
        pthread_cond_wait(&log->added, &log->lock);
    if (log->n_lines == 0)
        return false;
    memcpy(line, log->lines[log->first_line], LOG_LINE_BYTES);
    log->first_line = (log->first_line + 1) % LOG_LINES_MAX;
    log->n_lines--;
    return true;
}

static void write_line(const struct log *log, const char *line)
{
    if (log->to_syslog)
        syslog(LOG_WARNING, "%s", line);
    else
        dprintf(STDERR_FILENO, "ipcfs: %s\n", line);
}

static void *log_run(void *arg)
{
    char line[LOG_LINE_BYTES];
    struct log *log = arg;

    pthread_mutex_lock(&log->lock);
    while (next_line(log, line)) {
        pthread_mutex_unlock(&log->lock);
        write_line(log, line);
        pthread_mutex_lock(&log->lock);
    }
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

int log_start(struct log *log, bool to_syslog)
{
    int r;

    log->to_syslog = to_syslog;
    if (to_syslog)
        openlog("ipcfs", LOG_PID, LOG_DAEMON);
    r = pthread_create(&log->thread, NULL, log_run, log);
    log->has_thread = r == 0;
    return -r;
}

void log_stop(struct log *log)
{
    if (!log->has_thread)
        return;
    pthread_mutex_lock(&log->lock);
    log->is_stopping = true;
    pthread_cond_signal(&log->added);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->thread, NULL);
    log->has_thread = false;
}

/* Whether somebody is to hear of a request that ends with @error. */
static bool is_trouble(int error)
{
    switch (error) {
    case ENOMEM:
    case ENFILE:
    case EMFILE:
    case ENOSPC:
    case EDQUOT:
    case EIO:
    case EFAULT:
        return true;
    default:
        return false;
    }
}

/* Writes @name so that it takes one line and can't be taken for anything else. */
static void quote(const char *name, char quoted[QUOTED_BYTES])
{
    char *to = quoted;

    *to++ = ' ';
    *to++ = '"';
    for (; *name && to < quoted + QUOTED_BYTES - 8; name++) {
        unsigned char c = (unsigned char)*name;

        if (c < ' ' || c == '"' || c == '\\' || c >= 0x7f)
            to += sprintf(to, "\\x%02x", c);
        else
            *to++ = *name;
    }
    sprintf(to, "%s", *name ? "..." : "\"");
}

/* Under lock: there is room. */
static void log_add_line(struct log *log, const char *text)
{
    size_t at = (log->first_line + log->n_lines) % LOG_LINES_MAX;

    if (log->n_lines == LOG_LINES_MAX)
        return;
    snprintf(log->lines[at], LOG_LINE_BYTES, "%s", text);
    log->n_lines++;
    pthread_cond_signal(&log->added);
}

/* Under lock: another period begins. What was not told in the last is told by its number. */
static void begin_period(struct log *log, time_t now)
{
    unsigned long n = log->n_others;
    char text[LOG_LINE_BYTES];

    for (size_t i = 0; i < log->n_failures; i++)
        n += log->failures[i].n_untold;
    if (n > 0) {
        snprintf(text, sizeof(text), "%lu more requests failed for such reasons", n);
        log_add_line(log, text);
    }
    log->period_start = now;
    log->n_failures = 0;
    log->n_others = 0;
}

/* Under lock. Return: whether this failure is to be told; else it is counted. */
static bool is_news(struct log *log, const char *operation, int error, uid_t uid)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    if (log->n_failures == 0 || now.tv_sec - log->period_start >= LOG_PERIOD_SECONDS)
        begin_period(log, now.tv_sec);
    for (size_t i = 0; i < log->n_failures; i++) {
        struct log_failure *failure = &log->failures[i];

        if (failure->error == error && failure->uid == uid &&
            strcmp(failure->operation, operation) == 0) {
            failure->n_untold++;
            return false;
        }
    }
    /* One line stays for begin_period's. */
    if (log->n_failures == LOG_LINES_MAX - 1) {
        log->n_others++;
        return false;
    }
    log->failures[log->n_failures++] = (struct log_failure){ operation, error, uid, 0 };
    return true;
}

void log_failed(struct log *log, const char *operation, const char *name, int error, uid_t uid,
                pid_t pid)
{
    char quoted[QUOTED_BYTES] = "";
    char text[LOG_LINE_BYTES];

    if (!is_trouble(error))
        return;
    pthread_mutex_lock(&log->lock);
    if (log->has_thread && is_news(log, operation, error, uid)) {
        if (name)
            quote(name, quoted);
        snprintf(text, sizeof(text), "%s%s for uid %u, pid %d: %s", operation, quoted,
                 (unsigned int)uid, (int)pid, strerrordesc_np(error));
        log_add_line(log, text);
    }
    pthread_mutex_unlock(&log->lock);
}
