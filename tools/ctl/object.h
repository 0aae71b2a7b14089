/* The things that ipcctl's arguments name: mailboxes, topics, rings, regions, processes.
 *
 * An argument is a name, bare or with its room before it (ring/ticks), or a path of the thing in the mount: absolute,
 * or from where the caller stands, as Tab completes them. */
#ifndef IPCFS_TOOLS_CTL_OBJECT_H
#define IPCFS_TOOLS_CTL_OBJECT_H

#include <stdbool.h>

enum room { ROOM_MBOX, ROOM_TOPIC, ROOM_RING, ROOM_SHM, ROOM_PROC, N_ROOMS };

struct room_info {
    const char *dir;  /* below the mount point */
    const char *noun; /* one of what is in it */
};

extern const struct room_info rooms[N_ROOMS];

struct object {
    enum room room;
    char *mount; /* the mount point */
    char *name;  /* within its room */
    char *path;  /* absolute where the mount point is */
    char *shown; /* for messages: mailbox 'orders' */
    /* How the caller said it, to be said again: NULL: by its name. */
    char *arg;
    bool mount_given; /* with -m */
};

/* What @arg names: NAME, mbox/NAME, topic/NAME, ring/NAME, shm/NAME, proc/PID, or a path. A bare NAME is in the room
 * where the caller stands, or in @default_room if that is none, or is not ROOM_MBOX. @mount: the mount that -m named;
 * NULL: the one in which @arg lies if it is a path, else what mount_find() finds.
 * Ends the program where it can't be a name. */
void object_init(struct object *object, const char *mount, const char *arg, enum room default_room);

/* The object @name in @room. */
void object_init_in(struct object *object, const char *mount, enum room room, const char *name);

void object_deinit(struct object *object);

/* Return: whether @arg is a path, not a name. */
bool object_is_path(const char *arg);

/* Whether @arg names a whole room of a mount (ring/, or its path), or the mount itself. *@ret_room: N_ROOMS for the
 * mount. *@ret_mount: the caller's to free. @mount: as above. */
bool object_is_room(const char *arg, const char *mount, enum room *ret_room, char **ret_mount);

/* Return: the path of a file of the object; the caller's to free. */
char *object_file(const struct object *object, const char *name);

/* Return: the name as an argument for ipcctl: mailboxes bare, others with their room before; the caller's
 * to free. */
char *object_arg(const struct object *object);

/* Return: a command for a shell: "ipcctl @verb" with the object as its argument, quoted, and the mount if that was
 * given; the caller's to free. */
char *object_command(const struct object *object, const char *verb);

#endif
