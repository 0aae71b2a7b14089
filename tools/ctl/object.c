#include "object.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "quote.h"
#include "util.h"

const struct room_info rooms[N_ROOMS] = {
    [ROOM_MBOX] = { "mbox", "mailbox" },
    [ROOM_RING] = { "ring", "ring" },
    [ROOM_SHM] = { "shm", "region" },
    [ROOM_PROC] = { "proc", "process" },
};

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

static const char *what_is_wrong(enum room room, const char *name)
{
    if (!*name)
        return "a name is at least one byte long";
    if (strlen(name) > NAME_MAX)
        return "a name is at most 255 bytes long";
    if (strchr(name, '/'))
        return "a name has no / in it, but for mbox/, ring/, shm/ or proc/ before it";
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return "that is a directory's name";
    if (room == ROOM_PROC && strcmp(name, "self") != 0 && name[strspn(name, "0123456789")])
        return "a process has a number: proc/PID";
    return NULL;
}

void object_init(struct object *object, const char *mount, const char *arg, enum room default_room)
{
    enum room room = default_room;
    const char *name = split_room(arg, &room);
    const char *wrong = what_is_wrong(room, name);

    if (wrong) {
        AUTO_FREE char *shown = quote(arg, true);

        die(EXIT_STATUS_USAGE, "%s can't be: %s", shown, wrong);
    }
    object_init_in(object, mount, room, name);
}

void object_init_in(struct object *object, const char *mount, enum room room, const char *name)
{
    AUTO_FREE char *quoted = quote(name, room != ROOM_PROC);

    *object = (struct object){
        .room = room,
        .mount = mount,
        .name = xstrdup(name),
        .path = xasprintf("%s/%s/%s", mount, rooms[room].dir, name),
        .shown = xasprintf("%s %s", rooms[room].noun, quoted),
    };
}

void object_deinit(struct object *object)
{
    free(object->name);
    free(object->path);
    free(object->shown);
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

char *object_words(const struct object *object)
{
    AUTO_FREE char *arg = object_arg(object);
    AUTO_FREE char *word = quote(arg, false);

    return xasprintf("%s%s", *arg == '-' ? "-- " : "", word);
}
