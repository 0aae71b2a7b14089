#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "change.h"
#include "ctl.h"
#include "settings.h"
#include "why.h"

struct options {
    struct common common;
    bool json;
    char **args; /* the name, then settings */
    int n_args;
};

enum { KEY_JSON = 0x100 };

static const struct argp_option option_list[] = {
    { "json", KEY_JSON, NULL, 0, "Print the settings as a JSON object" },
    { 0 },
};

static error_t config_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case KEY_JSON:
        options->json = true;
        return 0;
    default:
        return ctl_parse_list(key, state, &options->common, &options->args, &options->n_args,
                              "say of what: a NAME");
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = config_parse,
    .args_doc = "NAME [KEY=VALUE...]",
    .doc =
        "Print the settings of a mailbox, ring or process, or change them: all that are named at once, or "
        "none.",
    .children = COMMON_CHILDREN,
};

static json_t *config_make_json(const struct settings *settings)
{
    json_t *json = json_object();

    for (size_t i = 0; i < settings->n; i++) {
        const char *value = settings->list[i].value;
        bool is_number = *value && !value[strspn(value, "0123456789")];

        json_object_set_new(json, settings->list[i].key,
                            is_number ? json_integer((json_int_t)strtoull(value, NULL, 10))
                                      : json_string(value));
    }
    return json;
}

static enum exit_status config_print(const struct object *object, bool json)
{
    AUTO_FREE char *path = object_file(object, "config");
    struct settings settings;
    int r = settings_read(AT_FDCWD, path, &settings);

    if (r < 0) {
        why_say(object, "read the settings of", "config", -r);
        return EXIT_STATUS_FAILED;
    }
    for (size_t i = 0; !json && i < settings.n; i++)
        printf("%s=%s\n", settings.list[i].key, settings.list[i].value);
    if (json) {
        json_t *object_json = config_make_json(&settings);

        json_dumpf(object_json, stdout, 0);
        putchar('\n');
        json_decref(object_json);
    }
    settings_deinit(&settings);
    return EXIT_STATUS_OK;
}

static enum exit_status config_run(const char *mount, int argc, char **argv)
{
    struct options options = { 0 };
    enum exit_status status = EXIT_STATUS_OK;
    struct object object;

    mount = ctl_parse(&argp, mount, argc, argv, &options.common);
    object_init(&object, mount, options.args[0], ROOM_MBOX);
    change_check_args(options.args + 1, options.n_args - 1);
    if (object.room == ROOM_SHM)
        die(EXIT_STATUS_USAGE, "%s has no settings; its size is set by truncate(1)", object.shown);
    if (options.n_args == 1)
        status = config_print(&object, options.json);
    else if (change_config(&object, options.args + 1, options.n_args - 1) < 0)
        status = EXIT_STATUS_FAILED;
    object_deinit(&object);
    return status;
}

const struct verb verb_config = { "config", "Print or change settings", &argp, config_run };
