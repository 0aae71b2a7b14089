/* One message, to a mailbox above all. */
#include "object.h"
#include "sending.h"
#include "wait.h"

static const struct argp argp = {
    .options = sending_option_list,
    .parser = sending_parse,
    .args_doc = "NAME [TEXT]",
    .doc =
        "Send one message, byte for byte: TEXT, or a file, or what comes from standard input.\v"
        "Where it does not fit message_bytes it goes through drop/, if no priority is asked for.",
    .children = COMMON_CHILDREN,
};

static enum exit_status send_run(const char *mount, int argc, char **argv)
{
    struct sending_options options = SENDING_OPTIONS_DEFAULT;
    enum exit_status status;
    struct object object;

    mount = ctl_parse(&argp, mount, argc, argv, &options.common);
    object_init(&object, mount, options.given.name, ROOM_MBOX);
    if (object.room == ROOM_SHM)
        die(EXIT_STATUS_USAGE, "%s takes no messages; write to its file", object.shown);
    status = sending_run(&object, &options);
    object_deinit(&object);
    return status;
}

const struct verb verb_send = { "send", "Send a message", &argp, send_run };
