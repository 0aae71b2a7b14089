/* Each daemon's directory has a name of its own, made when the first ring needs it. Who makes one first looks for
 * those that nobody holds locked, and removes what is in them. */
#include "ring_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARENT "/dev/shm"
#define PREFIX "ipcfs-rings-"

/* Others may pass through, to what they are allowed, and not list it. */
#define DIR_MODE 0711

void ring_dir_init(struct ring_dir *dir)
{
    *dir = (struct ring_dir){ .fd = -1 };
    pthread_mutex_init(&dir->lock, NULL);
}

void ring_dir_deinit(struct ring_dir *dir)
{
    if (dir->fd >= 0) {
        rmdir(dir->path);
        close(dir->fd);
    }
    pthread_mutex_destroy(&dir->lock);
}

/* Removes the files in the directory @fd, which are memory of rings. Takes @fd over. */
static void empty(int fd)
{
    DIR *dir = fdopendir(fd);
    struct dirent *entry;

    if (!dir) {
        close(fd);
        return;
    }
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
}

/* Removes the directory @name of @parent_fd if it is ours and its daemon is gone. */
static void remove_left_behind(int parent_fd, const char *name)
{
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return;
    if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        return;
    }
    empty(fd);
    unlinkat(parent_fd, name, AT_REMOVEDIR);
}

static void clean_up(void)
{
    DIR *parent = opendir(PARENT);
    struct dirent *entry;

    if (!parent)
        return;
    while ((entry = readdir(parent))) {
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0)
            remove_left_behind(dirfd(parent), entry->d_name);
    }
    closedir(parent);
}

/* Return: a descriptor of the directory, locked; a negative errno. */
static int lock_it(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fchmod(fd, DIR_MODE) == 0)
        return fd;
    close(fd);
    return -EBUSY;
}

static int ring_dir_make(struct ring_dir *dir)
{
    int fd;

    clean_up();
    /* Another daemon that is just cleaning up may take a new one for left behind. */
    do {
        strcpy(dir->path, PARENT "/" PREFIX "XXXXXX");
        if (!mkdtemp(dir->path))
            return -errno;
        fd = lock_it(dir->path);
    } while (fd == -ENOENT || fd == -EBUSY);
    return fd;
}

int ring_dir_obtain(struct ring_dir *dir)
{
    int fd;

    pthread_mutex_lock(&dir->lock);
    fd = dir->fd;
    if (fd < 0)
        fd = ring_dir_make(dir);
    if (fd >= 0)
        dir->fd = fd;
    pthread_mutex_unlock(&dir->lock);
    return fd;
}
