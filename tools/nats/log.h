/* What the bridge says: one line on stderr for each change of state, "ipcfs-nats: " before it. */
#ifndef IPCFS_TOOLS_NATS_LOG_H
#define IPCFS_TOOLS_NATS_LOG_H

#include <stddef.h>

enum exit_status {
    EXIT_STATUS_OK = 0,
    EXIT_STATUS_FAILED = 1,
    EXIT_STATUS_USAGE = 2,
};

/* Control characters of what is printed come out as '?': names are other people's. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, and ends the program with @status. */
void log_die(enum exit_status status, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));

/* For memory: a bridge without memory ends, and what it had leased goes back by that. Never NULL. */
void *xrealloc(void *old, size_t n, size_t element_bytes);
void *xzalloc(size_t size_bytes);
char *xstrdup(const char *text);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
