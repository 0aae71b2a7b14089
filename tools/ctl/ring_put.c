/* From standard input into a ring, through its map. */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/lib/ipcring.h"
#include "progress.h"
#include "ring.h"
#include "ringarg.h"
#include "wait.h"

#define BUFFER_MIN_BYTES (1 << 20)
#define N_BATCH 512

struct options {
    struct common common;
    int64_t timeout_ns;
    bool prefixed;
    char *name;
};

enum { KEY_PREFIXED = 0x100 };

static const struct argp_option option_list[] = {
    { "prefixed", KEY_PREFIXED, NULL, 0,
      "Messages have their length before them, 4 bytes, little-endian; not lines" },
    { "timeout", 't', "TIME", 0, "Give up where the ring stays full for TIME; 0: don't wait" },
    { 0 },
};

static error_t put_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case KEY_PREFIXED:
        options->prefixed = true;
        return 0;
    case 't':
        options->timeout_ns = ctl_timeout(state, arg);
        return 0;
    default:
        return ctl_parse_name(key, arg, state, &options->common, &options->name,
                              "say into which ring: a NAME");
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = put_parse,
    .args_doc = "NAME",
    .doc =
        "Put each line of standard input into a ring as a message, without its newline. NAME may also be "
        "the path of a map.",
    .children = COMMON_CHILDREN,
};

struct putting {
    const struct ringarg *arg;
    const struct options *options;
    struct ipcring *ring;
    size_t message_bytes; /* the longest */
    char *buffer;
    size_t buffer_bytes;
    size_t n_buffered;
    size_t n_used; /* of what is buffered */
    struct ipcring_msg batch[N_BATCH];
    unsigned int n_batch;
    uint64_t n_put;
    struct progress progress;
};

static uint64_t bytes_of(const struct ipcring_msg *msgs, unsigned int n)
{
    uint64_t n_bytes = 0;

    for (unsigned int i = 0; i < n; i++)
        n_bytes += msgs[i].n_bytes;
    return n_bytes;
}

/* Puts the batch into the ring, all of it. Return: 0; a negative errno. */
static int flush(struct putting *putting)
{
    for (unsigned int n = 0; n < putting->n_batch;) {
        int r = ipcring_produce_batch(putting->ring, putting->batch + n, putting->n_batch - n,
                                      putting->options->timeout_ns);

        if (r < 0 && r != -EINTR)
            return r;
        if (r > 0) {
            putting->n_put += (unsigned int)r;
            progress_add(&putting->progress, (unsigned int)r,
                         bytes_of(putting->batch + n, (unsigned int)r));
            n += (unsigned int)r;
        }
    }
    putting->n_batch = 0;
    return 0;
}

static int put_add(struct putting *putting, char *data, size_t n_bytes)
{
    if (n_bytes > putting->message_bytes)
        return -EMSGSIZE;
    putting->batch[putting->n_batch++] = (struct ipcring_msg){ data, n_bytes };
    return putting->n_batch == N_BATCH ? flush(putting) : 0;
}

/* A line that has not ended yet waits for the rest, unless that is not to come. Return: 1: one was
 * taken; 0: none is there; a negative errno. */
static int put_take_line(struct putting *putting, bool at_end)
{
    char *line = putting->buffer + putting->n_used;
    size_t n_left = putting->n_buffered - putting->n_used;
    char *newline = memchr(line, '\n', n_left);
    size_t n_bytes = newline ? (size_t)(newline - line) : n_left;
    int r;

    if (!newline && !(at_end && n_left > 0))
        return n_left > putting->message_bytes ? -EMSGSIZE : 0;
    r = put_add(putting, line, n_bytes);
    putting->n_used += n_bytes + (newline != NULL);
    return r < 0 ? r : 1;
}

static int take_prefixed(struct putting *putting, bool at_end)
{
    char *data = putting->buffer + putting->n_used;
    size_t n_left = putting->n_buffered - putting->n_used;
    uint32_t length;
    int r;

    if (n_left == 0)
        return 0;
    if (n_left < sizeof(length))
        return at_end ? -ENODATA : 0;
    memcpy(&length, data, sizeof(length));
    length = le32toh(length);
    if (length > putting->message_bytes)
        return -EMSGSIZE;
    if (n_left < sizeof(length) + length)
        return at_end ? -ENODATA : 0;
    r = put_add(putting, data + sizeof(length), length);
    putting->n_used += sizeof(length) + length;
    return r < 0 ? r : 1;
}

/* All that is buffered and whole. What precedes a message that can't be put goes in. */
static int take_buffered(struct putting *putting, bool at_end)
{
    int flushed;
    int r;

    do
        r = putting->options->prefixed ? take_prefixed(putting, at_end)
                                       : put_take_line(putting, at_end);
    while (r > 0);
    if (r < 0 && r != -EMSGSIZE && r != -ENODATA)
        return r;
    flushed = flush(putting);
    putting->n_buffered -= putting->n_used;
    memmove(putting->buffer, putting->buffer + putting->n_used, putting->n_buffered);
    putting->n_used = 0;
    return flushed < 0 ? flushed : r;
}

static int put_all(struct putting *putting)
{
    ssize_t n;
    int r;

    do {
        n = read_some(STDIN_FILENO, putting->buffer + putting->n_buffered,
                      putting->buffer_bytes - putting->n_buffered);
        if (n < 0)
            die(EXIT_STATUS_FAILED, "can't read standard input: %s", strerror((int)-n));
        putting->n_buffered += (size_t)n;
        r = take_buffered(putting, n == 0);
    } while (n > 0 && r == 0);
    return r;
}

static void put_say_failed(const struct putting *putting, int r)
{
    AUTO_FREE char *time = wait_show(putting->options->timeout_ns);
    const char *what = putting->options->prefixed ? "message" : "line";
    const char *shown = putting->arg->shown;

    if (r == -EMSGSIZE)
        say("%s %" PRIu64 " is too long for %s, which takes %zu bytes; those before it are in",
            what, putting->n_put + 1, shown, putting->message_bytes);
    else if (r == -ENODATA)
        say("standard input ends within message %" PRIu64 "; those before it are in %s",
            putting->n_put + 1, shown);
    else if (r == -EAGAIN)
        say("%s is full; %" PRIu64 " messages are in", shown, putting->n_put);
    else if (r == -ETIMEDOUT)
        say("%s stayed full for %s; %" PRIu64 " messages are in", shown, time, putting->n_put);
    else
        ringarg_say(putting->arg, "put into", r);
}

static int put(const struct ringarg *arg, const struct options *options)
{
    struct putting putting = { .arg = arg, .options = options };
    int r = ipcring_open(arg->map, &putting.ring);

    if (r == 0) {
        putting.message_bytes = ipcring_message_bytes(putting.ring);
        /* Room for the longest message, and what ends it. */
        putting.buffer_bytes = BUFFER_MIN_BYTES + putting.message_bytes;
        putting.buffer = xrealloc(NULL, putting.buffer_bytes, 1);
        progress_start(&putting.progress);
        r = put_all(&putting);
        progress_end(&putting.progress);
        ipcring_close(putting.ring);
        free(putting.buffer);
    }
    if (r < 0)
        put_say_failed(&putting, r);
    return r;
}

static enum exit_status put_run(const char *mount, int argc, char **argv)
{
    struct options options = { .timeout_ns = WAIT_FOREVER };
    struct ringarg arg;
    int r;

    ctl_parse_args(&argp, mount, argc, argv, &options.common);
    ringarg_init(&arg, options.name, &options.common);
    r = put(&arg, &options);
    ringarg_deinit(&arg);
    return r < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_OK;
}

const struct verb verb_ring_put = { "put", "Put lines into a ring", &argp, put_run };
