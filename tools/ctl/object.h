/* The things that ipcctl's arguments name: mailboxes, rings, regions, processes. */
#ifndef IPCFS_TOOLS_CTL_OBJECT_H
#define IPCFS_TOOLS_CTL_OBJECT_H

enum room { ROOM_MBOX, ROOM_RING, ROOM_SHM, ROOM_PROC, N_ROOMS };

struct room_info {
    const char *dir;  /* below the mount point */
    const char *noun; /* one of what is in it */
};

extern const struct room_info rooms[N_ROOMS];

struct object {
    enum room room;
    const char *mount; /* the mount point; not the object's */
    char *name;        /* within its room */
    char *path;        /* absolute where the mount point is */
    char *shown;       /* for messages: mailbox 'orders' */
};

/* What @arg names: NAME, mbox/NAME, ring/NAME, shm/NAME or proc/PID; a bare NAME is in @default_room.
 * Ends the program where it can't be a name. */
void object_init(struct object *object, const char *mount, const char *arg, enum room default_room);

/* The object @name in @room. */
void object_init_in(struct object *object, const char *mount, enum room room, const char *name);

void object_deinit(struct object *object);

/* Return: the path of a file of the object; the caller's to free. */
char *object_file(const struct object *object, const char *name);

/* Return: the name as an argument for ipcctl: mailboxes bare, others with their room before; the caller's
 * to free. */
char *object_arg(const struct object *object);

/* Return: the same for a shell, quoted, and with -- before what would be an option; the caller's to free. */
char *object_words(const struct object *object);

#endif
