/* A mailbox's messages, one or several, each through an open of its own. */
#include "ctl.h"
#include "receiving.h"
#include "wait.h"

struct options {
    struct common common;
    struct receiving_options receiving;
    char *name;
};

static const struct argp_option option_list[] = {
    { "timeout", 't', "TIME", 0,
      "Give up where no message comes within TIME: seconds, or with ms, s, m, h; 0: don't wait" },
    { "count", 'n', "N", 0, "Receive N messages, not one" },
    { "follow", 'f', NULL, 0, "Receive until stopped, or until no message came for the --timeout" },
    { "json", RECEIVING_KEY_JSON, NULL, 0,
      "Print envelopes: who sent it, when, and the message, in JSON" },
    { 0 },
};

static error_t recv_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 'f':
        options->receiving.follow = true;
        return 0;
    case ARGP_KEY_END:
        if (options->receiving.follow && options->receiving.has_count)
            argp_error(state, "choose: --count or --follow");
        return 0;
    default:
        if (receiving_parse(key, arg, state, &options->receiving) == 0)
            return 0;
        return ctl_parse_name(key, arg, state, &options->common, &options->name,
                              "say where to receive: a NAME");
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = recv_parse,
    .args_doc = "NAME",
    .doc =
        "Receive a message and print it, byte for byte; with --count or --follow several, each ended by a newline "
        "if it has none. Waits for them.\v"
        "A message that was printed is taken; one that did not come within the --timeout is not.",
    .children = COMMON_CHILDREN,
};

static enum exit_status recv_run(const char *mount, int argc, char **argv)
{
    struct options options = { .receiving = { .timeout_ns = WAIT_FOREVER, .count = 1 } };
    enum exit_status status;
    struct object object;

    mount = ctl_parse(&argp, mount, argc, argv, &options.common);
    object_init(&object, mount, options.name, ROOM_MBOX);
    if (object.room == ROOM_SHM)
        die(EXIT_STATUS_USAGE, "%s holds no messages; read its file", object.shown);
    if (object.room == ROOM_RING && options.receiving.json)
        die(EXIT_STATUS_USAGE, "messages of %s have no envelopes", object.shown);
    status = receiving_run(&object, &options.receiving);
    object_deinit(&object);
    return status;
}

const struct verb verb_recv = { "recv", "Receive messages", &argp, recv_run };
