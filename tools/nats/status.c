/* Owns the region's path and one timer. */
#include "status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "log.h"
#include "loop.h"

#define STATUS_PREFIX "ipcfs-nats."
#define COUNTED_NS INT64_C(1000000000)

static struct {
    char *path;
    char *next_path;
    struct json_object *(*describe)(void);
    struct timer timer;
    struct job job;
    bool is_counted; /* the timer runs */
    bool has_failed;
} status;

static int status_write(const char *text)
{
    int fd = open(status.next_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    size_t n = strlen(text);
    int r = 0;

    if (fd < 0)
        return -errno;
    if (write(fd, text, n) != (ssize_t)n)
        r = errno ? -errno : -EIO;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    if (r == 0 && rename(status.next_path, status.path) < 0)
        r = -errno;
    if (r < 0)
        unlink(status.next_path);
    return r;
}

static void status_renew(void)
{
    struct json_object *object = status.describe();
    const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY);
    int r = text ? status_write(text) : -ENOMEM;

    if (r < 0 && !status.has_failed)
        log_line("%s: %s; --status shows nothing", status.path, strerror(-r));
    status.has_failed = r < 0;
    json_object_put(object);
}

static void status_run(struct job *job)
{
    (void)job;
    status_renew();
}

static void status_expired(struct timer *timer)
{
    (void)timer;
    status.is_counted = false;
    status_renew();
}

/* What a bridge that was killed left. */
static bool status_is_alive(const char *name)
{
    return kill((pid_t)atol(name + strlen(STATUS_PREFIX)), 0) == 0 || errno == EPERM;
}

static bool status_is_name(const char *name)
{
    size_t n = strlen(STATUS_PREFIX);

    return strncmp(name, STATUS_PREFIX, n) == 0 && name[n] &&
           !name[n + strspn(name + n, "0123456789")];
}

static void status_clean(const char *mount)
{
    char *path = xasprintf("%s/shm", mount);
    DIR *dir = opendir(path);
    struct dirent *entry;

    free(path);
    while (dir && (entry = readdir(dir))) {
        if (status_is_name(entry->d_name) && !status_is_alive(entry->d_name))
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
}

void status_open(const char *mount, struct json_object *(*describe)(void))
{
    status_clean(mount);
    status.path = xasprintf("%s/shm/" STATUS_PREFIX "%ld", mount, (long)getpid());
    status.next_path = xasprintf("%s.new", status.path);
    status.describe = describe;
    status.job.run = status_run;
    if (timer_init(&status.timer, status_expired) < 0)
        log_die(EXIT_STATUS_FAILED, "timer: %s", strerror(errno));
    loop_queue(&status.job);
}

void status_close(void)
{
    unlink(status.path);
    timer_deinit(&status.timer);
    free(status.path);
    free(status.next_path);
}

void status_changed(void)
{
    if (status.path)
        loop_queue(&status.job);
}

void status_counted(void)
{
    if (status.is_counted)
        return;
    status.is_counted = true;
    timer_set(&status.timer, COUNTED_NS);
}

/* --- --status --- */

static const char *status_text(const struct json_object *object, const char *key)
{
    struct json_object *value = NULL;

    json_object_object_get_ex(object, key, &value);
    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "?";
}

static void status_print_mapping(struct json_object *mapping)
{
    struct json_object_iterator at = json_object_iter_begin(mapping);
    struct json_object_iterator end = json_object_iter_end(mapping);

    printf("  %s", status_text(mapping, "line"));
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        const char *key = json_object_iter_peek_name(&at);
        struct json_object *value = json_object_iter_peek_value(&at);

        if (json_object_is_type(value, json_type_int) && json_object_get_int64(value))
            printf("  %s %" PRIu64, key, json_object_get_uint64(value));
        else if (json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value))
            printf("  %s", key);
    }
    putchar('\n');
}

/* Whoever may write to shm/ may have written it. */
static void status_print(const char *name, const struct json_object *object)
{
    struct json_object *connected = NULL;
    struct json_object *lines = NULL;

    json_object_object_get_ex(object, "connected", &connected);
    json_object_object_get_ex(object, "lines", &lines);
    if (json_object_get_boolean(connected))
        printf("%s: connected to %s\n", name, status_text(object, "server"));
    else
        printf("%s: not connected\n", name);
    if (!json_object_is_type(lines, json_type_array))
        return;
    for (size_t i = 0; i < json_object_array_length(lines); i++) {
        struct json_object *mapping = json_object_array_get_idx(lines, i);

        if (json_object_is_type(mapping, json_type_object))
            status_print_mapping(mapping);
    }
}

int status_show(const char *mount)
{
    char *path = xasprintf("%s/shm", mount);
    DIR *dir = opendir(path);
    struct dirent *entry;
    int n = 0;

    free(path);
    if (!dir)
        return -errno;
    while ((entry = readdir(dir))) {
        struct json_object *object;
        int fd;

        if (!status_is_name(entry->d_name) || !status_is_alive(entry->d_name))
            continue;
        fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
        object = fd < 0 ? NULL : json_object_from_fd(fd);
        if (json_object_is_type(object, json_type_object)) {
            status_print(entry->d_name, object);
            n++;
        }
        json_object_put(object);
        if (fd >= 0)
            close(fd);
    }
    closedir(dir);
    return n;
}
