/* ipcfs-fanout KIND WHERE SUBSCRIBERS MESSAGES BYTES BATCH: how many messages a second one publisher and a number of subscribers,
 * each a process, get from one to the others. Prints it, delivered messages, as a number. With BATCH 0 one is published when all
 * have the one before: prints how long that takes, the median and what 99.9 % stay below, in microseconds.
 *
 * KIND and WHERE: topic, the path of a topic (a write of BATCH lines); send, the same (a write a message); redis, the path of a
 * socket (PUBLISH, BATCH commands and then their answers); nats, a port (PUB, BATCH of them); dbus, the path of a bus's socket (BATCH
 * signals); zeromq, a path for its socket, where there is libzmq. All messages arrive, or it waits for ever: run it under timeout(1).
 *
 * Subscribers count the bytes AT in what they read, of which each message has one and no protocol's frame any; or messages, where
 * frames are binary. So what a client does with a message costs about the same for all. */
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

#include "dbus.h"

#ifdef HAVE_ZMQ
#include <zmq.h>
#endif

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
    /* Waits for @n messages at what subscribe has returned. NULL: counts AT. */
    void (*receive)(int fd, size_t n);
    /* Publishes @n messages at what connect has returned. NULL: puts and writes batches. */
    void (*publish)(const struct fanout *fanout, const char *message, size_t n);
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

/* --- D-Bus --- */

#define DBUS_INTERFACE "org.example.News"

static struct dbus bus; /* this process's */

static int bus_subscribe(const struct fanout *fanout, size_t which)
{
    (void)which;
    dbus_open(&bus, fanout->where);
    dbus_subscribe(&bus, DBUS_INTERFACE);
    return bus.fd;
}

static void bus_receive(int fd, size_t n)
{
    struct dbus_message message;

    (void)fd;
    while (n-- > 0)
        dbus_await(&bus, DBUS_SIGNAL, &message);
}

static int bus_connect(const struct fanout *fanout)
{
    dbus_open(&bus, fanout->where);
    return bus.fd;
}

static char *bus_put(const struct fanout *fanout, const char *message, char *to)
{
    static const struct dbus_header header = { .type = DBUS_SIGNAL,
                                               .serial = 1,
                                               .path = "/news",
                                               .interface = DBUS_INTERFACE,
                                               .member = "News" };

    return dbus_put(to, &header, message, fanout->n_bytes);
}

/* --- ZeroMQ --- */

#ifdef HAVE_ZMQ
static void *zmq_socket_of_mine;

static void zmq_open(int kind)
{
    static const int none = 0; /* no bound: nothing is dropped */

    zmq_socket_of_mine = zmq_socket(zmq_ctx_new(), kind);
    zmq_setsockopt(zmq_socket_of_mine, ZMQ_SNDHWM, &none, sizeof(none));
    zmq_setsockopt(zmq_socket_of_mine, ZMQ_RCVHWM, &none, sizeof(none));
}

static void zmq_address(const struct fanout *fanout, char address[256])
{
    snprintf(address, 256, "ipc://%s", fanout->where);
}

static int zeromq_subscribe(const struct fanout *fanout, size_t which)
{
    char address[256];

    (void)which;
    zmq_address(fanout, address);
    zmq_open(ZMQ_SUB);
    if (zmq_setsockopt(zmq_socket_of_mine, ZMQ_SUBSCRIBE, "", 0) < 0 ||
        zmq_connect(zmq_socket_of_mine, address) < 0)
        fail(address);
    return -1;
}

static void zeromq_receive(int fd, size_t n)
{
    static char buffer[BUFFER_BYTES];

    (void)fd;
    while (n-- > 0) {
        if (zmq_recv(zmq_socket_of_mine, buffer, sizeof(buffer), 0) < 0)
            fail("zmq_recv");
    }
}

/* Binds, and waits until all have subscribed. */
static int zeromq_connect(const struct fanout *fanout)
{
    static const int each = 1;
    char address[256];
    char subscription[16];

    zmq_address(fanout, address);
    zmq_open(ZMQ_XPUB);
    zmq_setsockopt(zmq_socket_of_mine, ZMQ_XPUB_VERBOSE, &each, sizeof(each));
    if (zmq_bind(zmq_socket_of_mine, address) < 0)
        fail(address);
    for (size_t i = 0; i < fanout->n_subscribers; i++) {
        if (zmq_recv(zmq_socket_of_mine, subscription, sizeof(subscription), 0) < 0)
            fail("zmq_recv");
    }
    return -1;
}

static void zeromq_publish(const struct fanout *fanout, const char *message, size_t n)
{
    while (n-- > 0) {
        if (zmq_send(zmq_socket_of_mine, message, fanout->n_bytes, 0) < 0)
            fail("zmq_send");
    }
}
#endif

static const struct kind kinds[] = {
    { .name = "topic", .subscribe = topic_subscribe, .connect = topic_connect, .put = put_line },
    { .name = "send",
      .subscribe = topic_subscribe,
      .connect = topic_connect,
      .put = put_line,
      .is_single = true },
    { .name = "redis",
      .subscribe = redis_subscribe,
      .connect = redis_connect,
      .put = redis_put,
      .is_answered = true },
    { .name = "nats", .subscribe = nats_subscribe, .connect = nats_connect, .put = nats_put },
    { .name = "dbus",
      .subscribe = bus_subscribe,
      .connect = bus_connect,
      .put = bus_put,
      .receive = bus_receive },
#ifdef HAVE_ZMQ
    { .name = "zeromq",
      .subscribe = zeromq_subscribe,
      .connect = zeromq_connect,
      .receive = zeromq_receive,
      .publish = zeromq_publish },
#endif
};

/* --- the run --- */

/* What is to be written for a number of messages. */
struct batch {
    char *message;
    char *data;
    size_t n_data;
    size_t n; /* messages */
};

static void prepare(const struct fanout *fanout, struct batch *batch)
{
    char *end;

    batch->n = fanout->kind->is_single || fanout->n_batch == 0 ? 1 : fanout->n_batch;
    batch->message = malloc(fanout->n_bytes);
    batch->data = malloc(batch->n * (fanout->n_bytes + DBUS_FRAME_BYTES));
    if (!batch->message || !batch->data)
        fail("malloc");
    memset(batch->message, 'x', fanout->n_bytes);
    batch->message[0] = AT;
    end = batch->data;
    for (size_t i = 0; i < batch->n && fanout->kind->put; i++)
        end = fanout->kind->put(fanout, batch->message, end);
    batch->n_data = (size_t)(end - batch->data);
}

static void publish_batch(const struct fanout *fanout, const struct batch *batch, int fd)
{
    if (fanout->kind->publish) {
        fanout->kind->publish(fanout, batch->message, batch->n);
        return;
    }
    write_all(fd, batch->data, batch->n_data);
    if (fanout->kind->is_answered)
        read_until(fd, batch->n, '\n');
}

static void receive(const struct fanout *fanout, int fd, size_t n)
{
    if (fanout->kind->receive)
        fanout->kind->receive(fd, n);
    else
        read_until(fd, n, AT);
}

/* A subscriber says on @ready that it is there; and that it has a message, where each is waited for. */
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
    if (fanout->n_batch > 0) {
        receive(fanout, fd, fanout->n_messages);
        _exit(0);
    }
    for (size_t i = 0; i < fanout->n_messages; i++) {
        receive(fanout, fd, 1);
        write_all(ready, "r", 1);
    }
    _exit(0);
}

static double seconds(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void await_ends(const struct fanout *fanout)
{
    int status;

    for (size_t i = 0; i < fanout->n_subscribers; i++) {
        if (wait(&status) < 0 || status != 0)
            exit(1);
    }
}

static void measure_rate(const struct fanout *fanout, const struct batch *batch, int fd)
{
    double start = seconds();

    for (size_t n = 0; n < fanout->n_messages; n += batch->n)
        publish_batch(fanout, batch, fd);
    await_ends(fanout);
    printf("%.0f\n", (double)(fanout->n_subscribers * fanout->n_messages) / (seconds() - start));
}

static int compare(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;

    return (difference > 0) - (difference < 0);
}

static void measure_delay(const struct fanout *fanout, const struct batch *batch, int fd, int ready)
{
    double *delays = calloc(fanout->n_messages, sizeof(*delays));

    if (!delays)
        fail("calloc");
    for (size_t i = 0; i < fanout->n_messages; i++) {
        double start = seconds();

        publish_batch(fanout, batch, fd);
        read_until(ready, fanout->n_subscribers, 'r');
        delays[i] = (seconds() - start) * 1e6;
    }
    await_ends(fanout);
    qsort(delays, fanout->n_messages, sizeof(*delays), compare);
    printf("%.1f %.1f\n", delays[fanout->n_messages / 2],
           delays[fanout->n_messages - 1 - fanout->n_messages / 1000]);
    free(delays);
}

static void run(const struct fanout *fanout)
{
    struct batch batch;
    int ready[2];
    int fd;

    if (pipe(ready) < 0)
        fail("pipe");
    for (size_t i = 0; i < fanout->n_subscribers; i++)
        start_subscriber(fanout, i, ready[1]);
    read_until(ready[0], fanout->n_subscribers, 'r');
    fd = fanout->kind->connect(fanout);
    prepare(fanout, &batch);
    if (fanout->n_batch > 0)
        measure_rate(fanout, &batch, fd);
    else
        measure_delay(fanout, &batch, fd, ready[0]);
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
    fanout.n_messages = strtoul(argv[4], NULL, 10);
    if (fanout.n_batch > 0)
        fanout.n_messages -= fanout.n_messages % fanout.n_batch;
    fanout.n_bytes = strtoul(argv[5], NULL, 10);
    if (!fanout.kind || fanout.n_subscribers == 0 || fanout.n_messages == 0 || fanout.n_bytes == 0)
        return 2;
    run(&fanout);
    return 0;
}
