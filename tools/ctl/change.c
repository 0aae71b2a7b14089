#include "change.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "nearest.h"
#include "quote.h"
#include "rules.h"
#include "settings.h"
#include "util.h"
#include "why.h"

void change_check_args(char *const *args, int n_args)
{
    for (int i = 0; i < n_args; i++) {
        const char *equals = strchr(args[i], '=');

        if (!equals || equals == args[i] || strchr(args[i], '\n')) {
            AUTO_FREE char *shown = quote(args[i], true);

            die(EXIT_STATUS_USAGE, "%s is no setting: key=value", shown);
        }
    }
}

static char *join_lines(char *const *args, int n_args)
{
    char *text = xstrdup("");

    for (int i = 0; i < n_args; i++) {
        char *longer = xasprintf("%s%s\n", text, args[i]);

        free(text);
        text = longer;
    }
    return text;
}

static char *list_keys(const struct settings *settings)
{
    char *text = xstrdup("");

    for (size_t i = 0; i < settings->n; i++) {
        char *longer = xasprintf("%s %s", text, settings->list[i].key);

        free(text);
        text = longer;
    }
    return text;
}

static void say_unknown(const struct object *object, const struct settings *config, const char *key)
{
    AUTO_FREE char *keys = list_keys(config);
    AUTO_FREE char *shown = quote(key, true);
    AUTO_FREE char *ask = NULL;
    struct nearest nearest;

    nearest_init(&nearest, key);
    for (size_t i = 0; i < config->n; i++)
        nearest_add(&nearest, config->list[i].key);
    ask = nearest_ask(&nearest);
    say("%s has no setting %s%s; it has:%s", object->shown, shown, ask, keys);
    nearest_deinit(&nearest);
}

/* Return: whether there was something to say of the setting @arg by itself. */
static bool say_wrong(const struct object *object, const struct settings *config, const char *arg)
{
    AUTO_FREE char *key = strndup(arg, strcspn(arg, "="));
    AUTO_FREE char *shown = quote(arg, true);
    const char *takes;

    if (config->n > 0 && !settings_get(config, key)) {
        say_unknown(object, config, key);
        return true;
    }
    takes = rules_broken(key, arg + strlen(key) + 1);
    if (takes)
        say("%s does not take %s: %s is %s; nothing was changed", object->shown, shown, key, takes);
    return takes != NULL;
}

/* The file says only that it is invalid. What breaks no rule that is known here is told as it is. */
static void say_invalid(const struct object *object, char *const *args, int n_args)
{
    AUTO_FREE char *path = object_file(object, "config");
    AUTO_FREE char *values = xstrdup("");
    struct settings config = { 0 };
    bool is_said = false;

    settings_read(AT_FDCWD, path, &config);
    for (int i = 0; i < n_args && !is_said; i++) {
        AUTO_FREE char *setting = quote(args[i], true);
        char *longer = xasprintf("%s%s%s", values, i > 0 ? " or " : "", setting);

        free(values);
        values = longer;
        is_said = say_wrong(object, &config, args[i]);
    }
    if (!is_said)
        say("%s does not take %s; nothing was changed", object->shown, values);
    settings_deinit(&config);
}

int change_config(const struct object *object, char *const *args, int n_args)
{
    AUTO_FREE char *path = object_file(object, "config");
    AUTO_FREE char *text = join_lines(args, n_args);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    int r = fd < 0 ? -errno : 0;

    if (r == 0 && write(fd, text, strlen(text)) < 0)
        r = -errno;
    if (r == -EINVAL)
        say_invalid(object, args, n_args);
    else if (r == -EBUSY && object->room == ROOM_RING)
        say("can't configure %s: it holds messages, and takes new settings only while it is empty",
            object->shown);
    else if (r < 0)
        why_say(object, "configure", "config", -r);
    return r;
}
