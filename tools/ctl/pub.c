/* One message, to all who have subscribed. */
#include "object.h"
#include "sending.h"
#include "wait.h"

static const struct argp argp = {
    .options = sending_option_list,
    .parser = sending_parse,
    .args_doc = "NAME [TEXT]",
    .doc =
        "Publish one message, byte for byte, to all who have subscribed to a topic: TEXT, or a file, or what comes from "
        "standard input.\vWithout subscribers it is dropped.",
    .children = COMMON_CHILDREN,
};

static enum exit_status pub_run(const char *mount, int argc, char **argv)
{
    struct sending_options options = SENDING_OPTIONS_DEFAULT;
    enum exit_status status;
    struct object object;

    mount = ctl_parse(&argp, mount, argc, argv, &options.common);
    object_init(&object, mount, options.given.name, ROOM_TOPIC);
    if (object.room != ROOM_TOPIC)
        die(EXIT_STATUS_USAGE, "%s is no topic; see: ipcctl help send", object.shown);
    status = sending_run(&object, &options);
    object_deinit(&object);
    return status;
}

const struct verb verb_pub = { "pub", "Publish a message to a topic", &argp, pub_run };
