/* ipcfs-call KIND WHERE CALLS BYTES ASKERS: how long a call and its answer take, of BYTES each, one after the other, of ASKERS
 * processes that ask one server at the same time. Each answer is compared with what was asked. Prints the median, what 99 % stay
 * below, both in microseconds, and calls a second of all together.
 *
 * ipcfs-call KIND WHERE serve BYTES: serves until it is ended, for others to ask; prints what they need to know.
 *
 * KIND and WHERE: call or work, the path of a mailbox, whose server reads envelopes and answers by reply/ID, or by one work.json;
 * dbus, the path of a bus's socket (a method call and its return); redis, the path of a socket (LPUSH and BLPOP there and back, for
 * a question and its answer are two lists: one asker). What is spoken to these is written by hand, so that no client library is in
 * their figures; libdbus, sdbus and gdbus speak to the same bus by the libraries that people use. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "call_kind.h"
#include "dbus.h"

#define BYTES_MAX CALL_BYTES_MAX
#define N_WARM_UP 200

void call_fail(const char *what)
{
    perror(what);
    exit(1);
}

static void write_all(int fd, const char *data, size_t n)
{
    if (write(fd, data, n) != (ssize_t)n)
        call_fail("write");
}

static void read_whole(int fd, char *data, size_t n)
{
    while (n > 0) {
        ssize_t n_read = read(fd, data, n);

        if (n_read <= 0)
            call_fail("read");
        data += n_read;
        n -= (size_t)n_read;
    }
}

void call_say_ready(int ready, const char *greeting)
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
        call_fail(path);
    return fd;
}

static void answer_by_reply(const char *where, int fd, unsigned long long id, const char *data,
                            size_t n)
{
    char file[64];

    (void)fd;
    snprintf(file, sizeof(file), "reply/%llu", id);
    fd = open_in(where, file, O_WRONLY);
    write_all(fd, data, n);
    close(fd);
}

/* Goes to the next envelope from @at on, whose id and text these are. Return: what follows it; NULL: there is none. */
static char *next_envelope(char *at, unsigned long long *ret_id, const char **ret_text)
{
    const char *id = strstr(at, "\"id\":");
    const char *text = strstr(at, "\"text\":\"");

    if (!*at)
        return NULL;
    if (!id || !text)
        call_fail(at);
    *ret_id = strtoull(id + 5, NULL, 10);
    *ret_text = text + 8;
    return strchr(text, '\n') + 1;
}

static ssize_t read_envelopes(int fd, char *envelopes, size_t size)
{
    ssize_t n = read(fd, envelopes, size - 1);

    if (n <= 0)
        call_fail("an envelope");
    envelopes[n] = '\0';
    return n;
}

/* The answer is the question's text, which stands last in its envelope. */
static void serve_envelopes(const char *where, size_t n_bytes, int ready)
{
    static char envelopes[BYTES_MAX + 4096];
    int fd = open_in(where, "recv.json", O_RDONLY);

    call_say_ready(ready, "");
    for (;;) {
        unsigned long long id;
        const char *text;
        char *at = envelopes;

        read_envelopes(fd, envelopes, sizeof(envelopes));
        while ((at = next_envelope(at, &id, &text)))
            answer_by_reply(where, fd, id, text, n_bytes);
    }
}

/* All that were read are answered by one write. */
static void serve_work(const char *where, size_t n_bytes, int ready)
{
    static char envelopes[BYTES_MAX + 4096], answers[BYTES_MAX + 4096];
    int fd = open_in(where, "work.json", O_RDWR);

    call_say_ready(ready, "");
    for (;;) {
        unsigned long long id;
        const char *text;
        char *at = envelopes;
        char *to = answers;

        read_envelopes(fd, envelopes, sizeof(envelopes));
        while ((at = next_envelope(at, &id, &text)))
            to += sprintf(to, "{\"id\":%llu,\"text\":\"%.*s\"}\n", id, (int)n_bytes, text);
        write_all(fd, answers, (size_t)(to - answers));
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
    size_t n;

    dbus_open(&bus, where);
    call_say_ready(ready, bus.name);
    for (uint32_t serial = 100;; serial++) {
        struct dbus_message message;
        struct dbus_header header = { .type = DBUS_RETURN, .serial = serial };

        dbus_await(&bus, DBUS_CALL, &message);
        header.reply_serial = message.serial;
        header.destination = message.sender;
        n = message.n_body < 4 ? 0 : message.n_body - 4;
        dbus_write(&bus, out, (size_t)(dbus_put(out, &header, message.body + 4, n) - out));
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
                                        .path = CALL_PATH,
                                        .interface = CALL_INTERFACE,
                                        .member = CALL_METHOD };

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
        call_fail(where);
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
    call_say_ready(ready, "");
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

static const struct call_kind by_reply = { "call", serve_envelopes, connect_mailbox, call_mailbox };
static const struct call_kind by_work = { "work", serve_work, connect_mailbox, call_mailbox };
static const struct call_kind by_dbus = { "dbus", serve_bus, connect_bus, call_bus };
static const struct call_kind by_redis = { "redis", serve_redis, connect_redis, call_redis };

static const struct call_kind *const kinds[] = {
    &by_reply,     &by_work, &by_dbus, &by_redis,
#ifdef HAVE_LIBDBUS
    &call_libdbus,
#endif
#ifdef HAVE_SDBUS
    &call_sdbus,
#endif
#ifdef HAVE_GDBUS
    &call_gdbus,
#endif
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

static double call_once(const struct call_kind *kind, size_t n_bytes, size_t i)
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

/* What askers share. */
struct run {
    const struct call_kind *kind;
    const char *where;
    const char *greeting;
    size_t n_bytes;
    size_t n_calls; /* of each asker */
    int ready[2];   /* a byte of each that is */
    int start[2];   /* its end is the start */
};

/* Has the process to itself. */
static void ask(const struct run *run, double *times)
{
    char byte = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(run->start[1]);
    run->kind->connect(run->where, run->greeting);
    for (size_t i = 0; i < N_WARM_UP; i++)
        call_once(run->kind, run->n_bytes, i);
    write_all(run->ready[1], &byte, 1);
    if (read(run->start[0], &byte, 1) != 0)
        call_fail("start");
    for (size_t i = 0; i < run->n_calls; i++)
        times[i] = call_once(run->kind, run->n_bytes, i);
}

static void start_askers(struct run *run, double *times, size_t n_askers)
{
    for (size_t i = 0; i < n_askers; i++) {
        pid_t pid = fork();
        char byte;

        if (pid < 0)
            call_fail("fork");
        if (pid == 0) {
            ask(run, times + i * run->n_calls);
            _exit(0);
        }
        read_whole(run->ready[0], &byte, 1);
    }
}

static void measure(struct run *run, size_t n_askers)
{
    size_t n = n_askers * run->n_calls;
    double *times = mmap(NULL, n * sizeof(*times), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double start;
    int status;

    if (times == MAP_FAILED || pipe(run->ready) < 0 || pipe(run->start) < 0)
        call_fail("measure");
    start_askers(run, times, n_askers);
    start = seconds();
    close(run->start[1]);
    for (size_t i = 0; i < n_askers; i++) {
        if (wait(&status) < 0 || status != 0)
            call_fail("an asker");
    }
    start = seconds() - start;
    qsort(times, n, sizeof(*times), compare);
    printf("%.1f %.1f %.0f\n", times[n / 2], times[n - 1 - n / 100], (double)n / start);
}

static pid_t start_server(const struct call_kind *kind, const char *where, size_t n_bytes,
                          char greeting[64])
{
    int ready[2];
    pid_t pid;

    if (pipe(ready) < 0 || (pid = fork()) < 0)
        call_fail("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        kind->serve(where, n_bytes, ready[1]);
        _exit(1);
    }
    close(ready[1]);
    read_whole(ready[0], greeting, 64);
    return pid;
}

static const struct call_kind *find_kind(const char *name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(name, kinds[i]->name) == 0)
            return kinds[i];
    }
    return NULL;
}

static int serve_others(const struct call_kind *kind, const char *where, size_t n_bytes)
{
    char greeting[64];
    pid_t pid = start_server(kind, where, n_bytes, greeting);

    printf("%s\n", greeting);
    fflush(stdout);
    waitpid(pid, NULL, 0);
    return 1;
}

static size_t number_of(const char *text, size_t max)
{
    size_t n = strtoul(text, NULL, 10);

    return n > max ? 0 : n;
}

int main(int argc, char **argv)
{
    struct run run = { .kind = argc < 5 ? NULL : find_kind(argv[1]) };
    char greeting[64];
    size_t n_askers;
    pid_t pid;

    run.n_bytes = run.kind ? number_of(argv[4], BYTES_MAX) : 0;
    run.where = argv[2];
    if (run.n_bytes && argc == 5 && strcmp(argv[3], "serve") == 0)
        return serve_others(run.kind, run.where, run.n_bytes);
    n_askers = argc == 6 ? number_of(argv[5], 1000) : 0;
    run.n_calls = n_askers ? number_of(argv[3], SIZE_MAX) / n_askers : 0;
    if (run.n_calls == 0 || run.n_bytes == 0) {
        fprintf(stderr, "usage: %s KIND WHERE CALLS|serve BYTES ASKERS\n", argv[0]);
        return 2;
    }
    pid = start_server(run.kind, run.where, run.n_bytes, greeting);
    run.greeting = greeting;
    measure(&run, n_askers);
    kill(pid, SIGKILL);
    return 0;
}
