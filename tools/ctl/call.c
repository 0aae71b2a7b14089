/* A question is written to call, and its answer read from the same handle, which is closed when the time is over: then
 * nobody can answer any more. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "message.h"
#include "wait.h"
#include "why.h"

#define BUFFER_BYTES 65536

struct options {
    struct common common;
    int64_t timeout_ns;
    struct ctl_text given;
};

static const struct argp_option option_list[] = {
    { "timeout", 't', "TIME", 0,
      "Give up where no answer comes within TIME: seconds, or with ms, s, m, h" },
    { "file", 'f', "FILE", 0, "Ask what is in FILE" },
    { 0 },
};

static error_t call_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 't':
        options->timeout_ns = ctl_timeout(state, arg);
        return 0;
    default:
        return ctl_parse_text(key, arg, state, &options->common, &options->given, "question",
                              "say whom to ask: a NAME");
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = call_parse,
    .args_doc = "NAME [TEXT]",
    .doc =
        "Ask a mailbox, and print its answer, byte for byte. The question is TEXT, or a file, or what comes from "
        "standard input.\vWho receives it answers by writing to reply/ID, with the id of the question's envelope.",
    .children = COMMON_CHILDREN,
};

/* A call that is to wait goes on waiting after signals that are not the timer's (a stop, a resize).
 * Return: 0; a negative errno. */
static int ask(int fd, const struct message *question)
{
    ssize_t n;

    do
        n = write(fd, question->data, question->n_bytes);
    while (n < 0 && errno == EINTR && !wait_is_over());
    if (n < 0)
        return -errno;
    return (size_t)n == question->n_bytes ? 0 : -EIO;
}

/* Prints the answer. Return: 0; a negative errno. */
static int print_answer(int fd)
{
    AUTO_FREE char *buffer = xrealloc(NULL, BUFFER_BYTES, 1);
    ssize_t n;

    for (;;) {
        n = read(fd, buffer, BUFFER_BYTES);
        if (n == 0)
            return 0;
        if (n < 0 && (errno != EINTR || wait_is_over()))
            return -errno;
        /* All of it is there now. */
        if (n > 0)
            wait_stop();
        if (n > 0)
            fwrite(buffer, 1, (size_t)n, stdout);
    }
}

/* Return: 0; a negative errno. *@ret_asked: the question was sent. */
static int call(const struct object *object, const struct message *question, int64_t timeout_ns,
                bool *ret_asked)
{
    AUTO_FREE char *path = object_file(object, "call");
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    wait_start(timeout_ns);
    r = ask(fd, question);
    *ret_asked = r == 0;
    if (r == 0)
        r = print_answer(fd);
    wait_stop();
    return r == -EINTR && wait_is_over() ? -ETIME : r;
}

static void say_too_late(const struct object *object, int64_t timeout_ns, bool was_asked)
{
    AUTO_FREE char *time = wait_show(timeout_ns);
    AUTO_FREE char *full = was_asked ? NULL : why_full(object);

    if (was_asked)
        say("%s gave no answer within %s", object->shown, time);
    else
        say("%s had no room for the question within %s (%s); it was not asked", object->shown, time,
            full);
}

static void call_say_failed(const struct object *object, const struct why_owner *owner,
                            bool was_asked, int error)
{
    switch (error) {
    case ECANCELED:
        return say("%s has dropped the question; nobody will answer it", object->shown);
    case ETIMEDOUT:
        return say("%s has let the question expire (ttl); nobody will answer it", object->shown);
    case EDQUOT:
        if (was_asked)
            return say("the answer of %s is longer than what you may still hold (uid_bytes)",
                       object->shown);
        break;
    case EIDRM:
        return why_say_gone(object, owner);
    case EFBIG:
        error = EMSGSIZE;
        break;
    default:
        break;
    }
    why_say(object, "ask", "call", error);
}

static enum exit_status call_run_on(const struct object *object, const struct options *options)
{
    struct message question = { 0 };
    struct why_owner owner = { 0 };
    bool was_asked = false;
    int r;

    why_note_owner(&owner, object);
    r = message_read(&question, object, options->given.text, options->given.file);
    if (r == 0 && question.n_bytes == 0)
        die(EXIT_STATUS_USAGE, "a question has some bytes");
    if (r == 0)
        r = call(object, &question, options->timeout_ns, &was_asked);
    if (r == -ETIME)
        say_too_late(object, options->timeout_ns, was_asked);
    else if (r < 0)
        call_say_failed(object, &owner, was_asked, -r);
    message_deinit(&question);
    why_forget_owner(&owner);
    if (r == -ETIME)
        return EXIT_STATUS_NOTHING_CAME;
    return r < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_OK;
}

static enum exit_status call_run(const char *mount, int argc, char **argv)
{
    struct options options = { .timeout_ns = WAIT_FOREVER };
    enum exit_status status;
    struct object object;

    mount = ctl_parse(&argp, mount, argc, argv, &options.common);
    object_init(&object, mount, options.given.name, ROOM_MBOX);
    if (object.room != ROOM_MBOX && object.room != ROOM_PROC)
        die(EXIT_STATUS_USAGE, "%s answers no questions; mailboxes and processes do", object.shown);
    status = call_run_on(&object, &options);
    object_deinit(&object);
    return status;
}

const struct verb verb_call = { "call", "Ask a mailbox, and print its answer", &argp, call_run };
