/* Single messages come from recv, byte for byte; streams without end from recv.lines; envelopes from
 * recv.json. */
#include "receiving.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "wait.h"
#include "why.h"

#define BUFFER_BYTES (1 << 20)

/* Shorter than any envelope: a read of so much takes one message and no more. */
#define FIRST_READ_BYTES 32

struct receiving {
    const struct object *object;
    const char *file; /* what is read */
    int dir_fd;       /* the object's, by whatever name by now; -1: not open */
    int fd;           /* the file's; -1: not open */
    int flags;        /* that it has beside O_NONBLOCK */
    int64_t timeout_ns;
    struct why_owner owner;
    char *buffer;  /* BUFFER_BYTES */
    bool has_come; /* something was printed */
};

/* Return: 0 with the file open from its start; a negative errno. */
static int reopen(struct receiving *receiving)
{
    util_close(&receiving->fd);
    receiving->fd = openat(receiving->dir_fd, receiving->file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    return receiving->fd < 0 ? -errno : 0;
}

/* The first read of a message: waits for it, and not for ever. Return: its length; -ETIMEDOUT; another
 * negative errno. */
static ssize_t wait_read(struct receiving *receiving, size_t n_bytes)
{
    ssize_t n;

    if (fcntl(receiving->fd, F_SETFL, receiving->flags | O_NONBLOCK) < 0)
        return -errno;
    n = read(receiving->fd, receiving->buffer, n_bytes);
    if (n >= 0 || errno != EAGAIN || receiving->timeout_ns == 0)
        return n < 0 ? -errno : n;
    why_forget_owner(&receiving->owner);
    why_note_owner(&receiving->owner, receiving->object);
    if (fcntl(receiving->fd, F_SETFL, receiving->flags) < 0)
        return -errno;
    wait_start(receiving->timeout_ns);
    do
        n = read(receiving->fd, receiving->buffer, n_bytes);
    while (n < 0 && errno == EINTR && !wait_is_over());
    if (n < 0)
        n = errno == EINTR ? -ETIMEDOUT : -errno;
    wait_stop();
    return n;
}

/* What follows of a message that is taken already: never waits. */
static ssize_t read_rest(struct receiving *receiving)
{
    ssize_t n;

    do
        n = read(receiving->fd, receiving->buffer, BUFFER_BYTES);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static void receiving_print(struct receiving *receiving, const char *data, size_t n_bytes)
{
    int r = write_all(STDOUT_FILENO, data, n_bytes);

    if (r < 0)
        die(EXIT_STATUS_FAILED, "can't write the output: %s; the message is taken and lost",
            strerror(-r));
    receiving->has_come = true;
}

/* Up to its end, which is an end of file. Return: 0; a negative errno. */
static int receive_message(struct receiving *receiving, bool adds_newline)
{
    ssize_t n = wait_read(receiving, BUFFER_BYTES);
    char last = '\0';

    while (n > 0) {
        receiving_print(receiving, receiving->buffer, (size_t)n);
        last = receiving->buffer[n - 1];
        n = read_rest(receiving);
    }
    if (n == 0 && adds_newline && last != '\n')
        receiving_print(receiving, "\n", 1);
    return (int)n;
}

/* Up to its newline. Return: 0; a negative errno. */
static int receive_envelope(struct receiving *receiving)
{
    ssize_t n = wait_read(receiving, FIRST_READ_BYTES);

    while (n > 0) {
        receiving_print(receiving, receiving->buffer, (size_t)n);
        if (receiving->buffer[n - 1] == '\n')
            return 0;
        n = read_rest(receiving);
    }
    /* The stream's end: the mailbox is gone. */
    return n < 0 ? (int)n : -EIDRM;
}

static int receive_stream(struct receiving *receiving)
{
    ssize_t n;

    while ((n = wait_read(receiving, BUFFER_BYTES)) > 0)
        receiving_print(receiving, receiving->buffer, (size_t)n);
    return n < 0 ? (int)n : -EIDRM;
}

/* One open, one message. Return: 0; a negative errno. */
static int receive_messages(struct receiving *receiving, uint64_t n)
{
    int r = 0;

    for (uint64_t i = 0; i < n && r == 0; i++) {
        if (i > 0)
            r = reopen(receiving);
        /* It was there. */
        if (r == -ENOENT)
            r = -EIDRM;
        if (r == 0)
            r = receive_message(receiving, n > 1);
    }
    return r;
}

/* A packet is a message; one that is longer is read as on any other handle, up to its end. */
static int receive_packet(struct receiving *receiving)
{
    ssize_t n;

    receiving->flags = O_DIRECT;
    n = wait_read(receiving, BUFFER_BYTES);
    if (n == -EMSGSIZE) {
        receiving->flags = 0;
        return receive_message(receiving, true);
    }
    if (n < 0)
        return (int)n;
    receiving_print(receiving, receiving->buffer, (size_t)n);
    if (n == 0 || receiving->buffer[n - 1] != '\n')
        receiving_print(receiving, "\n", 1);
    return 0;
}

/* All through one handle: who opens another may miss what comes in between. */
static int receive_packets(struct receiving *receiving, uint64_t n)
{
    int r = 0;

    for (uint64_t i = 0; i < n && r == 0; i++)
        r = receive_packet(receiving);
    return r;
}

static int receive_envelopes(struct receiving *receiving, uint64_t n)
{
    int r = 0;

    for (uint64_t i = 0; i < n && r == 0; i++)
        r = receive_envelope(receiving);
    return r;
}

static int receive(struct receiving *receiving, const struct receiving_options *options)
{
    if (options->follow)
        return receive_stream(receiving);
    if (options->json)
        return receive_envelopes(receiving, options->count);
    if (options->one_handle)
        return receive_packets(receiving, options->count);
    return receive_messages(receiving, options->count);
}

static const char *file_of(const struct receiving_options *options)
{
    if (options->json)
        return "recv.json";
    return options->follow ? "recv.lines" : "recv";
}

static enum exit_status status_of(int r)
{
    if (r == -ETIMEDOUT || r == -EAGAIN)
        return EXIT_STATUS_NOTHING_CAME;
    return r < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_OK;
}

static void receiving_say_failed(const struct receiving *receiving, const char *file, int error)
{
    AUTO_FREE char *time = wait_show(receiving->timeout_ns);

    if (error == ETIMEDOUT)
        say("no message came to %s within %s", receiving->object->shown, time);
    else if (error == EAGAIN)
        say("no message waits in %s", receiving->object->shown);
    else if (error == EIDRM)
        why_say_gone(receiving->object, &receiving->owner);
    else
        why_say(receiving->object, "receive from", file, error);
}

enum exit_status receiving_run(const struct object *object, const struct receiving_options *options)
{
    struct receiving receiving = {
        .object = object,
        .file = file_of(options),
        .dir_fd = open(object->path, O_PATH | O_CLOEXEC),
        .fd = -1,
        .timeout_ns = options->timeout_ns,
    };
    int r = receiving.dir_fd < 0 ? -errno : reopen(&receiving);

    if (r == 0) {
        receiving.buffer = xrealloc(NULL, BUFFER_BYTES, 1);
        r = receive(&receiving, options);
        free(receiving.buffer);
    }
    util_close(&receiving.fd);
    util_close(&receiving.dir_fd);
    /* Nothing more to come is how a stream with a timeout ends. */
    if (options->follow && receiving.has_come && (r == -ETIMEDOUT || r == -EAGAIN))
        r = 0;
    if (r < 0)
        receiving_say_failed(&receiving, receiving.file, -r);
    why_forget_owner(&receiving.owner);
    return status_of(r);
}

error_t receiving_parse(int key, char *arg, struct argp_state *state,
                        struct receiving_options *options)
{
    switch (key) {
    case 't':
        options->timeout_ns = ctl_timeout(state, arg);
        return 0;
    case 'n':
        options->count = ctl_number(state, "count", arg, 0, INT64_MAX);
        options->has_count = true;
        return 0;
    case RECEIVING_KEY_JSON:
        options->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}
