/* From a ring to standard output, through its map.
 *
 * What was taken is written: a first SIGINT, SIGTERM or SIGHUP ends the program only between two
 * batches. */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/lib/ipcring.h"
#include "progress.h"
#include "ring.h"
#include "ringarg.h"
#include "wait.h"

/* What a batch may take of memory, and how many messages it has at the most. */
#define BATCH_BYTES (4 << 20)
#define BATCH_MAX 4096

/* A message's room: before it its length, after it a newline. */
#define BEFORE_BYTES sizeof(uint32_t)
#define AFTER_BYTES 1

struct options {
    struct common common;
    int64_t timeout_ns;
    uint64_t count;
    bool has_count;
    bool prefixed;
    char *name;
};

enum { KEY_PREFIXED = 0x100 };

static const struct argp_option option_list[] = {
    { "count", 'n', "N", 0, "End after N messages" },
    { "prefixed", KEY_PREFIXED, NULL, 0,
      "Write the length of each message before it, 4 bytes, little-endian; no newlines" },
    { "timeout", 't', "TIME", 0, "End when no message came for TIME; 0: when the ring is empty" },
    { 0 },
};

static error_t get_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 'n':
        options->count = ctl_number(state, "count", arg, 0, INT64_MAX);
        options->has_count = true;
        return 0;
    case KEY_PREFIXED:
        options->prefixed = true;
        return 0;
    case 't':
        options->timeout_ns = ctl_timeout(state, arg);
        return 0;
    default:
        return ctl_parse_name(key, arg, state, &options->common, &options->name,
                              "say from which ring: a NAME");
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = get_parse,
    .args_doc = "NAME",
    .doc =
        "Get messages out of a ring and write each as a line, until stopped. NAME may also be the path of a "
        "map.\v"
        "With --count it has failed where fewer came within the --timeout.",
    .children = COMMON_CHILDREN,
};

/* --- signals --- */

static volatile sig_atomic_t stopped_by;

/* The signal may come just before the library falls asleep: a timer's come until it has woken. */
static void on_stop(int number)
{
    struct itimerval timer = { .it_interval.tv_usec = 20000, .it_value.tv_usec = 20000 };
    int saved_errno = errno;

    stopped_by = number;
    setitimer(ITIMER_REAL, &timer, NULL);
    errno = saved_errno;
}

static void get_on_alarm(int number)
{
    (void)number;
}

static void get_catch_signals(void)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    /* A second one ends it at once. */
    struct sigaction stop = { .sa_handler = on_stop, .sa_flags = (int)SA_RESETHAND };
    struct sigaction alarm = { .sa_handler = get_on_alarm };

    sigaction(SIGALRM, &alarm, NULL);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct sigaction now;

        /* What is ignored stays so: nohup. */
        if (sigaction(numbers[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaction(numbers[i], &stop, NULL);
    }
}

/* --- messages --- */

struct getting {
    const struct ringarg *arg;
    const struct options *options;
    struct ipcring *ring;
    size_t message_bytes;
    unsigned int n_batch;
    struct ipcring_msg *batch;
    char *buffer; /* of n_batch rooms, one after the other */
    uint64_t n_left;
    uint64_t n_missed;
    struct progress progress;
};

/* Moves @n messages together, with what stands before or after them. Return: the length of all. */
static size_t join(struct getting *getting, unsigned int n)
{
    char *end = getting->buffer;

    for (unsigned int i = 0; i < n; i++) {
        const struct ipcring_msg *msg = &getting->batch[i];
        uint32_t length = htole32((uint32_t)msg->n_bytes);

        if (getting->options->prefixed)
            end = mempcpy(end, &length, sizeof(length));
        memmove(end, msg->data, msg->n_bytes);
        end += msg->n_bytes;
        if (!getting->options->prefixed && (msg->n_bytes == 0 || end[-1] != '\n'))
            *end++ = '\n';
    }
    return (size_t)(end - getting->buffer);
}

static int take_batch(struct getting *getting)
{
    size_t room_bytes = BEFORE_BYTES + getting->message_bytes + AFTER_BYTES;
    unsigned int n = getting->n_batch;

    if (n > getting->n_left)
        n = (unsigned int)getting->n_left;
    for (unsigned int i = 0; i < n; i++) {
        getting->batch[i].data = getting->buffer + i * room_bytes + BEFORE_BYTES;
        getting->batch[i].n_bytes = getting->message_bytes;
    }
    return ipcring_consume_batch(getting->ring, getting->batch, n, getting->options->timeout_ns);
}

/* Where each consumer sees everything, producers wait for none. */
static void say_missed(struct getting *getting)
{
    uint64_t n = ipcring_missed(getting->ring);

    say("%s was faster: %" PRIu64 " messages are missed", getting->arg->shown,
        n - getting->n_missed);
    getting->n_missed = n;
}

/* Return: 0: all that were asked for; a negative errno. */
static int get_all(struct getting *getting)
{
    while (getting->n_left > 0 && !stopped_by) {
        int n = take_batch(getting);
        size_t n_bytes;
        int r;

        if (n == -EINTR)
            continue;
        if (n == -EOVERFLOW)
            say_missed(getting);
        if (n == -EOVERFLOW)
            continue;
        if (n < 0)
            return n;
        n_bytes = join(getting, (unsigned int)n);
        r = write_all(STDOUT_FILENO, getting->buffer, n_bytes);
        if (r < 0)
            die(EXIT_STATUS_FAILED, "can't write the output: %s; %d messages are taken and lost",
                strerror(-r), n);
        getting->n_left -= (unsigned int)n;
        progress_add(&getting->progress, (unsigned int)n, n_bytes);
    }
    return 0;
}

static void make_room(struct getting *getting)
{
    size_t room_bytes;

    getting->message_bytes = ipcring_message_bytes(getting->ring);
    room_bytes = BEFORE_BYTES + getting->message_bytes + AFTER_BYTES;
    getting->n_batch = (unsigned int)(BATCH_BYTES / room_bytes);
    if (getting->n_batch > BATCH_MAX)
        getting->n_batch = BATCH_MAX;
    if (getting->n_batch == 0)
        getting->n_batch = 1;
    getting->batch = xrealloc(NULL, getting->n_batch, sizeof(*getting->batch));
    getting->buffer = xrealloc(NULL, getting->n_batch, room_bytes);
}

static void get_say_failed(const struct getting *getting, int r)
{
    AUTO_FREE char *time = wait_show(getting->options->timeout_ns);

    if (r == -EAGAIN)
        say("%s is empty; %" PRIu64 " messages are missing", getting->arg->shown, getting->n_left);
    else if (r == -ETIMEDOUT)
        say("no message came to %s within %s; %" PRIu64 " are missing", getting->arg->shown, time,
            getting->n_left);
    else
        ringarg_say(getting->arg, "get from", r);
}

static int get(const struct ringarg *arg, const struct options *options)
{
    struct getting getting = {
        .arg = arg,
        .options = options,
        .n_left = options->has_count ? options->count : UINT64_MAX,
    };
    int r = ipcring_open(arg->map, &getting.ring);

    if (r == 0) {
        make_room(&getting);
        get_catch_signals();
        progress_start(&getting.progress);
        r = get_all(&getting);
        progress_end(&getting.progress);
        ipcring_close(getting.ring);
        free(getting.batch);
        free(getting.buffer);
    }
    if (!options->has_count && (r == -EAGAIN || r == -ETIMEDOUT))
        r = 0;
    if (r < 0)
        get_say_failed(&getting, r);
    return r;
}

static enum exit_status get_run(const char *mount, int argc, char **argv)
{
    struct options options = { .timeout_ns = WAIT_FOREVER };
    struct ringarg arg;
    int r;

    ctl_parse_args(&argp, mount, argc, argv, &options.common);
    ringarg_init(&arg, options.name, &options.common);
    r = get(&arg, &options);
    ringarg_deinit(&arg);
    /* By the signal, so that a shell's loop ends too. */
    if (stopped_by)
        raise(stopped_by);
    if (r == -EAGAIN || r == -ETIMEDOUT)
        return EXIT_STATUS_NOTHING_CAME;
    return r < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_OK;
}

const struct verb verb_ring_get = { "get", "Get lines out of a ring", &argp, get_run };
