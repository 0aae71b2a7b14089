/* The log, and memory that is there or the program ends. Nobody owns anything here; any thread may call. */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((format(printf, 1, 0))) static void log_print(const char *format, va_list args)
{
    char *text;
    char *line;

    if (vasprintf(&text, format, args) < 0)
        return;
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    }
    if (asprintf(&line, "ipcfs-nats: %s\n", text) >= 0) {
        /* In one write: lines of several threads don't mix. */
        if (write(STDERR_FILENO, line, strlen(line)) < 0)
            (void)0; /* nobody reads the log: there is nowhere to say so */
        free(line);
    }
    free(text);
}

void log_line(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_print(format, args);
    va_end(args);
}

void log_die(enum exit_status status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_print(format, args);
    va_end(args);
    exit(status);
}

void *xrealloc(void *old, size_t n, size_t element_bytes)
{
    void *p = reallocarray(old, n, element_bytes);

    if (!p && n && element_bytes)
        log_die(EXIT_STATUS_FAILED, "out of memory");
    return p;
}

void *xzalloc(size_t size_bytes)
{
    return memset(xrealloc(NULL, 1, size_bytes), 0, size_bytes);
}

char *xstrdup(const char *text)
{
    size_t n = strlen(text) + 1;

    return memcpy(xrealloc(NULL, n, 1), text, n);
}

char *xasprintf(const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        log_die(EXIT_STATUS_FAILED, "out of memory");
    va_end(args);
    return text;
}
