/* What all of ipcctl uses: complaints, memory that is there or the program ends, text that grows.
 *
 * ipcctl is a tool that runs once: without memory it says so and ends (EXIT_STATUS_FAILED), so nobody
 * checks for NULL. */
#ifndef IPCFS_TOOLS_CTL_UTIL_H
#define IPCFS_TOOLS_CTL_UTIL_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

enum exit_status {
    EXIT_STATUS_OK = 0,
    EXIT_STATUS_FAILED = 1,
    EXIT_STATUS_USAGE = 2,
    EXIT_STATUS_NOTHING_CAME = 3, /* in the time that was given */
};

/* A variable whose memory goes with its scope. */
#define AUTO_FREE __attribute__((cleanup(util_free)))
/* A descriptor that closes with its scope; negative: none. */
#define AUTO_CLOSE __attribute__((cleanup(util_close)))

void util_free(void *pointer);
void util_close(const int *fd);

/* Prints "ipcctl: ", the text and a newline on stderr. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, and ends with @status. */
void die(enum exit_status status, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));

void *xrealloc(void *old, size_t n, size_t element_bytes);
char *xstrdup(const char *text);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Reads once, but waits also where @fd is O_NONBLOCK. Return: how much; 0: the end of file; a negative errno. */
ssize_t read_some(int fd, void *buffer, size_t n_bytes);

/* Writes all of @data, and waits also where @fd is O_NONBLOCK. Return: 0; a negative errno. */
int write_all(int fd, const void *data, size_t n_bytes);

/* Reads to the end of file into *@ret_data, the caller's to free. Return: 0; -EFBIG: that is more than @max_bytes;
 * another negative errno. */
int read_all(int fd, size_t max_bytes, char **ret_data, size_t *ret_n_bytes);

/* Return: CLOCK_MONOTONIC in ns. */
int64_t now_ns(void);

/* Makes sure that descriptors 0 to 2 are taken, and that a program whose output did not all get out says so at its
 * end and has failed, wherever it calls exit(): the C library does, for --help. */
void start_output(void);

#endif
