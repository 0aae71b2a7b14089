#include "entry.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "util.h"

static void load(struct entry *entry)
{
    AUTO_CLOSE int fd = -1;

    entry->has_attr = stat(entry->object.path, &entry->attr) == 0;
    if (entry->object.room == ROOM_SHM)
        return;
    fd = open(entry->object.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    settings_read(fd, "stat", &entry->stat);
    settings_read(fd, "config", &entry->config);
}

static void unload(struct entry *entry)
{
    object_deinit(&entry->object);
    settings_deinit(&entry->stat);
    settings_deinit(&entry->config);
}

static void append(struct entries *entries, const struct entry *entry)
{
    entries->list = xrealloc(entries->list, entries->n + 1, sizeof(*entries->list));
    entries->list[entries->n++] = *entry;
}

int entries_add_object(struct entries *entries, struct object *object)
{
    struct entry entry = { .object = *object };
    struct stat attr;

    if (stat(object->path, &attr) < 0)
        return -errno;
    load(&entry);
    append(entries, &entry);
    return 0;
}
static int by_name(const void *a, const void *b)
{
    const struct entry *first = a;
    const struct entry *second = b;

    return strcmp(first->object.name, second->object.name);
}

static int add_all(struct entries *entries, const char *mount, enum room room, DIR *dir)
{
    const struct dirent *dirent;

    while (errno = 0, (dirent = readdir(dir))) {
        struct object object;

        if (strcmp(dirent->d_name, ".") == 0 || strcmp(dirent->d_name, "..") == 0 ||
            (room == ROOM_PROC && strcmp(dirent->d_name, "self") == 0))
            continue;
        object_init_in(&object, mount, room, dirent->d_name);
        if (entries->names_only)
            append(entries, &(struct entry){ .object = object });
        /* Gone meanwhile: then it is not there. */
        else if (entries_add_object(entries, &object) < 0)
            object_deinit(&object);
    }
    return -errno;
}

int entries_add_room(struct entries *entries, const char *mount, enum room room)
{
    AUTO_FREE char *path = xasprintf("%s/%s", mount, rooms[room].dir);
    size_t first = entries->n;
    DIR *dir = opendir(path);
    int r;

    if (!dir)
        return errno == ENOENT ? 0 : -errno;
    r = add_all(entries, mount, room, dir);
    closedir(dir);
    if (entries->n > first)
        qsort(entries->list + first, entries->n - first, sizeof(*entries->list), by_name);
    return r;
}

void entries_deinit(struct entries *entries)
{
    for (size_t i = 0; i < entries->n; i++)
        unload(&entries->list[i]);
    free(entries->list);
    *entries = (struct entries){ 0 };
}

bool entry_messages(const struct entry *entry, uint64_t *ret)
{
    *ret = settings_number(&entry->stat, "messages");
    return settings_get(&entry->stat, "messages") != NULL;
}

bool entry_bytes(const struct entry *entry, uint64_t *ret)
{
    const char *key = "bytes";

    if (entry->object.room == ROOM_SHM) {
        *ret = (uint64_t)entry->attr.st_size;
        return entry->has_attr;
    }
    if (entry->object.room == ROOM_RING)
        key = "map_bytes";
    *ret = settings_number(&entry->stat, key);
    return settings_get(&entry->stat, key) != NULL;
}

const char *entry_max_messages(const struct entry *entry)
{
    return settings_get(&entry->config, entry->object.room == ROOM_RING ? "slots" : "messages");
}

const char *entry_max_bytes(const struct entry *entry)
{
    return settings_get(&entry->config, "bytes");
}

/* Ids grow with time. Return: the greatest in the queue, the caller's to free; NULL: none to be seen. */
static char *newest_message(const char *queue)
{
    const struct dirent *dirent;
    char *newest = NULL;
    DIR *dir = opendir(queue);

    if (!dir)
        return NULL;
    while ((dirent = readdir(dir))) {
        if (dirent->d_name[0] == '.' || (newest && strcmp(dirent->d_name, newest) < 0))
            continue;
        free(newest);
        newest = xstrdup(dirent->d_name);
    }
    closedir(dir);
    return newest;
}

static bool read_xattr(const char *path, const char *name, long *ret)
{
    char text[32];
    ssize_t n = getxattr(path, name, text, sizeof(text) - 1);

    if (n < 0)
        return false;
    text[n] = '\0';
    *ret = strtol(text, NULL, 10);
    return true;
}

bool entry_last_sender(const struct entry *entry, pid_t *ret_pid, uid_t *ret_uid)
{
    AUTO_FREE char *queue = object_file(&entry->object, "queue");
    AUTO_FREE char *newest = NULL;
    AUTO_FREE char *path = NULL;
    uint64_t n_messages;
    long pid;
    long uid;

    if (!entry_messages(entry, &n_messages) || n_messages == 0)
        return false;
    newest = newest_message(queue);
    if (!newest)
        return false;
    path = xasprintf("%s/%s", queue, newest);
    if (!read_xattr(path, "user.ipcfs.pid", &pid) || !read_xattr(path, "user.ipcfs.uid", &uid))
        return false;
    *ret_pid = (pid_t)pid;
    *ret_uid = (uid_t)uid;
    return true;
}

char *entry_given_out(const struct entry *entry)
{
    static const char *const keys[] = { "leased", "expired", "dead" };
    char *text = xstrdup("");

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        uint64_t n = settings_number(&entry->stat, keys[i]);
        char *before = text;

        if (n == 0)
            continue;
        text = xasprintf("%s%s%" PRIu64 " %s", before, *before ? ", " : "", n, keys[i]);
        free(before);
    }
    return text;
}
