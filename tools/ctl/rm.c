#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "settings.h"
#include "why.h"

/* So often it is emptied, and of a ring so much. */
#define N_TRIES 100
#define RING_PASS_MAX 65536

/* No message that recv gives in one read is longer. */
#define MESSAGE_BYTES_MAX (1 << 20)

struct options {
    struct common common;
    bool force;
    char **args;
    int n_args;
};

static const struct argp_option option_list[] = {
    { "force", 'f', NULL, 0,
      "With the messages that wait, and subscriptions; and don't mind what does not exist" },
    { 0 },
};

static error_t rm_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 'f':
        options->force = true;
        return 0;
    default:
        return ctl_parse_list(key, state, &options->common, &options->args, &options->n_args,
                              "say what to remove: a NAME");
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = rm_parse,
    .args_doc = "NAME...",
    .doc =
        "Remove mailboxes, topics (topic/NAME), rings (ring/NAME) and regions (shm/NAME). Who waits there is told.",
    .children = COMMON_CHILDREN,
};

/* Return: whether it is a topic, and not a subscription to one, which is a mailbox. */
static bool is_topic(const struct object *object)
{
    return object->room == ROOM_TOPIC && !strchr(object->name, '/');
}

static void say_not_empty(const struct object *object)
{
    AUTO_FREE char *path = object_file(object, "stat");
    AUTO_FREE char *command = object_command(object, "rm -f");
    struct settings stat = { 0 };

    if (is_topic(object))
        return say("can't remove %s: there are subscriptions in its sub/; to remove them too: %s",
                   object->shown, command);

    settings_read(AT_FDCWD, path, &stat);
    say("can't remove %s: messages wait in it (%" PRIu64 "); to drop them: %s", object->shown,
        settings_number(&stat, "messages"), command);
    settings_deinit(&stat);
}

/* Return: how many messages were removed from the queue; a negative errno. */
static int empty_queue(const struct object *object)
{
    AUTO_FREE char *path = object_file(object, "queue");
    const struct dirent *dirent;
    DIR *dir = opendir(path);
    int n = 0;
    int r = 0;

    if (!dir)
        return -errno;
    while (r == 0 && (dirent = readdir(dir))) {
        if (dirent->d_name[0] == '.')
            continue;
        if (unlinkat(dirfd(dir), dirent->d_name, 0) == 0)
            n++;
        else if (errno != ENOENT) /* then somebody has received it meanwhile */
            r = -errno;
    }
    closedir(dir);
    return r < 0 ? r : n;
}

/* A ring has no queue: its messages are received, up to a number. Return: how many; a negative errno. */
static int empty_ring(const struct object *object)
{
    AUTO_FREE char *path = object_file(object, "recv");
    AUTO_FREE char *message = xrealloc(NULL, MESSAGE_BYTES_MAX, 1);
    /* A message a read. */
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_DIRECT | O_CLOEXEC);
    int n = 0;

    if (fd < 0)
        return -errno;
    while (n < RING_PASS_MAX) {
        if (read(fd, message, MESSAGE_BYTES_MAX) < 0)
            return errno == EAGAIN ? n : -errno;
        n++;
    }
    return n;
}

static int remove_directory(const struct object *object, bool force);

/* Return: how many subscriptions were removed, messages and all; a negative errno. */
static int remove_subscriptions(const struct object *object)
{
    AUTO_FREE char *path = object_file(object, "sub");
    const struct dirent *dirent;
    DIR *dir = opendir(path);
    int n = 0;
    int r = 0;

    if (!dir)
        return -errno;
    while (r == 0 && (dirent = readdir(dir))) {
        AUTO_FREE char *name = xasprintf("%s/sub/%s", object->name, dirent->d_name);
        struct object subscription;

        if (strcmp(dirent->d_name, ".") == 0 || strcmp(dirent->d_name, "..") == 0)
            continue;
        object_init_in(&subscription, object->mount, ROOM_TOPIC, name);
        r = remove_directory(&subscription, true);
        object_deinit(&subscription);
        n++;
    }
    closedir(dir);
    return r < 0 ? r : n;
}

static int empty(const struct object *object)
{
    if (is_topic(object))
        return remove_subscriptions(object);
    return object->room == ROOM_RING ? empty_ring(object) : empty_queue(object);
}

static int set_messages(const struct object *object, const char *value)
{
    AUTO_FREE char *path = object_file(object, "config");
    AUTO_FREE char *line = xasprintf("messages=%s\n", value);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd < 0 || write(fd, line, strlen(line)) < 0 ? -errno : 0;
}

/* Whoever sends now waits, and learns at the removal that it is gone. A ring has no such setting. Return: what it was
 * before, the caller's to free; NULL: it could not be changed. */
static char *shut(const struct object *object)
{
    AUTO_FREE char *path = object_file(object, "config");
    struct settings config = { 0 };
    const char *messages;
    char *before = NULL;

    if (object->room != ROOM_MBOX || settings_read(AT_FDCWD, path, &config) < 0)
        return NULL;
    messages = settings_get(&config, "messages");
    if (messages && set_messages(object, "0") == 0)
        before = xstrdup(messages);
    settings_deinit(&config);
    return before;
}

/* By force until it is empty: senders that waited for room fill it again, and some faster than it can be emptied. */
static int remove_directory(const struct object *object, bool force)
{
    AUTO_FREE char *before = NULL;
    int r = -ENOTEMPTY;

    for (int i = 0; i < N_TRIES && r == -ENOTEMPTY; i++) {
        int n;

        r = rmdir(object->path) < 0 ? -errno : 0;
        if (r != -ENOTEMPTY || !force)
            break;
        if (i == 1)
            before = shut(object);
        n = empty(object);
        if (n < 0 && n != -EIDRM)
            r = n;
    }
    if (r < 0 && before)
        set_messages(object, before);
    return r;
}

static int remove_object(const struct object *object, bool force)
{
    if (object->room == ROOM_SHM)
        return unlink(object->path) < 0 && (errno != EISDIR || rmdir(object->path) < 0) ? -errno
                                                                                        : 0;
    return remove_directory(object, force);
}

static int remove_arg(const char *mount, const char *arg, bool force)
{
    struct object object;
    int r;

    object_init(&object, mount, arg, ROOM_MBOX);
    if (object.room == ROOM_PROC)
        die(EXIT_STATUS_USAGE, "%s has its mailbox while it lives", object.shown);
    r = remove_object(&object, force);
    if (r == -ENOENT && force)
        r = 0;
    if (r == -ENOTEMPTY && force)
        say("can't remove %s: it is filled as fast as it can be emptied", object.shown);
    else if (r == -ENOTEMPTY)
        say_not_empty(&object);
    else if (r < 0)
        why_say(&object, "remove", NULL, -r);
    object_deinit(&object);
    return r;
}

static enum exit_status rm_run(const char *mount, int argc, char **argv)
{
    enum exit_status status = EXIT_STATUS_OK;
    struct options options = { 0 };

    mount = ctl_parse(&argp, mount, argc, argv, &options.common);
    for (int i = 0; i < options.n_args; i++) {
        if (remove_arg(mount, options.args[i], options.force) < 0)
            status = EXIT_STATUS_FAILED;
    }
    return status;
}

const struct verb verb_rm = { "rm", "Remove mailboxes, topics, rings or regions", &argp, rm_run };
