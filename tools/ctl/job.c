/* The message is the command's standard input, as a file in memory, so that a command that doesn't read it holds up nobody.
 * The command is in a process group of its own: Ctrl-C is for ipcctl, which lets it finish. */
#include "job.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "settings.h"
#include "util.h"

#define BUFFER_BYTES (1 << 20)
/* Of an answer, where nobody tells what a message may have. */
#define PIECE_BYTES 4096
#define PREFIX "user.ipcfs."
#define XATTR_MAX 8192

/* Of a shell: the command was not there, or could not be run. */
#define STATUS_NOT_RUN 127

int job_open(struct job *job, const struct object *object)
{
    AUTO_FREE char *path = object_file(object, "work");

    *job = (struct job){ .object = object, .fd = -1, .answer = -1 };
    job->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    return job->fd < 0 ? -errno : 0;
}

static int memory_file(void)
{
    int fd = memfd_create("ipcctl", MFD_CLOEXEC);

    if (fd < 0)
        die(EXIT_STATUS_FAILED, "no memory for a message: %s", strerror(errno));
    return fd;
}

/* Takes a message into a file. Return: 0; -EAGAIN: there is none; another negative errno. */
static int take(struct job *job, int to)
{
    AUTO_FREE char *buffer = xrealloc(NULL, BUFFER_BYTES, 1);
    ssize_t n;
    int r = 0;

    while (r == 0 && (n = read(job->fd, buffer, BUFFER_BYTES)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        r = n < 0 ? -errno : write_all(to, buffer, (size_t)n);
    }
    if (r == 0 && lseek(to, 0, SEEK_SET) < 0)
        r = -errno;
    return r;
}

/* IPCFS_ID of user.ipcfs.id, IPCFS_H_CONTENT_TYPE of user.ipcfs.h.content-type. */
static void set_variable(const char *xattr, const char *value)
{
    AUTO_FREE char *name = xasprintf("IPCFS_%s", xattr + strlen(PREFIX));

    for (char *c = name; *c; c++)
        *c = *c == '-' || *c == '.' ? '_' : (char)toupper((unsigned char)*c);
    setenv(name, value, 1);
}

/* In the child: what is known of the message. */
static void set_environment(int fd)
{
    char names[XATTR_MAX * 2];
    char value[XATTR_MAX + 1];
    ssize_t n = flistxattr(fd, names, sizeof(names));

    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1) {
        ssize_t n_value = fgetxattr(fd, names + at, value, XATTR_MAX);

        if (n_value < 0 || strncmp(names + at, PREFIX, strlen(PREFIX)) != 0)
            continue;
        value[n_value] = '\0';
        if (strcmp(names + at, PREFIX "envelope") != 0)
            set_variable(names + at, value);
    }
}

static bool is_question(int fd)
{
    char value[16];

    return fgetxattr(fd, PREFIX "call", value, sizeof(value)) > 0;
}

static void note_id(struct job *job)
{
    char id[32] = "";
    ssize_t n = fgetxattr(job->fd, PREFIX "id", id, sizeof(id) - 1);

    free(job->id);
    job->id = xstrdup(n > 0 ? id : "0");
}

/* Never returns. @failed: tells why there is no command. */
static void job_run(struct job *job, int input, int failed, char *const *command)
{
    sigset_t none;
    int error;

    setpgid(0, 0);
    /* It alone is inherited. */
    fcntl(job->fd, F_SETFD, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    set_environment(job->fd);
    dup2(input, STDIN_FILENO);
    if (job->answer >= 0)
        dup2(job->answer, STDOUT_FILENO);
    execvp(command[0], command);
    error = errno;
    if (write(failed, &error, sizeof(error)) < 0)
        _exit(STATUS_NOT_RUN);
    _exit(STATUS_NOT_RUN);
}

/* Return: 0: the command runs; why it does not, positive. */
static int start_command(struct job *job, int input, char *const *command)
{
    int ends[2];
    int error = 0;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return errno;
    job->pid = fork();
    if (job->pid == 0)
        job_run(job, input, ends[1], command);
    error = job->pid < 0 ? errno : 0;
    close(ends[1]);
    if (error == 0 && read(ends[0], &error, sizeof(error)) > 0)
        waitpid(job->pid, NULL, 0);
    close(ends[0]);
    if (error)
        job->pid = 0;
    return error;
}

int job_start(struct job *job, char *const *command)
{
    AUTO_CLOSE int input = memory_file();
    int r = take(job, input);

    if (r < 0)
        return r == -EAGAIN ? 0 : r;
    note_id(job);
    if (is_question(job->fd))
        job->answer = memory_file();
    r = start_command(job, input, command);
    if (r == 0)
        return 1;
    /* Its lease ends with the program: it returns to its place. */
    die(EXIT_STATUS_FAILED, "can't run '%s': %s; message %s of %s stays", command[0], strerror(r),
        job->id, job->object->shown);
}

/* Return: what one write of an answer may have. */
static size_t piece_bytes(const struct object *object)
{
    AUTO_FREE char *path = object_file(object, "config");
    struct settings settings;
    uint64_t n = 0;

    if (settings_read(AT_FDCWD, path, &settings) == 0) {
        n = settings_number(&settings, "message_bytes");
        settings_deinit(&settings);
    }
    return n ? (size_t)n : PIECE_BYTES;
}

/* An answer may have several writes; no more than a message's bytes in each. */
static int write_pieces(int fd, const char *data, size_t n_bytes, size_t n_piece)
{
    int r = 0;

    for (size_t n = 0; r == 0 && n < n_bytes; n += n_piece)
        r = write_all(fd, data + n, n_piece < n_bytes - n ? n_piece : n_bytes - n);
    return r;
}

/* Gives what the command has printed to who asked. Return: 0: also where nobody waits for it any more; a negative errno. */
static int give_answer(struct job *job)
{
    AUTO_FREE char *name = xasprintf("reply/%020llu", strtoull(job->id, NULL, 10));
    AUTO_FREE char *path = object_file(job->object, name);
    AUTO_FREE char *data = NULL;
    AUTO_CLOSE int fd = -1;
    size_t n_bytes = 0;
    int r = lseek(job->answer, 0, SEEK_SET) < 0 ? -errno : 0;

    if (r == 0)
        r = read_all(job->answer, SIZE_MAX / 2, &data, &n_bytes);
    if (r < 0 || n_bytes == 0)
        return r;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    r = fd < 0 ? -errno : write_pieces(fd, data, n_bytes, piece_bytes(job->object));
    return r == -ENOENT || r == -EPIPE ? 0 : r;
}

/* The command has done its work, and would print the same again: whoever asks is told that there is none. */
static void say_no_answer(const struct job *job, int error)
{
    const char *shown = job->object->shown;

    if (error == EFBIG || error == EMSGSIZE)
        say("the answer to question %s of %s is longer than all it holds (bytes); it gets none",
            job->id, shown);
    else if (error == EDQUOT)
        say("the answer to question %s of %s is longer than what you may still hold (uid_bytes); it gets none",
            job->id, shown);
    else
        say("can't answer question %s of %s: %s; it gets none", job->id, shown, strerror(error));
}

static int say_word(struct job *job, const char *word)
{
    ssize_t n;

    do
        n = write(job->fd, word, strlen(word));
    while (n < 0 && errno == EINTR);
    /* ENODATA: the command has said it itself. */
    return n < 0 && errno != ENODATA ? -errno : 0;
}

int job_end(struct job *job, int status)
{
    bool is_done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    int r = 0;

    job->pid = 0;
    if (is_done && job->answer >= 0)
        r = give_answer(job);
    if (r < 0)
        say_no_answer(job, -r);
    util_close(&job->answer);
    job->answer = -1;
    r = say_word(job, is_done ? "done" : "again");
    return r < 0 ? r : is_done;
}

void job_close(struct job *job)
{
    util_close(&job->fd);
    util_close(&job->answer);
    util_free(&job->id);
    job->fd = -1;
}
