/* What is published to a topic, through one handle: to open it is to subscribe. A subscription that was made with mkdir
 * (topic/news/sub/me) is a mailbox, and has what it kept. */
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
      "End where no message comes within TIME: seconds, or with ms, s, m, h; 0: don't wait" },
    { "count", 'n', "N", 0, "End after N messages" },
    { "json", RECEIVING_KEY_JSON, NULL, 0,
      "Print envelopes: who sent it, when, and the message, in JSON" },
    { 0 },
};

static error_t sub_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    if (receiving_parse(key, arg, state, &options->receiving) == 0)
        return 0;
    return ctl_parse_name(key, arg, state, &options->common, &options->name,
                          "say what to subscribe to: a NAME");
}

static const struct argp argp = {
    .options = option_list,
    .parser = sub_parse,
    .args_doc = "NAME",
    .doc =
        "Print what is published to a topic from now on, each message ended by a newline if it has none: until stopped.\v"
        "A subscription that stays (mkdir topic/news/sub/me) is topic/news/sub/me; what is printed is taken out of it.",
    .children = COMMON_CHILDREN,
};

static enum exit_status sub_run(const char *mount, int argc, char **argv)
{
    struct options options = {
        .receiving = { .timeout_ns = WAIT_FOREVER, .one_handle = true },
    };
    enum exit_status status;
    struct object object;

    mount = ctl_parse(&argp, mount, argc, argv, &options.common);
    options.receiving.follow = !options.receiving.has_count;
    object_init(&object, mount, options.name, ROOM_TOPIC);
    if (object.room != ROOM_TOPIC)
        die(EXIT_STATUS_USAGE, "%s is no topic; see: ipcctl help recv", object.shown);
    status = receiving_run(&object, &options.receiving);
    object_deinit(&object);
    return status;
}

const struct verb verb_sub = { "sub", "Print what is published to a topic", &argp, sub_run };
