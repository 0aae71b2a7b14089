/* Names and paths, told apart: a path has a slash, or is . or .., and does not begin with a room's name. Where it
 * leads is asked of the directory that it is in: the thing itself need not exist, and may be a link. */
#include "object.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "mount.h"
#include "quote.h"
#include "util.h"

const struct room_info rooms[N_ROOMS] = {
    [ROOM_MBOX] = { "mbox", "mailbox" }, [ROOM_TOPIC] = { "topic", "topic" },
    [ROOM_RING] = { "ring", "ring" },    [ROOM_SHM] = { "shm", "region" },
    [ROOM_PROC] = { "proc", "process" },
};

#define NO_SLASH "a name has no / in it, but for mbox/, topic/, ring/, shm/ or proc/ before it"

/* Sets *@room if @arg begins with a room's name. Return: what follows; @arg itself. */
static const char *split_room(const char *arg, enum room *room)
{
    for (enum room r = 0; r < N_ROOMS; r++) {
        size_t n = strlen(rooms[r].dir);

        if (strncmp(arg, rooms[r].dir, n) == 0 && arg[n] == '/') {
            *room = r;
            return arg + n + 1;
        }
    }
    return arg;
}

/* A region may lie in a directory; a topic's subscription is TOPIC/sub/NAME. */
static bool object_name_may_have_slash(enum room room, const char *name)
{
    const char *sub = strstr(name, "/sub/");

    return room == ROOM_SHM || (room == ROOM_TOPIC && sub && sub == strchr(name, '/') && sub[5] &&
                                !strchr(sub + 5, '/'));
}

static const char *what_is_wrong(enum room room, const char *name)
{
    if (!*name)
        return "a name is at least one byte long";
    if (strlen(name) > NAME_MAX && !(room == ROOM_SHM && strchr(name, '/')))
        return "a name is at most 255 bytes long";
    if (strchr(name, '/') && !object_name_may_have_slash(room, name))
        return NO_SLASH;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return "that is a directory's name";
    if (room == ROOM_PROC && strcmp(name, "self") != 0 && name[strspn(name, "0123456789")])
        return "a process has a number: proc/PID";
    return NULL;
}

__attribute__((noreturn)) static void die_of(const char *arg, const char *wrong)
{
    AUTO_FREE char *shown = quote(arg, true);

    die(EXIT_STATUS_USAGE, "%s can't be: %s", shown, wrong);
}

bool object_is_path(const char *arg)
{
    enum room room;
    size_t n = strcspn(arg, "/");
    bool is_dots = n > 0 && n <= 2 && strspn(arg, ".") == n;

    if (split_room(arg, &room) != arg)
        return false;
    /* One word with slashes after it is a name that Tab has completed. */
    return is_dots || n == 0 ? *arg != '\0' : arg[n + strspn(arg + n, "/")] != '\0';
}

/* @name without the slashes at its end, which Tab puts there. Return: the caller's to free. */
static char *without_slashes(const char *name)
{
    char *copy = xstrdup(name);
    size_t n = strlen(copy);

    while (n > 1 && copy[n - 1] == '/')
        copy[--n] = '\0';
    return copy;
}

/* The mount in which the path @arg lies, which is -m's if that was given. Return: the mount point, the caller's to
 * free, as is *@ret_rest. Ends the program where it lies in none, or in another. */
static char *mount_of_path(const char *arg, const char *mount, char **ret_rest)
{
    AUTO_FREE char *other = NULL;
    AUTO_FREE char *rest_of_given = NULL;
    char *found = mount_of_arg(arg, ret_rest);
    bool is_another;

    if (!found && strspn(arg, "./") == strlen(arg))
        die_of(arg, "that is a directory's name");
    if (!found)
        die_of(arg, NO_SLASH);
    mount_check(found);
    if (!mount)
        return found;
    other = mount_of_arg(mount, &rest_of_given);
    is_another = other && strcmp(other, found) != 0;
    free(found);
    if (is_another) {
        char *shown = quote(mount, false);
        char *wrong = xasprintf("it does not lie in the mount that -m names, %s", shown);

        free(shown);
        die_of(arg, wrong);
    }
    return xstrdup(mount);
}

/* Return: the room where the caller stands, if that is in @mount; else @default_room. With the directory of shm/ in
 * front, a name there is from the room: *@name is replaced. */
static enum room room_here(const char *mount, enum room default_room, char **name)
{
    AUTO_FREE char *rest = NULL;
    AUTO_FREE char *rest_of_mount = NULL;
    AUTO_FREE char *here = default_room == ROOM_MBOX ? mount_here(&rest) : NULL;
    AUTO_FREE char *there = here ? mount_of_arg(mount, &rest_of_mount) : NULL;
    AUTO_FREE char *inside = NULL;
    enum room room = default_room;
    const char *directory;

    if (!there || strcmp(here, there) != 0)
        return default_room;
    inside = xasprintf("%s/", rest);
    directory = split_room(inside, &room);
    if (room == ROOM_SHM && *directory) {
        char *longer = xasprintf("%s%s", directory, *name);

        free(*name);
        *name = longer;
    }
    return room;
}

void object_init(struct object *object, const char *mount, const char *arg, enum room default_room)
{
    enum room room = default_room;
    AUTO_FREE char *found = NULL;
    AUTO_FREE char *rest = NULL;
    AUTO_FREE char *name = NULL;
    bool is_path = object_is_path(arg);
    const char *wrong;

    if (is_path) {
        found = mount_of_path(arg, mount, &rest);
        room = N_ROOMS;
        name = xstrdup(split_room(rest, &room));
        if (room == N_ROOMS)
            die_of(arg, "it is no mailbox, topic, ring, region or process");
        if (strchr(name, '/') && !object_name_may_have_slash(room, name))
            die_of(arg, "it is a file in one; name the directory");
    } else {
        const char *after_room = split_room(arg, &room);

        name = without_slashes(after_room);
        wrong = what_is_wrong(room, name);
        if (wrong)
            die_of(arg, wrong);
        found = mount ? xstrdup(mount) : mount_find();
        if (after_room == arg)
            room = room_here(found, default_room, &name);
    }
    wrong = what_is_wrong(room, name);
    if (wrong)
        die_of(arg, wrong);
    object_init_in(object, found, room, name);
    object->mount_given = mount != NULL;
    object->arg = is_path ? xstrdup(arg) : NULL;
}

bool object_is_room(const char *arg, const char *mount, enum room *ret_room, char **ret_mount)
{
    AUTO_FREE char *found = NULL;
    AUTO_FREE char *rest = NULL;
    AUTO_FREE char *room_and_slash = NULL;
    enum room room = N_ROOMS;
    bool is_path = object_is_path(arg);

    if (is_path)
        found = mount_of_path(arg, mount, &rest);
    room_and_slash = is_path && *rest ? xasprintf("%s/", rest) : xstrdup(is_path ? "" : arg);
    if (*split_room(room_and_slash, &room) || (!is_path && room == N_ROOMS))
        return false;
    *ret_room = room;
    *ret_mount = found ? xstrdup(found) : mount ? xstrdup(mount) : mount_find();
    return true;
}

void object_init_in(struct object *object, const char *mount, enum room room, const char *name)
{
    AUTO_FREE char *quoted = quote(name, room != ROOM_PROC);

    *object = (struct object){
        .room = room,
        .mount = xstrdup(mount),
        .name = xstrdup(name),
        .path = xasprintf("%s/%s/%s", mount, rooms[room].dir, name),
        .shown = xasprintf("%s %s", rooms[room].noun, quoted),
    };
}

void object_deinit(struct object *object)
{
    free(object->mount);
    free(object->name);
    free(object->path);
    free(object->shown);
    free(object->arg);
}

char *object_file(const struct object *object, const char *name)
{
    return xasprintf("%s/%s", object->path, name);
}

char *object_arg(const struct object *object)
{
    if (object->room == ROOM_MBOX)
        return xstrdup(object->name);
    return xasprintf("%s/%s", rooms[object->room].dir, object->name);
}

char *object_command(const struct object *object, const char *verb)
{
    AUTO_FREE char *arg = object->arg ? xstrdup(object->arg) : object_arg(object);
    AUTO_FREE char *word = quote(arg, false);
    AUTO_FREE char *mount = quote(object->mount, false);

    return xasprintf("ipcctl%s%s %s %s%s", object->mount_given ? " -m " : "",
                     object->mount_given ? mount : "", verb, *arg == '-' ? "-- " : "", word);
}
