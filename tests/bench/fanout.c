/* ipcfs-fanout KIND WHERE SUBSCRIBERS MESSAGES BYTES BATCH: how many messages a second one publisher and a number of subscribers,
 * each a process, get from one to the others. Prints it, delivered messages, as a number.
 *
 * KIND and WHERE: topic, the path of a topic (a write of BATCH lines); send, the same (a write a message); redis, the path of a
 * socket (PUBLISH, BATCH commands and then their answers); nats, a port (PUB, BATCH of them). All messages arrive, or it waits for
 * ever: run it under timeout(1).
 *
 * Subscribers count the bytes AT in what they read, of which each message has one and no protocol's frame any: what
 * a client does with a message costs the same for all. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AT '@'
#define BUFFER_BYTES (128 << 10) /* as cat(1) */

struct fanout {
    const struct kind *kind;
    const char *where;
    size_t n_subscribers;
    size_t n_messages;
    size_t n_bytes;
    size_t n_batch;
};

struct kind {
    const char *name;
    /* Return: what is published is to be read from this. */
    int (*subscribe)(const struct fanout *fanout, size_t which);
    int (*connect)(const struct fanout *fanout);
    /* Appends how one message is published to @to. Return: its end. */
    char *(*put)(const struct fanout *fanout, const char *message, char *to);
    /* Each message has an answer, a line. */
    bool is_answered;
    bool is_single; /* a write a message */
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void write_all(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t n_written = write(fd, data, n);

        if (n_written < 0)
            fail("write");
        data += n_written;
        n -= (size_t)n_written;
    }
}

static size_t count(const char *data, size_t n, char c)
{
    const char *end = data + n;
    size_t found = 0;

    while ((data = memchr(data, c, (size_t)(end - data)))) {
        found++;
        data++;
    }
    return found;
}

/* Reads until there were @n bytes @c. */
static void read_until(int fd, size_t n, char c)
{
    static char buffer[BUFFER_BYTES];

    while (n > 0) {
        ssize_t n_read = read(fd, buffer, sizeof(buffer));
        size_t found;

        if (n_read <= 0)
            fail("read");
        found = count(buffer, (size_t)n_read, c);
        n -= found < n ? found : n;
    }
}

/* --- topics --- */

static int open_in(const struct fanout *fanout, const char *file, int flags)
{
    char *path;
    int fd;

    if (asprintf(&path, "%s/%s", fanout->where, file) < 0)
        fail("asprintf");
    fd = open(path, flags);
    if (fd < 0)
        fail(path);
    free(path);
    return fd;
}

static int topic_subscribe(const struct fanout *fanout, size_t which)
{
    static const char config[] = "messages=max\nbytes=1G\n";
    char path[4096];
    int fd;

    snprintf(path, sizeof(path), "%s/sub/%zu", fanout->where, which);
    if (mkdir(path, 0700) < 0)
        fail(path);
    snprintf(path, sizeof(path), "sub/%zu/config", which);
    fd = open_in(fanout, path, O_WRONLY);
    write_all(fd, config, strlen(config));
    close(fd);
    snprintf(path, sizeof(path), "sub/%zu/recv.lines", which);
    return open_in(fanout, path, O_RDONLY);
}

static int topic_connect(const struct fanout *fanout)
{
    return open_in(fanout, fanout->kind->is_single ? "send" : "send.lines", O_WRONLY);
}

static char *put_line(const struct fanout *fanout, const char *message, char *to)
{
    to = mempcpy(to, message, fanout->n_bytes);
    *to++ = '\n';
    return to;
}

/* --- brokers --- */

static int redis_connect(const struct fanout *fanout)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", fanout->where);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail(fanout->where);
    return fd;
}

static int redis_subscribe(const struct fanout *fanout, size_t which)
{
    static const char command[] = "SUBSCRIBE news\r\n";
    int fd = redis_connect(fanout);

    (void)which;
    write_all(fd, command, strlen(command));
    /* "*3", "$9", "subscribe", "$4", "news", ":1" */
    read_until(fd, 6, '\n');
    return fd;
}

static char *redis_put(const struct fanout *fanout, const char *message, char *to)
{
    to += sprintf(to, "*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$%zu\r\n", fanout->n_bytes);
    to = mempcpy(to, message, fanout->n_bytes);
    return to + sprintf(to, "\r\n");
}

static int nats_connect(const struct fanout *fanout)
{
    static const char hello[] = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n";
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((in_port_t)atoi(fanout->where)) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail("nats");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    write_all(fd, hello, strlen(hello));
    /* INFO, PONG */
    read_until(fd, 2, '\n');
    return fd;
}

static int nats_subscribe(const struct fanout *fanout, size_t which)
{
    static const char command[] = "SUB news 1\r\nPING\r\n";
    int fd = nats_connect(fanout);

    (void)which;
    write_all(fd, command, strlen(command));
    read_until(fd, 1, '\n');
    return fd;
}

static char *nats_put(const struct fanout *fanout, const char *message, char *to)
{
    to += sprintf(to, "PUB news %zu\r\n", fanout->n_bytes);
    to = mempcpy(to, message, fanout->n_bytes);
    return to + sprintf(to, "\r\n");
}

static const struct kind kinds[] = {
    { "topic", topic_subscribe, topic_connect, put_line, false, false },
    { "send", topic_subscribe, topic_connect, put_line, false, true },
    { "redis", redis_subscribe, redis_connect, redis_put, true, false },
    { "nats", nats_subscribe, nats_connect, nats_put, false, false },
};

/* --- the run --- */

static void publish(const struct fanout *fanout, int fd)
{
    char *message = malloc(fanout->n_bytes);
    char *batch = malloc(fanout->n_batch * (fanout->n_bytes + 128));
    size_t n_batch = fanout->kind->is_single ? 1 : fanout->n_batch;
    char *end = batch;

    memset(message, 'x', fanout->n_bytes);
    message[0] = AT;
    for (size_t i = 0; i < n_batch; i++)
        end = fanout->kind->put(fanout, message, end);
    for (size_t n = 0; n < fanout->n_messages; n += n_batch) {
        write_all(fd, batch, (size_t)(end - batch));
        if (fanout->kind->is_answered)
            read_until(fd, n_batch, '\n');
    }
    free(message);
    free(batch);
}

static void start_subscriber(const struct fanout *fanout, size_t which, int ready)
{
    pid_t pid = fork();
    int fd;

    if (pid < 0)
        fail("fork");
    if (pid > 0)
        return;
    fd = fanout->kind->subscribe(fanout, which);
    write_all(ready, "r", 1);
    read_until(fd, fanout->n_messages, AT);
    _exit(0);
}

static double seconds(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double run(const struct fanout *fanout)
{
    double start;
    int ready[2];
    int status;
    int fd;

    if (pipe(ready) < 0)
        fail("pipe");
    for (size_t i = 0; i < fanout->n_subscribers; i++)
        start_subscriber(fanout, i, ready[1]);
    read_until(ready[0], fanout->n_subscribers, 'r');
    fd = fanout->kind->connect(fanout);
    start = seconds();
    publish(fanout, fd);
    for (size_t i = 0; i < fanout->n_subscribers; i++) {
        if (wait(&status) < 0 || status != 0)
            exit(1);
    }
    return seconds() - start;
}

int main(int argc, char **argv)
{
    struct fanout fanout = { 0 };

    if (argc != 7) {
        fprintf(stderr, "usage: %s KIND WHERE SUBSCRIBERS MESSAGES BYTES BATCH\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(argv[1], kinds[i].name) == 0)
            fanout.kind = &kinds[i];
    }
    fanout.where = argv[2];
    fanout.n_subscribers = strtoul(argv[3], NULL, 10);
    fanout.n_batch = strtoul(argv[6], NULL, 10);
    fanout.n_messages = strtoul(argv[4], NULL, 10) / fanout.n_batch * fanout.n_batch;
    fanout.n_bytes = strtoul(argv[5], NULL, 10);
    if (!fanout.kind || fanout.n_subscribers == 0 || fanout.n_messages == 0 || fanout.n_bytes == 0)
        return 2;
    printf("%.0f\n", (double)(fanout.n_subscribers * fanout.n_messages) / run(&fanout));
    return 0;
}
