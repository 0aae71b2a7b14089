/* ipcfs-call KIND WHERE CALLS BYTES: how long a call and its answer take, of BYTES each, one after the other between two processes. Each
 * answer is compared with what was asked. Prints the median, what 99.9 % stay below, both in microseconds, and calls a second.
 *
 * KIND and WHERE: call, the path of a mailbox, whose server reads envelopes and writes to reply/ID; dbus, the path of a bus's socket (a
 * method call and its return); redis, the path of a socket (LPUSH and BLPOP there and back, for a question and its answer are two lists).
 * What is spoken to the brokers is written by hand, so that no client library is in their figures. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "dbus.h"

#define BYTES_MAX 65536
#define N_WARM_UP 200

struct kind {
    const char *name;
    /* In the server's process: gets ready, and says so on @ready; answers for ever. */
    void (*serve)(const char *where, size_t n_bytes, int ready);
    /* In the caller's, when the server is ready, which said @greeting. */
    void (*connect)(const char *where, const char *greeting);
    /* Asks @question, and puts the answer, of as many bytes, into @ret_answer. */
    void (*call)(const char *question, size_t n_bytes, char *ret_answer);
};

__attribute__((noreturn)) static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void write_all(int fd, const char *data, size_t n)
{
    if (write(fd, data, n) != (ssize_t)n)
        fail("write");
}

static void read_whole(int fd, char *data, size_t n)
{
    while (n > 0) {
        ssize_t n_read = read(fd, data, n);

        if (n_read <= 0)
            fail("read");
        data += n_read;
        n -= (size_t)n_read;
    }
}

static void say_ready(int ready, const char *greeting)
{
    char line[64] = { 0 };

    snprintf(line, sizeof(line), "%s", greeting);
    write_all(ready, line, sizeof(line));
}

/* --- mailboxes --- */

static int asker = -1;

static int open_in(const char *where, const char *file, int flags)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", where, file);
    fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        fail(path);
    return fd;
}

static void answer(const char *where, unsigned long long id, const char *data, size_t n)
{
    char file[64];
    int fd;

    snprintf(file, sizeof(file), "reply/%llu", id);
    fd = open_in(where, file, O_WRONLY);
    write_all(fd, data, n);
    close(fd);
}

/* The answer is the question's text, which stands last in its envelope. */
static void serve_envelopes(const char *where, size_t n_bytes, int ready)
{
    static char envelope[BYTES_MAX + 4096];
    int fd = open_in(where, "recv.json", O_RDONLY);

    say_ready(ready, "");
    for (;;) {
        ssize_t n = read(fd, envelope, sizeof(envelope) - 1);
        const char *id, *text;

        if (n <= 0)
            fail("recv.json");
        envelope[n] = '\0';
        id = strstr(envelope, "\"id\":");
        text = strstr(envelope, "\"text\":\"");
        if (!id || !text)
            fail(envelope);
        answer(where, strtoull(id + 5, NULL, 10), text + 8, n_bytes);
    }
}

static void connect_mailbox(const char *where, const char *greeting)
{
    (void)greeting;
    asker = open_in(where, "call", O_RDWR);
}

static void call_mailbox(const char *question, size_t n_bytes, char *ret_answer)
{
    write_all(asker, question, n_bytes);
    read_whole(asker, ret_answer, n_bytes);
}

/* --- D-Bus --- */

static struct dbus bus;
static char server[64];

static void serve_bus(const char *where, size_t n_bytes, int ready)
{
    char *out = malloc(n_bytes + DBUS_FRAME_BYTES);

    dbus_open(&bus, where);
    say_ready(ready, bus.name);
    for (uint32_t serial = 100;; serial++) {
        struct dbus_message message;
        struct dbus_header header = { .type = DBUS_RETURN, .serial = serial };

        dbus_await(&bus, DBUS_CALL, &message);
        header.reply_serial = message.serial;
        header.destination = message.sender;
        dbus_write(&bus, out,
                   (size_t)(dbus_put(out, &header, message.body + 4, message.n_body - 4) - out));
    }
}

static void connect_bus(const char *where, const char *greeting)
{
    dbus_open(&bus, where);
    snprintf(server, sizeof(server), "%s", greeting);
}

static void call_bus(const char *question, size_t n_bytes, char *ret_answer)
{
    static char out[BYTES_MAX + DBUS_FRAME_BYTES];
    static uint32_t serial = 100;
    struct dbus_message message;
    const struct dbus_header header = { .type = DBUS_CALL,
                                        .serial = ++serial,
                                        .destination = server,
                                        .path = "/calc",
                                        .interface = "org.example.Calc",
                                        .member = "Echo" };

    dbus_write(&bus, out, (size_t)(dbus_put(out, &header, question, n_bytes) - out));
    do
        dbus_await(&bus, DBUS_RETURN, &message);
    while (message.reply_serial != serial);
    memcpy(ret_answer, message.body + 4, n_bytes);
}

/* --- Redis --- */

static int redis = -1;

static void connect_redis(const char *where, const char *greeting)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    (void)greeting;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", where);
    redis = socket(AF_UNIX, SOCK_STREAM, 0);
    if (redis < 0 || connect(redis, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail(where);
}

static char *put_push(char *to, char list, const char *data, size_t n)
{
    to += sprintf(to, "*3\r\n$5\r\nLPUSH\r\n$1\r\n%c\r\n$%zu\r\n", list, n);
    to = (char *)memcpy(to, data, n) + n;
    return to + sprintf(to, "\r\n");
}

static char *put_pop(char *to, char list)
{
    return to + sprintf(to, "*3\r\n$5\r\nBLPOP\r\n$1\r\n%c\r\n$1\r\n0\r\n", list);
}

/* Reads the answers to a push, if there was one, and to a pop: ":1", "*2", "$1", the list, "$n", what was there. */
static void read_popped(bool is_after_push, char *ret_data, size_t n)
{
    static char buffer[BYTES_MAX + 256];
    char expected[64];
    size_t n_frame = (size_t)snprintf(expected, sizeof(expected), "%s*2\r\n$1\r\nx\r\n$%zu\r\n",
                                      is_after_push ? ":1\r\n" : "", n);

    read_whole(redis, buffer, n_frame + n + 2);
    memcpy(ret_data, buffer + n_frame, n);
}

static void serve_redis(const char *where, size_t n_bytes, int ready)
{
    static char out[BYTES_MAX + 512], question[BYTES_MAX];
    char *end = put_pop(out, 'q');

    connect_redis(where, NULL);
    say_ready(ready, "");
    write_all(redis, out, (size_t)(end - out));
    read_popped(false, question, n_bytes);
    for (;;) {
        end = put_pop(put_push(out, 'a', question, n_bytes), 'q');
        write_all(redis, out, (size_t)(end - out));
        read_popped(true, question, n_bytes);
    }
}

static void call_redis(const char *question, size_t n_bytes, char *ret_answer)
{
    static char out[BYTES_MAX + 512];
    char *end = put_pop(put_push(out, 'q', question, n_bytes), 'a');

    write_all(redis, out, (size_t)(end - out));
    read_popped(true, ret_answer, n_bytes);
}

static const struct kind kinds[] = {
    { "call", serve_envelopes, connect_mailbox, call_mailbox },
    { "dbus", serve_bus, connect_bus, call_bus },
    { "redis", serve_redis, connect_redis, call_redis },
};

/* --- the run --- */

static double seconds(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;

    return (difference > 0) - (difference < 0);
}

/* Question @i, of printable bytes: it is in an envelope as it is. */
static void fill(char *question, size_t n_bytes, size_t i)
{
    for (size_t at = 0; at < n_bytes; at++) {
        question[at] = (char)('a' + i % 26);
        i = at % 8 == 7 ? i + 7 : i / 26 + at;
    }
}

static double call_once(const struct kind *kind, size_t n_bytes, size_t i)
{
    static char question[BYTES_MAX], got[BYTES_MAX];
    double start;

    fill(question, n_bytes, i);
    start = seconds();
    kind->call(question, n_bytes, got);
    start = seconds() - start;
    if (memcmp(question, got, n_bytes) != 0) {
        fprintf(stderr, "%s: the answer to %zu is another's\n", kind->name, i);
        exit(1);
    }
    return start * 1e6;
}

static void measure(const struct kind *kind, size_t n_calls, size_t n_bytes)
{
    double *times = calloc(n_calls, sizeof(*times));
    double start;

    if (!times)
        fail("calloc");
    for (size_t i = 0; i < N_WARM_UP; i++)
        call_once(kind, n_bytes, i);
    start = seconds();
    for (size_t i = 0; i < n_calls; i++)
        times[i] = call_once(kind, n_bytes, i);
    start = seconds() - start;
    qsort(times, n_calls, sizeof(*times), compare);
    printf("%.1f %.1f %.0f\n", times[n_calls / 2], times[n_calls - 1 - n_calls / 1000],
           (double)n_calls / start);
    free(times);
}

static pid_t start_server(const struct kind *kind, const char *where, size_t n_bytes,
                          char greeting[64])
{
    int ready[2];
    pid_t pid;

    if (pipe(ready) < 0 || (pid = fork()) < 0)
        fail("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        kind->serve(where, n_bytes, ready[1]);
        _exit(1);
    }
    close(ready[1]);
    read_whole(ready[0], greeting, 64);
    return pid;
}

int main(int argc, char **argv)
{
    const struct kind *kind = NULL;
    char greeting[64];
    size_t n_calls, n_bytes;
    pid_t pid;

    for (size_t i = 0; argc == 5 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(argv[1], kinds[i].name) == 0)
            kind = &kinds[i];
    }
    n_calls = kind ? strtoul(argv[3], NULL, 10) : 0;
    n_bytes = kind ? strtoul(argv[4], NULL, 10) : 0;
    if (n_calls == 0 || n_bytes == 0 || n_bytes > BYTES_MAX) {
        fprintf(stderr, "usage: %s KIND WHERE CALLS BYTES\n", argv[0]);
        return 2;
    }
    pid = start_server(kind, argv[2], n_bytes, greeting);
    kind->connect(argv[2], greeting);
    measure(kind, n_calls, n_bytes);
    kill(pid, SIGKILL);
    return 0;
}
