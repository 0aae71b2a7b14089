/* Waits for many files at a time, for a program whose language can't poll them. It talks in lines of JSON:
 *
 *     {"id": 1, "watch": "/mnt/ipc/mbox/orders/recv", "for": "read"}   or "write", or "work" (read, of work)
 *     {"id": 1, "drop": true}                                         ends that watch
 *     {"id": 2, "xattr": "/proc/4242/fd/17", "name": "user.ipcfs.envelope"}
 *
 * and answers {"id": 1, "event": true} at first and whenever the file has changed since, {"id": 2, "value": "..."}, or
 * {"id": 1, "error": "ENOENT"}. A watch opens the file itself, O_NONBLOCK, and takes nothing from it; its epoll is
 * edge-triggered, so that room which is too small for its program's message is told of once. It ends with its input. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ctl.h"

#define READ_BYTES 65536
#define EVENTS_MAX 64
#define XATTR_BYTES_MAX 65536

/* Of epoll's data: the input; else a watch's index plus one. */
#define INPUT 0

struct watch {
    json_int_t id;
    int fd; /* -1: free */
};

struct poller {
    int epoll_fd;
    struct watch *watches;
    size_t n_watches;
    char *input; /* lines that have not come to their end */
    size_t n_input;
};

static error_t poll_parse(int key, char *arg, struct argp_state *state)
{
    struct common *common = state->input;

    (void)arg;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = common;
    return 0;
}

static const struct argp argp = {
    .parser = poll_parse,
    .doc =
        "Wait for many files at a time, for programs: lines of JSON on standard input say for which.",
    .children = COMMON_CHILDREN,
};

/* Takes over @answer. */
static void answer(json_t *answer)
{
    json_dumpf(answer, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(answer);
}

/* errno's name, as other languages know it. */
static void answer_error(json_int_t id, int error)
{
    const char *name = strerrorname_np(error);

    answer(json_pack("{s:I, s:s, s:i}", "id", id, "error", name ? name : "EIO", "errno", error));
}

static struct watch *find_watch(struct poller *poller, json_int_t id)
{
    for (size_t i = 0; i < poller->n_watches; i++) {
        if (poller->watches[i].fd >= 0 && poller->watches[i].id == id)
            return &poller->watches[i];
    }
    return NULL;
}

static struct watch *free_watch(struct poller *poller)
{
    struct watch *watch;

    for (size_t i = 0; i < poller->n_watches; i++) {
        if (poller->watches[i].fd < 0)
            return &poller->watches[i];
    }
    poller->watches = xrealloc(poller->watches, poller->n_watches + 1, sizeof(*poller->watches));
    watch = &poller->watches[poller->n_watches++];
    watch->fd = -1;
    return watch;
}

static void start_watch(struct poller *poller, json_int_t id, const char *path, const char *what)
{
    bool is_write = strcmp(what, "write") == 0;
    int mode = is_write ? O_WRONLY : strcmp(what, "work") == 0 ? O_RDWR : O_RDONLY;
    int fd = open(path, mode | O_NONBLOCK | O_CLOEXEC);
    struct watch *watch;
    struct epoll_event event = { .events = EPOLLET | (is_write ? EPOLLOUT : EPOLLIN) };

    if (fd < 0)
        return answer_error(id, errno);
    watch = free_watch(poller);
    event.data.u64 = (uint64_t)(watch - poller->watches) + 1;
    if (epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        answer_error(id, errno);
        close(fd);
        return;
    }
    *watch = (struct watch){ id, fd };
}

static void end_watch(struct poller *poller, json_int_t id)
{
    struct watch *watch = find_watch(poller, id);

    if (!watch)
        return;
    close(watch->fd);
    watch->fd = -1;
}

static void tell_xattr(json_int_t id, const char *path, const char *name)
{
    AUTO_FREE char *value = xrealloc(NULL, XATTR_BYTES_MAX, 1);
    ssize_t n = getxattr(path, name, value, XATTR_BYTES_MAX);

    if (n < 0)
        answer_error(id, errno);
    else
        answer(json_pack("{s:I, s:s%}", "id", id, "value", value, (size_t)n));
}

static void obey(struct poller *poller, const char *line, size_t n)
{
    json_t *request = json_loadb(line, n, 0, NULL);
    const char *path = NULL;
    const char *word = NULL;
    json_int_t id;

    if (json_unpack(request, "{s:I, s:s, s:s}", "id", &id, "watch", &path, "for", &word) == 0)
        start_watch(poller, id, path, word);
    else if (json_unpack(request, "{s:I, s:s, s:s}", "id", &id, "xattr", &path, "name", &word) == 0)
        tell_xattr(id, path, word);
    else if (json_unpack(request, "{s:I, s:b}", "id", &id, "drop", &(int){ 0 }) == 0)
        end_watch(poller, id);
    else
        say("that is no request, and passed over");
    json_decref(request);
}

/* Return: how much is left of @poller's input after its whole lines. */
static size_t obey_lines(struct poller *poller)
{
    char *line = poller->input;
    char *end;

    while ((end = memchr(line, '\n', (size_t)(poller->input + poller->n_input - line)))) {
        obey(poller, line, (size_t)(end - line));
        line = end + 1;
    }
    memmove(poller->input, line, (size_t)(poller->input + poller->n_input - line));
    return (size_t)(poller->input + poller->n_input - line);
}

/* Return: whether there may be more. */
static bool read_requests(struct poller *poller)
{
    ssize_t n;

    poller->input = xrealloc(poller->input, poller->n_input + READ_BYTES, 1);
    n = read_some(STDIN_FILENO, poller->input + poller->n_input, READ_BYTES);
    if (n <= 0)
        return false;
    poller->n_input += (size_t)n;
    poller->n_input = obey_lines(poller);
    return true;
}

static void tell_event(const struct poller *poller, const struct epoll_event *event)
{
    const struct watch *watch;

    /* It may have been dropped by what came just before. */
    if (!poller->watches)
        return;
    watch = &poller->watches[event->data.u64 - 1];
    if (watch->fd >= 0)
        answer(json_pack("{s:I, s:b}", "id", watch->id, "event", 1));
}

static void serve(struct poller *poller)
{
    bool goes_on = true;

    while (goes_on) {
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(poller->epoll_fd, events, EVENTS_MAX, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 != INPUT)
                tell_event(poller, &events[i]);
        }
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == INPUT)
                goes_on = read_requests(poller);
        }
        if (ferror(stdout) || (n < 0 && errno != EINTR))
            goes_on = false;
    }
}

static enum exit_status poll_run(const char *mount, int argc, char **argv)
{
    struct epoll_event input = { .events = EPOLLIN, .data.u64 = INPUT };
    struct poller poller = { .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
    struct common common = { 0 };

    ctl_parse_args(&argp, mount, argc, argv, &common);
    if (poller.epoll_fd < 0 ||
        epoll_ctl(poller.epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &input) < 0) {
        say("can't wait for standard input: %s; a pipe is wanted", strerror(errno));
        return EXIT_STATUS_FAILED;
    }
    serve(&poller);
    for (size_t i = 0; i < poller.n_watches; i++)
        util_close(&poller.watches[i].fd);
    free(poller.watches);
    free(poller.input);
    close(poller.epoll_fd);
    return EXIT_STATUS_OK;
}

const struct verb verb_poll = { "poll", "Wait for many files, for programs", &argp, poll_run };
