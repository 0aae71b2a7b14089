/* libfuse writes to stderr, and so does fusermount3, which it runs to mount for a user. While
 * capturing, stderr is a file in memory. */
#include "say.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int captured_fd = -1;
static int stderr_fd = -1;

void say(const char *format, ...)
{
    int fd = stderr_fd >= 0 ? stderr_fd : STDERR_FILENO;
    va_list args;

    dprintf(fd, "ipcfs: ");
    va_start(args, format);
    vdprintf(fd, format, args);
    va_end(args);
    dprintf(fd, "\n");
}

void say_capture(void)
{
    captured_fd = memfd_create("ipcfs-stderr", MFD_CLOEXEC);
    stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (captured_fd >= 0 && stderr_fd >= 0)
        dup2(captured_fd, STDERR_FILENO);
}

void say_release(void)
{
    if (stderr_fd >= 0) {
        dup2(stderr_fd, STDERR_FILENO);
        close(stderr_fd);
    }
    if (captured_fd >= 0)
        close(captured_fd);
    captured_fd = stderr_fd = -1;
}

/* Return: the last line of @text, without "fuse: " or the like before it. */
static const char *last_line(char *text)
{
    char *line;
    char *colon;

    while (*text && text[strlen(text) - 1] == '\n')
        text[strlen(text) - 1] = '\0';
    line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    colon = strstr(line, ": ");
    if (colon && strncmp(line, "fuse", 4) == 0)
        line = colon + 2;
    return line;
}

void say_fuse(const char *what)
{
    char text[4096] = "";
    ssize_t n = captured_fd >= 0 ? pread(captured_fd, text, sizeof(text) - 1, 0) : 0;

    text[n > 0 ? n : 0] = '\0';
    if (text[0])
        say("%s: %s", what, last_line(text));
    else
        say("%s", what);
}
