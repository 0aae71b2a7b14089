/* Owns the two paths and, while a mailbox is waited for, an inotify descriptor. */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "log.h"

/* Whatever woke us: the question is only whether the name is there. */
static void place_ready(struct source *source)
{
    struct place *place = container_of(source, struct place, source);
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

    while (read(source->fd, events, sizeof(events)) > 0)
        ;
    loop_watch(source, EPOLLIN);
    place->returned(place);
}

void place_init(struct place *place, const char *mount, const char *kind, const char *name,
                void (*returned)(struct place *place))
{
    *place = (struct place){
        .dir = xasprintf("%s/%s/%s", mount, kind, name),
        .parent = xasprintf("%s/%s", mount, kind),
        .source = { .fd = -1, .ready = place_ready },
        .returned = returned,
    };
}

void place_deinit(struct place *place)
{
    place_wait_no_more(place);
    free(place->dir);
    free(place->parent);
}

int place_open(const struct place *place, const char *file, int flags)
{
    char *path = xasprintf("%s/%s", place->dir, file);
    int fd = open(path, flags | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : fd;

    free(path);
    return r;
}

char *place_read(const char *mailbox, const char *name, const char *key)
{
    char *path = xasprintf("%s/%s", mailbox, name);
    FILE *file = fopen(path, "re");
    char *line = NULL;
    char *value = NULL;
    size_t n_allocated = 0;
    size_t n_key = strlen(key);

    free(path);
    while (file && !value && getline(&line, &n_allocated, file) > 0) {
        if (strncmp(line, key, n_key) == 0 && line[n_key] == '=')
            value = xstrdup(line + n_key + 1);
    }
    if (value)
        value[strcspn(value, "\n")] = '\0';
    free(line);
    if (file)
        fclose(file);
    return value;
}

/* By what a call failed with: the daemon has ended, or what is left of its mount has been taken away too. */
static bool place_mount_is_gone(const struct place *place, int error)
{
    /* ECANCELED: the kernel's, for a request that a daemon had by io_uring when it was killed. */
    return error == ENOTCONN || error == ECONNABORTED || error == ENODEV || error == ECANCELED ||
           (error == ENOENT && access(place->parent, F_OK) < 0);
}

void place_wait(struct place *place)
{
    int error;

    if (place->source.fd >= 0)
        return;
    place->source.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (place->source.fd < 0)
        log_die(EXIT_STATUS_FAILED, "inotify: %s", strerror(errno));
    if (inotify_add_watch(place->source.fd, place->parent, IN_CREATE | IN_MOVED_TO) < 0) {
        error = errno;
        place_is_gone(place, error);
        log_die(EXIT_STATUS_FAILED, "%s: %s", place->parent, strerror(error));
    }
    loop_watch(&place->source, EPOLLIN);
}

void place_wait_no_more(struct place *place)
{
    if (place->source.fd < 0)
        return;
    loop_unwatch(&place->source);
    close(place->source.fd);
    place->source.fd = -1;
}

bool place_is_gone(const struct place *place, int error)
{
    if (place_mount_is_gone(place, error))
        log_die(EXIT_STATUS_FAILED, "%s: the mount is gone", place->parent);
    return error == EIDRM || error == ENOENT || error == ESTALE || error == EPIPE;
}

void place_die(const struct place *place, const char *file, int error)
{
    place_is_gone(place, error);
    log_die(EXIT_STATUS_FAILED, "%s/%s: %s", place->dir, file, strerror(error));
}
