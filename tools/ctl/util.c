#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define READ_CHUNK_BYTES 65536

void util_free(void *pointer)
{
    free(*(void **)pointer);
}

void util_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

__attribute__((format(printf, 1, 0))) static void say_args(const char *format, va_list args)
{
    /* After what was printed so far, where both go to the same place. */
    fflush(stdout);
    fputs("ipcctl: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_args(format, args);
    va_end(args);
}

void die(enum exit_status status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_args(format, args);
    va_end(args);
    exit(status);
}

void *xrealloc(void *old, size_t n, size_t element_bytes)
{
    void *new = reallocarray(old, n ? n : 1, element_bytes);

    if (!new)
        die(EXIT_STATUS_FAILED, "out of memory");
    return new;
}

char *xstrdup(const char *text)
{
    size_t n_bytes = strlen(text) + 1;

    return memcpy(xrealloc(NULL, n_bytes, 1), text, n_bytes);
}

char *xasprintf(const char *format, ...)
{
    va_list args;
    char *text;
    int n;

    va_start(args, format);
    n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0)
        die(EXIT_STATUS_FAILED, "out of memory");
    return text;
}

/* Return: whether to try again after @error. What came from elsewhere may be O_NONBLOCK: that is its maker's
 * business. */
static bool is_to_wait(int fd, short events, int error)
{
    if (error == EAGAIN)
        poll(&(struct pollfd){ .fd = fd, .events = events }, 1, -1);
    return error == EAGAIN || error == EINTR;
}

ssize_t read_some(int fd, void *buffer, size_t n_bytes)
{
    ssize_t n;

    do
        n = read(fd, buffer, n_bytes);
    while (n < 0 && is_to_wait(fd, POLLIN, errno));
    return n < 0 ? -errno : n;
}

int write_all(int fd, const void *data, size_t n_bytes)
{
    const char *rest = data;

    while (n_bytes > 0) {
        ssize_t n = write(fd, rest, n_bytes);

        if (n < 0 && !is_to_wait(fd, POLLOUT, errno))
            return -errno;
        if (n > 0) {
            rest += n;
            n_bytes -= (size_t)n;
        }
    }
    return 0;
}

int read_all(int fd, size_t max_bytes, char **ret_data, size_t *ret_n_bytes)
{
    size_t n_allocated = 0;
    size_t n_bytes = 0;
    char *data = NULL;

    for (;;) {
        ssize_t n;

        if (n_bytes == n_allocated) {
            n_allocated = n_allocated ? 2 * n_allocated : READ_CHUNK_BYTES;
            data = xrealloc(data, n_allocated, 1);
        }
        n = read_some(fd, data + n_bytes, n_allocated - n_bytes);
        if (n == 0)
            break;
        if (n > 0)
            n_bytes += (size_t)n;
        if (n < 0 || n_bytes > max_bytes) {
            free(data);
            return n < 0 ? (int)n : -EFBIG;
        }
    }
    *ret_data = data;
    *ret_n_bytes = n_bytes;
    return 0;
}

/* A status of failure stands as it is. */
static void close_output(int status, void *unused)
{
    int had_failed = ferror(stdout);

    (void)unused;
    if (fclose(stdout) == 0 && !had_failed)
        return;
    say("can't write the output: %s", strerror(errno));
    if (status == EXIT_STATUS_OK)
        _exit(EXIT_STATUS_FAILED);
}

/* Else the next file that is opened takes its place. Who then reads or prints is told EBADF as before. */
static void occupy(int fd, int flags)
{
    if (fcntl(fd, F_GETFD) < 0)
        open("/dev/null", flags);
}

void start_output(void)
{
    occupy(STDIN_FILENO, O_WRONLY);
    occupy(STDOUT_FILENO, O_RDONLY);
    occupy(STDERR_FILENO, O_RDONLY);
    on_exit(close_output, NULL);
}

int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}
