#include "why.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "entry.h"
#include "human.h"
#include "mount.h"
#include "nearest.h"
#include "process.h"
#include "quote.h"
#include "settings.h"
#include "util.h"

static int read_settings(const struct object *object, const char *file, struct settings *ret)
{
    AUTO_FREE char *path = object_file(object, file);

    return settings_read(AT_FDCWD, path, ret);
}

static uint64_t read_number(const struct object *object, const char *file, const char *key)
{
    struct settings settings;
    uint64_t number;

    if (read_settings(object, file, &settings) < 0)
        return 0;
    number = settings_number(&settings, key);
    settings_deinit(&settings);
    return number;
}

/* Return: the question for the name that may have been meant; the caller's to free. */
static char *ask_for_other(const struct object *object)
{
    struct entries entries = { .names_only = true };
    struct nearest nearest;
    char *ask;

    nearest_init(&nearest, object->name);
    entries_add_room(&entries, object->mount, object->room);
    for (size_t i = 0; i < entries.n; i++)
        nearest_add(&nearest, entries.list[i].object.name);
    ask = nearest_ask(&nearest);
    nearest_deinit(&nearest);
    entries_deinit(&entries);
    return ask;
}

/* Whether it makes sense to make what is missing: not to remove or to look at it. */
static bool is_to_make(const struct object *object, const char *doing)
{
    return object->room != ROOM_SHM && strcmp(doing, "remove") != 0 && strcmp(doing, "list") != 0;
}

static void say_missing(const struct object *object, const char *doing)
{
    AUTO_FREE char *room = xasprintf("%s/%s", object->mount, rooms[object->room].dir);
    AUTO_FREE char *mount = quote(object->mount, false);
    AUTO_FREE char *ask = ask_for_other(object);
    AUTO_FREE char *command = object_command(object, "new");

    if (access(room, F_OK) < 0)
        say("can't %s %s: the ipcfs on %s has no %s/", doing, object->shown, mount,
            rooms[object->room].dir);
    else if (object->room == ROOM_PROC)
        say("can't %s %s: there is no such process", doing, object->shown);
    else if (is_to_make(object, doing))
        say("can't %s %s: there is none on %s%s; to make it: %s", doing, object->shown, mount, ask,
            command);
    else
        say("can't %s %s: there is none on %s%s", doing, object->shown, mount, ask);
}

static void say_forbidden_by(const struct object *object, const char *doing, const char *file,
                             const struct stat *st)
{
    AUTO_FREE char *user = process_user(geteuid());
    AUTO_FREE char *owner = process_user(st->st_uid);
    AUTO_FREE char *group = process_group(st->st_gid);
    char mode[HUMAN_MODE_MAX];

    human_mode(st->st_mode, mode);
    if (file)
        say("user %s may not %s %s: its %s is %s, of %s:%s", user, doing, object->shown, file, mode,
            owner, group);
    else
        say("user %s may not %s %s: it is of %s:%s", user, doing, object->shown, owner, group);
}

/* Who may is in the mode of the file, or of the directory that hides it; or it is the owner alone. */
static void say_forbidden(const struct object *object, const char *doing, const char *file)
{
    AUTO_FREE char *user = process_user(geteuid());
    AUTO_FREE char *path = file ? object_file(object, file) : NULL;
    struct stat st;

    if (file && stat(path, &st) == 0)
        say_forbidden_by(object, doing, file, &st);
    else if (stat(object->path, &st) == 0)
        say_forbidden_by(object, doing, file ? "directory" : NULL, &st);
    else
        say("user %s may not %s %s", user, doing, object->shown);
}

static void say_owned(const struct object *object, const char *doing)
{
    struct why_owner owner;

    why_note_owner(&owner, object);
    if (owner.pid)
        say("can't %s %s: %s owns it, and only that and its descendants may", doing, object->shown,
            owner.shown);
    else
        say("can't %s %s: another process has it", doing, object->shown);
    why_forget_owner(&owner);
}

static void say_too_long(const struct object *object, const char *doing)
{
    uint64_t message_bytes = read_number(object, "config", "message_bytes");
    uint64_t slot_bytes = read_number(object, "config", "slot_bytes");

    if (object->room == ROOM_RING && slot_bytes)
        say("can't %s %s: the message is too long; a slot has room for %" PRIu64 " bytes", doing,
            object->shown, slot_bytes - 8);
    else if (message_bytes)
        say("can't %s %s: the message is too long; it takes %" PRIu64 " bytes (message_bytes)",
            doing, object->shown, message_bytes);
    else
        say("can't %s %s: the message is too long", doing, object->shown);
}

static void say_rejected(const struct object *object, const char *doing)
{
    AUTO_FREE char *full = why_full(object);

    say("can't %s %s: it is full (%s) and rejects more (overflow=reject)", doing, object->shown,
        full);
}

void why_say(const struct object *object, const char *doing, const char *file, int error)
{
    AUTO_FREE char *user = process_user(geteuid());
    AUTO_FREE char *mount = quote(object->mount, false);

    switch (error) {
    case ENOENT:
        return say_missing(object, doing);
    case EACCES:
        return say_forbidden(object, doing, file);
    case EPERM:
        if (file)
            return say("can't %s %s: its owner only receives", doing, object->shown);
        return say_forbidden(object, doing, file);
    case EBUSY:
        return say_owned(object, doing);
    case EIDRM:
        return why_say_gone(object, &(struct why_owner){ 0 });
    case EMSGSIZE:
        return say_too_long(object, doing);
    case ENOBUFS:
        return say_rejected(object, doing);
    case EDQUOT:
        return say(
            "can't %s %s: what user %s holds on %s has reached the quota (uid_bytes); receive "
            "or remove some of it",
            doing, object->shown, user, mount);
    case ENOSPC:
        return say("can't %s %s: the ipcfs on %s is full (max_bytes)", doing, object->shown, mount);
    default:
        if (mount_is_gone(error))
            return say("can't %s %s: the ipcfs on %s has ended", doing, object->shown, mount);
        say("can't %s %s: %s", doing, object->shown, strerror(error));
    }
}

void why_note_owner(struct why_owner *owner, const struct object *object)
{
    *owner = (struct why_owner){ .pid = (pid_t)read_number(object, "stat", "owner_pid") };
    if (owner->pid)
        owner->shown = process_show(owner->pid);
}

void why_forget_owner(struct why_owner *owner)
{
    free(owner->shown);
    *owner = (struct why_owner){ 0 };
}

void why_say_gone(const struct object *object, const struct why_owner *owner)
{
    AUTO_FREE char *mount = quote(object->mount, false);
    struct process process;

    if (object->room == ROOM_PROC)
        return say("%s has ended", object->shown);
    if (access(object->mount, F_OK) < 0)
        return say("%s is gone: the ipcfs on %s has ended", object->shown, mount);
    if (!owner->pid)
        return say("%s is gone: it was removed", object->shown);
    process_look(owner->pid, &process);
    say("%s is gone: its owner, %s, %s", object->shown, owner->shown,
        process.lives ? "has given it up" : "has ended");
}

static char *why_show_of(const struct settings *stat, const struct settings *config,
                         const char *key)
{
    const char *limit = settings_get(config, key);

    return xasprintf("%" PRIu64 " of %s %s", settings_number(stat, key),
                     limit ? limit : "unlimited", key);
}

/* It never has room; a receiver has to come. */
static bool is_rendezvous(const struct settings *config)
{
    const char *limit = settings_get(config, "messages");

    return limit && strcmp(limit, "0") == 0;
}

char *why_full(const struct object *object)
{
    struct settings config = { 0 };
    struct settings stat = { 0 };
    AUTO_FREE char *messages = NULL;
    AUTO_FREE char *bytes = NULL;
    char *text;

    read_settings(object, "config", &config);
    read_settings(object, "stat", &stat);
    messages = why_show_of(&stat, &config, "messages");
    bytes = why_show_of(&stat, &config, "bytes");
    if (object->room == ROOM_RING)
        text = xstrdup("no free slot");
    else if (is_rendezvous(&config))
        text = xstrdup("it holds none: no receiver took it");
    else
        text = xasprintf("%s, %s", messages, bytes);
    settings_deinit(&config);
    settings_deinit(&stat);
    return text;
}
