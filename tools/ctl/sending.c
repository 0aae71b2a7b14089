/* A message is sent with one write(2) to send; an empty one is a line, for write(2) can't say it; one that is
 * longer than message_bytes goes through drop/. */
#include "sending.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "message.h"
#include "wait.h"
#include "why.h"

#define PRIO_MAX 31

/* One send, and how it ended. */
struct sending {
    const struct object *object;
    const struct message *message;
    int64_t timeout_ns;
    bool waits;
    struct why_owner owner; /* once it waits */
};

static void start_waiting(struct sending *sending)
{
    if (sending->waits)
        return;
    sending->waits = true;
    why_note_owner(&sending->owner, sending->object);
    wait_start(sending->timeout_ns);
}

/* Return: @r, but where the timer has ended a wait -ETIMEDOUT, or -EAGAIN if there should be none. */
static int timed_out(const struct sending *sending, int r)
{
    if (r == -EINTR && wait_is_over())
        return sending->timeout_ns == 0 ? -EAGAIN : -ETIMEDOUT;
    return r;
}

/* A call that is to wait goes on waiting after signals that are not the timer's (a stop, a resize). */
static bool again(int r)
{
    return r == -EINTR && !wait_is_over();
}

static int write_once(int fd, const void *data, size_t n_bytes)
{
    ssize_t n = write(fd, data, n_bytes);

    if (n < 0)
        return -errno;
    return (size_t)n == n_bytes ? 0 : -EIO;
}

static int write_message(struct sending *sending, const char *file, const void *data,
                         size_t n_bytes)
{
    AUTO_FREE char *path = object_file(sending->object, file);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    r = write_once(fd, data, n_bytes);
    if (r != -EAGAIN || sending->timeout_ns == 0)
        return r;
    start_waiting(sending);
    if (fcntl(fd, F_SETFL, 0) < 0)
        return -errno;
    do
        r = write_once(fd, data, n_bytes);
    while (again(r));
    return timed_out(sending, r);
}

static int create_drop(struct sending *sending, const char *path)
{
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    int fd = open(path, flags | O_NONBLOCK, 0600);

    if (fd >= 0 || errno != EAGAIN || sending->timeout_ns == 0)
        return fd < 0 ? -errno : fd;
    start_waiting(sending);
    do
        fd = open(path, flags, 0600);
    while (fd < 0 && again(-errno));
    return fd < 0 ? timed_out(sending, -errno) : fd;
}

/* Its close sends it, and in a rendezvous waits for a receiver, O_NONBLOCK or not. A file of which a write has
 * failed is not sent. */
static int drop_message(struct sending *sending)
{
    AUTO_FREE char *path = object_file(sending->object, "drop/ipcctl");
    int fd = create_drop(sending, path);
    int r;

    if (fd < 0)
        return fd;
    r = write_all(fd, sending->message->data, sending->message->n_bytes);
    start_waiting(sending);
    /* The kernel closes it whatever it answers. */
    if (close(fd) < 0 && r == 0)
        r = timed_out(sending, -errno);
    return r;
}

static int send_message(struct sending *sending, int prio)
{
    const struct message *message = sending->message;
    AUTO_FREE char *file = prio == SENDING_PRIO_UNSET ? xstrdup("send")
                                                      : xasprintf("send.%d", prio);
    int r;

    if (message->n_bytes == 0)
        return prio > 0 ? -EINVAL : write_message(sending, "send.lines", "\n", 1);
    r = write_message(sending, file, message->data, message->n_bytes);
    if (r == -EMSGSIZE && prio <= 0 && sending->object->room != ROOM_RING)
        r = drop_message(sending);
    return r;
}

static void say_full(const struct sending *sending, int error)
{
    AUTO_FREE char *time = wait_show(sending->timeout_ns);
    AUTO_FREE char *full = why_full(sending->object);

    if (error == ETIMEDOUT)
        say("%s had no room for the message within %s (%s); nothing was sent",
            sending->object->shown, time, full);
    else
        say("%s has no room for the message (%s); nothing was sent", sending->object->shown, full);
}

static void sending_say_failed(const struct sending *sending, int prio, int error)
{
    const struct object *object = sending->object;

    switch (error) {
    case EAGAIN:
    case ETIMEDOUT:
        return say_full(sending, error);
    case EIDRM:
        return why_say_gone(object, &sending->owner);
    case EFBIG:
        if (object->room == ROOM_RING)
            return why_say(object, "send to", "send", EMSGSIZE);
        return say("can't send to %s: the message is longer than all it holds (bytes)",
                   object->shown);
    case EINVAL:
        if (sending->message->n_bytes == 0)
            return say("can't send to %s: an empty message has no priority", object->shown);
        break;
    case ENOENT:
        if (prio != SENDING_PRIO_UNSET && object->room == ROOM_RING)
            return say("can't send to %s: a ring has no priorities", object->shown);
        break;
    default:
        break;
    }
    why_say(object, "send to", "send", error);
}

enum exit_status sending_run(const struct object *object, const struct sending_options *options)
{
    struct message message = { 0 };
    struct sending sending = { .object = object,
                               .message = &message,
                               .timeout_ns = options->timeout_ns };
    int r = message_read(&message, object, options->given.text, options->given.file);

    if (r == 0)
        r = send_message(&sending, options->prio);
    wait_stop();
    if (r < 0)
        sending_say_failed(&sending, options->prio, -r);
    message_deinit(&message);
    why_forget_owner(&sending.owner);
    return r < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_OK;
}

error_t sending_parse(int key, char *arg, struct argp_state *state)
{
    struct sending_options *options = state->input;

    switch (key) {
    case 't':
        options->timeout_ns = ctl_timeout(state, arg);
        return 0;
    case 'p':
        options->prio = (int)ctl_number(state, "priority", arg, 0, PRIO_MAX);
        return 0;
    default:
        return ctl_parse_text(key, arg, state, &options->common, &options->given, "message",
                              "say where to send it: a NAME");
    }
}

const struct argp_option sending_option_list[] = {
    { "timeout", 't', "TIME", 0,
      "Give up where there is no room within TIME: seconds, or with ms, s, m, h; 0: don't wait" },
    { "prio", 'p', "N", 0, "Priority, 0 to 31, highest first" },
    { "file", 'f', "FILE", 0, "Send what is in FILE" },
    { 0 },
};
