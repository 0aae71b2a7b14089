/* The cases through a mount: each gets a daemon of its own, and each call a thread. */
#include "tests/core/contract/contract.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What no test waits longer for. */
#define PATIENCE_NS (INT64_C(60) * 1000 * 1000 * 1000)

struct mounted {
    pid_t daemon;
    char dir[64];
    int send_fd; /* held open, so that a removed box can still be asked */
    int recv_fd;
};

struct call {
    struct mounted *mounted;
    pthread_t thread;
    _Atomic bool ended;
    bool is_send;
    bool nonblock;
    unsigned int prio;
    size_t size;
    char *data;
    ssize_t result; /* of the thread, once it has ended */
};

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void nap(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static void path_of(const struct mounted *mounted, const char *file, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/mbox/box%s%s", mounted->dir, *file ? "/" : "", file);
}

static int open_file(const struct mounted *mounted, const char *file, int flags)
{
    char path[PATH_MAX];
    int fd;

    path_of(mounted, file, path);
    fd = open(path, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Ends with the test's process, also when that crashes. */
static void start_daemon(struct mounted *mounted)
{
    const char *ipcfs = getenv("IPCFS");

    cr_assert(ipcfs, "IPCFS names the program to test");
    mounted->daemon = fork();
    if (mounted->daemon == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        execl(ipcfs, "ipcfs", "-f", mounted->dir, (char *)NULL);
        _exit(127);
    }
}

static void make_box(struct mounted *mounted)
{
    int64_t end = now_ns() + PATIENCE_NS;
    char path[PATH_MAX];

    path_of(mounted, "", path);
    while (mkdir(path, 0755) < 0) {
        cr_assert(errno == ENOENT && now_ns() < end, "mkdir: %s", strerror(errno));
        nap();
    }
    mounted->send_fd = open_file(mounted, "send", O_WRONLY);
    mounted->recv_fd = open_file(mounted, "recv", O_RDONLY);
    cr_assert(mounted->send_fd >= 0 && mounted->recv_fd >= 0);
}

static void ignore_signal(int signal)
{
    (void)signal;
}

static void *make(void)
{
    struct mounted *mounted = calloc(1, sizeof(*mounted));
    struct sigaction action = { .sa_handler = ignore_signal };

    sigaction(SIGUSR1, &action, NULL);
    strcpy(mounted->dir, "/tmp/ipcfs-contract-XXXXXX");
    cr_assert(mkdtemp(mounted->dir));
    start_daemon(mounted);
    make_box(mounted);
    return mounted;
}

static void destroy(void *box)
{
    struct mounted *mounted = box;
    int status;

    close(mounted->send_fd);
    close(mounted->recv_fd);
    kill(mounted->daemon, SIGTERM);
    waitpid(mounted->daemon, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the daemon's status is %d", status);
    cr_assert_eq(rmdir(mounted->dir), 0);
    free(mounted);
}

static int configure(void *box, const char *text)
{
    int fd = open_file(box, "config", O_WRONLY);
    ssize_t n;
    int r;

    cr_assert_geq(fd, 0);
    n = write(fd, text, strlen(text));
    r = n < 0 ? -errno : 0;
    close(fd);
    return r;
}

static uint64_t value_of(const char *text, const char *key)
{
    char line[64];
    const char *found;
    uint64_t value;

    snprintf(line, sizeof(line), "\n%s=", key);
    found = strstr(text, line);
    cr_assert(found, "no %s in stat", key);
    cr_assert_eq(sscanf(found + strlen(line), "%" SCNu64, &value), 1);
    return value;
}

/* The time as seconds since the epoch; 0 for never. */
static time_t time_of(const char *text, const char *key)
{
    char line[64];
    const char *found;
    struct tm tm = { 0 };

    snprintf(line, sizeof(line), "\n%s=", key);
    found = strstr(text, line);
    cr_assert(found, "no %s in stat", key);
    found += strlen(line);
    if (*found == '\n')
        return 0;
    cr_assert(strptime(found, "%Y-%m-%dT%H:%M:%S", &tm), "%s", found);
    return timegm(&tm);
}

static int get_stat(void *box, struct mbox_stat *ret_stat)
{
    char text[4096] = "\n";
    int fd = open_file(box, "stat", O_RDONLY);
    ssize_t n;

    cr_assert_geq(fd, 0);
    n = read(fd, text + 1, sizeof(text) - 2);
    close(fd);
    cr_assert_gt(n, 0);
    text[n + 1] = '\0';
    *ret_stat = (struct mbox_stat){
        .n_messages = value_of(text, "messages"),
        .n_bytes = value_of(text, "bytes"),
        .n_sent = value_of(text, "sent"),
        .n_received = value_of(text, "received"),
        .n_dropped = value_of(text, "dropped"),
        .n_rejected = value_of(text, "rejected"),
        .n_senders_waiting = value_of(text, "senders_waiting"),
        .n_receivers_waiting = value_of(text, "receivers_waiting"),
        .last_send.tv_sec = time_of(text, "last_send"),
        .last_receive.tv_sec = time_of(text, "last_receive"),
    };
    return 0;
}

static int remove_box(void *box)
{
    char path[PATH_MAX];

    path_of(box, "", path);
    return rmdir(path) < 0 ? -errno : 0;
}

static unsigned int poll_box(void *box)
{
    struct mounted *mounted = box;
    struct pollfd fds[] = {
        { .fd = mounted->recv_fd, .events = POLLIN },
        { .fd = mounted->send_fd, .events = POLLOUT },
    };

    cr_assert_geq(poll(fds, 2, 0), 0);
    return (fds[0].revents & POLLIN ? MBOX_READABLE : 0) |
           (fds[1].revents & POLLOUT ? MBOX_WRITABLE : 0) |
           (fds[0].revents & fds[1].revents & POLLERR ? MBOX_REMOVED : 0);
}

static int open_for(struct call *call)
{
    int flags = call->nonblock ? O_NONBLOCK : 0;
    char file[16];

    if (!call->is_send)
        return open_file(call->mounted, "recv", O_RDONLY | O_DIRECT | flags);
    snprintf(file, sizeof(file), "send.%u", call->prio);
    return open_file(call->mounted, file, O_WRONLY | flags);
}

/* A file of its own; where the name is gone, the one that was opened before, made to wait or not. */
static int open_or_borrow(struct call *call)
{
    int fd = open_for(call);

    if (fd != -ENOENT)
        return fd;
    fd = dup(call->is_send ? call->mounted->send_fd : call->mounted->recv_fd);
    fcntl(fd, F_SETFL, call->nonblock ? O_NONBLOCK : 0);
    return fd;
}

static void *run(void *arg)
{
    struct call *call = arg;
    int fd = open_or_borrow(call);
    ssize_t n = fd;

    if (fd >= 0) {
        n = call->is_send ? write(fd, call->data, call->size) : read(fd, call->data, call->size);
        n = n < 0 ? -errno : n;
        close(fd);
    }
    call->result = n;
    call->ended = true;
    return NULL;
}

static uint64_t n_waiting(struct call *call)
{
    struct mbox_stat stat;
    int fd = open_file(call->mounted, "stat", O_RDONLY);

    /* The box is gone: nobody waits. */
    if (fd < 0)
        return 0;
    close(fd);
    get_stat(call->mounted, &stat);
    return call->is_send ? stat.n_senders_waiting : stat.n_receivers_waiting;
}

/* Starts @call; it has ended or waits on return. */
static struct call *start(struct call *call)
{
    uint64_t n_before = n_waiting(call);
    int64_t end = now_ns() + PATIENCE_NS;

    cr_assert_eq(pthread_create(&call->thread, NULL, run, call), 0);
    while (!call->ended && n_waiting(call) <= n_before) {
        cr_assert_lt(now_ns(), end, "a call neither ends nor waits");
        nap();
    }
    return call;
}

static struct call *start_send(void *box, const void *data, size_t size, unsigned int prio,
                               bool nonblock)
{
    struct call *call = calloc(1, sizeof(*call));

    *call = (struct call){ .mounted = box, .is_send = true, .nonblock = nonblock, .prio = prio };
    call->size = size;
    call->data = malloc(size);
    memcpy(call->data, data, size);
    return start(call);
}

static struct call *start_recv(void *box, size_t max_bytes, bool nonblock)
{
    struct call *call = calloc(1, sizeof(*call));

    *call = (struct call){ .mounted = box, .nonblock = nonblock, .size = max_bytes };
    call->data = malloc(max_bytes);
    return start(call);
}

static bool has_ended(struct call *call)
{
    return call->ended;
}

static void interrupt(struct call *call)
{
    pthread_kill(call->thread, SIGUSR1);
}

static ssize_t finish(struct call *call, void *data)
{
    int64_t end = now_ns() + PATIENCE_NS;
    ssize_t n;

    while (!call->ended) {
        cr_assert_lt(now_ns(), end, "a call that should have ended waits");
        nap();
    }
    pthread_join(call->thread, NULL);
    n = call->result;
    if (n > 0 && data)
        memcpy(data, call->data, (size_t)n);
    free(call->data);
    free(call);
    return n;
}

const struct driver contract_driver = {
    .make = make,
    .destroy = destroy,
    .configure = configure,
    .stat = get_stat,
    .remove = remove_box,
    .poll = poll_box,
    .start_send = start_send,
    .start_recv = start_recv,
    .has_ended = has_ended,
    .interrupt = interrupt,
    .finish = finish,
};
