#include "mount.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "quote.h"
#include "util.h"

#define FILESYSTEM "fuse.ipcfs"

/* The mounts found so far. */
struct mounts {
    struct mount {
        char *path;
        char device[32]; /* MAJOR:MINOR */
    } * list;
    size_t n;
};

/* mountinfo has \NNN, octal, for white space and backslashes. In place. */
static void unescape(char *text)
{
    char *to = text;

    while (*text) {
        unsigned int c;

        if (*text == '\\' && sscanf(text + 1, "%3o", &c) == 1) {
            *to++ = (char)c;
            text += 4;
        } else {
            *to++ = *text++;
        }
    }
    *to = '\0';
}

/* The same filesystem seen at two places is one mount; a later one hides an earlier at its place. */
static void mount_add(struct mounts *mounts, const char *path, const char *device)
{
    for (size_t i = 0; i < mounts->n; i++) {
        struct mount *mount = &mounts->list[i];

        if (strcmp(mount->path, path) == 0)
            snprintf(mount->device, sizeof(mount->device), "%s", device);
        if (strcmp(mount->device, device) == 0)
            return;
    }
    mounts->list = xrealloc(mounts->list, mounts->n + 1, sizeof(*mounts->list));
    mounts->list[mounts->n].path = xstrdup(path);
    snprintf(mounts->list[mounts->n].device, sizeof(mounts->list->device), "%s", device);
    mounts->n++;
}

/* A line of proc(5): ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS FIELDS... - TYPE SOURCE OPTIONS.
 * Only whole filesystems, no directories of one that are bound elsewhere. */
static void mount_add_line(struct mounts *mounts, char *line)
{
    char *type = strstr(line, " - ");
    AUTO_FREE char *device = NULL;
    AUTO_FREE char *root = NULL;
    AUTO_FREE char *path = NULL;

    if (!type || strncmp(type + 3, FILESYSTEM " ", strlen(FILESYSTEM " ")) != 0 ||
        sscanf(line, "%*s %*s %ms %ms %ms", &device, &root, &path) != 3 || strcmp(root, "/") != 0)
        return;
    unescape(path);
    mount_add(mounts, path, device);
}

static void read_mounts(struct mounts *mounts)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    AUTO_FREE char *line = NULL;
    size_t n_allocated = 0;

    if (!file)
        die(EXIT_STATUS_FAILED,
            "can't read /proc/self/mountinfo (%m); say where ipcfs is mounted: -m");
    while (getline(&line, &n_allocated, file) >= 0)
        mount_add_line(mounts, line);
    fclose(file);
}

/* Whether it is alive, this user's too, and not hidden by another mount on it or above it. */
static bool is_usable(const struct mount *mount)
{
    AUTO_FREE char *device = NULL;
    struct stat st;

    if (access(mount->path, X_OK) < 0 || stat(mount->path, &st) < 0)
        return false;
    device = xasprintf("%u:%u", major(st.st_dev), minor(st.st_dev));
    return strcmp(device, mount->device) == 0;
}

static void free_mounts(struct mounts *mounts)
{
    for (size_t i = 0; i < mounts->n; i++)
        free(mounts->list[i].path);
    free(mounts->list);
}

/* Takes out those that are of no use, but for one if that is all there is. */
static void keep_usable(struct mounts *mounts)
{
    for (size_t i = 0; i < mounts->n && mounts->n > 1;) {
        if (is_usable(&mounts->list[i])) {
            i++;
            continue;
        }
        free(mounts->list[i].path);
        mounts->list[i] = mounts->list[--mounts->n];
    }
}

/* Return: what follows @directory in @path, "" where it is the same; NULL: @path does not lie in it. */
static const char *below(const char *path, const char *directory)
{
    size_t n = strlen(directory);

    if (strncmp(path, directory, n) != 0)
        return NULL;
    /* The root directory is the only one that ends in a slash. */
    if (n > 0 && directory[n - 1] == '/')
        return path + n;
    return path[n] == '/' ? path + n + 1 : path[n] ? NULL : path + n;
}

bool mount_is_gone(int error)
{
    return error == ENOTCONN || error == ECONNABORTED || error == ECANCELED;
}

/* One that has died is taken too: then that is what there is to say. */
static bool has_ended_or_is_usable(const struct mount *mount)
{
    struct stat st;

    return is_usable(mount) || (stat(mount->path, &st) < 0 && mount_is_gone(errno));
}

char *mount_of(const char *path, char **ret_rest)
{
    struct mounts mounts = { 0 };
    const char *rest = NULL;
    const char *best = NULL;
    char *found = NULL;

    read_mounts(&mounts);
    for (size_t i = 0; i < mounts.n; i++) {
        const char *mount = mounts.list[i].path;
        const char *here = below(path, mount);

        if (here && (!best || strlen(mount) > strlen(best)) &&
            has_ended_or_is_usable(&mounts.list[i])) {
            best = mount;
            rest = here;
        }
    }
    if (best) {
        found = xstrdup(best);
        *ret_rest = xstrdup(rest);
    }
    free_mounts(&mounts);
    return found;
}

char *mount_here(char **ret_rest)
{
    AUTO_FREE char *cwd = getcwd(NULL, 0);

    return cwd ? mount_of(cwd, ret_rest) : NULL;
}

/* Return: the path without links, but for its last name, which is the thing itself; the caller's to free. */
static char *resolve(const char *path)
{
    AUTO_FREE char *copy = xstrdup(path);
    AUTO_FREE char *directory = NULL;
    char *slash = strrchr(copy, '/');
    const char *last = slash ? slash + 1 : copy;

    if (strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
        return realpath(path, NULL);
    if (slash)
        *slash = '\0';
    directory = realpath(slash == copy ? "/" : slash ? copy : ".", NULL);
    if (!directory)
        return NULL;
    return xasprintf("%s/%s", strcmp(directory, "/") ? directory : "", last);
}

char *mount_of_arg(const char *arg, char **ret_rest)
{
    AUTO_FREE char *copy = xstrdup(arg);
    AUTO_FREE char *path = NULL;
    size_t n = strlen(copy);

    while (n > 1 && copy[n - 1] == '/')
        copy[--n] = '\0';
    path = resolve(copy);
    return mount_of(path ? path : copy, ret_rest);
}

static void die_of_choice(const struct mounts *mounts)
{
    char *list = xstrdup("");

    for (size_t i = 0; i < mounts->n; i++) {
        AUTO_FREE char *shown = quote(mounts->list[i].path, false);
        char *longer = xasprintf("%s%s -m %s", list, i > 0 ? " or" : "", shown);

        free(list);
        list = longer;
    }
    die(EXIT_STATUS_USAGE, "ipcfs is mounted %zu times; choose one:%s; or go into it, or set $%s",
        mounts->n, list, MOUNT_VARIABLE);
}

char *mount_find(void)
{
    const char *variable = getenv(MOUNT_VARIABLE);
    AUTO_FREE char *rest = NULL;
    struct mounts mounts = { 0 };
    char *path = mount_here(&rest);

    if (!path && variable && *variable)
        path = xstrdup(variable);
    if (path) {
        mount_check(path);
        return path;
    }
    read_mounts(&mounts);
    keep_usable(&mounts);
    if (mounts.n == 0)
        die(EXIT_STATUS_FAILED, "ipcfs is not mounted; mount it (ipcfs DIRECTORY)");
    if (mounts.n > 1)
        die_of_choice(&mounts);
    path = xstrdup(mounts.list[0].path);
    free_mounts(&mounts);
    mount_check(path);
    return path;
}

void mount_check(const char *path)
{
    AUTO_FREE char *mailboxes = xasprintf("%s/mbox", path);
    AUTO_FREE char *shown = quote(path, false);
    struct stat st;

    if (stat(mailboxes, &st) == 0)
        return;
    if (mount_is_gone(errno))
        die(EXIT_STATUS_FAILED, "the ipcfs on %s has died; clear its mount: fusermount3 -u -z %s",
            shown, shown);
    if (errno == EACCES)
        die(EXIT_STATUS_FAILED,
            "the ipcfs on %s is another user's alone: this one may not enter it", shown);
    die(EXIT_STATUS_FAILED, "there is no ipcfs on %s", shown);
}
