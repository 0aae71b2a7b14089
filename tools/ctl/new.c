#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "change.h"
#include "ctl.h"
#include "quote.h"
#include "why.h"

#define MODE_UNSET ((mode_t)-1)

struct options {
    struct common common;
    mode_t mode;
    const char *size;
    char **args; /* the name, then settings */
    int n_args;
};

enum { KEY_MODE = 0x100, KEY_SIZE };

static const struct argp_option option_list[] = {
    { "mode", KEY_MODE, "MODE", 0,
      "Permission bits, octal, as mkdir -m takes them; else those that the umask leaves" },
    { "size", KEY_SIZE, "SIZE", 0, "Of a region: bytes, or a number with K, M or G" },
    { 0 },
};

static mode_t parse_mode(const struct argp_state *state, const char *text)
{
    size_t n = strspn(text, "01234567");

    if (n == 0 || n > 5 || text[n] || strtoul(text, NULL, 8) > 07777) {
        AUTO_FREE char *shown = quote(text, true);

        argp_error(state, "%s is no mode: octal, like 711", shown);
    }
    return (mode_t)strtoul(text, NULL, 8);
}

static error_t new_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case KEY_MODE:
        options->mode = parse_mode(state, arg);
        return 0;
    case KEY_SIZE:
        options->size = arg;
        return 0;
    default:
        return ctl_parse_list(key, state, &options->common, &options->args, &options->n_args,
                              "say what to make: a NAME");
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = new_parse,
    .args_doc = "NAME [KEY=VALUE...]",
    .doc =
        "Make a mailbox (NAME), a ring (ring/NAME) or a region (shm/NAME), with these settings. If they are "
        "not taken, nothing is made.",
    .children = COMMON_CHILDREN,
};

static off_t new_parse_size(const char *text)
{
    static const char letters[] = "KMG";
    size_t n = strspn(text, "0123456789");
    const char *letter = text[n] ? strchr(letters, text[n]) : NULL;
    unsigned int shift = letter ? 10 * (unsigned int)(letter - letters + 1) : 0;
    unsigned long long size;

    errno = 0;
    size = strtoull(text, NULL, 10);
    if (n == 0 || (text[n] && (!letter || text[n + 1])) || errno != 0 ||
        size > (unsigned long long)(INT64_MAX >> shift)) {
        AUTO_FREE char *shown = quote(text, true);

        die(EXIT_STATUS_USAGE, "%s is no size: a number, then K, M, G or nothing", shown);
    }
    return (off_t)(size << shift);
}

static int new_say_failed(const struct object *object, int error)
{
    if (error == EEXIST)
        say("%s exists already", object->shown);
    else
        why_say(object, "make", NULL, error);
    return -error;
}

/* A mode that was asked for is taken as it is, whatever the umask: as mkdir -m. */
static int new_make_directory(const struct object *object, mode_t mode)
{
    if (mode != MODE_UNSET)
        umask(0);
    if (mkdir(object->path, mode == MODE_UNSET ? 0777 : mode) < 0)
        return new_say_failed(object, errno);
    return 0;
}

static int make_region(const struct object *object, mode_t mode, off_t size)
{
    AUTO_CLOSE int fd = -1;
    int r = 0;

    if (mode != MODE_UNSET)
        umask(0);
    fd = open(object->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
              mode == MODE_UNSET ? 0666 : mode);
    if (fd < 0)
        return new_say_failed(object, errno);
    if (size > 0 && ftruncate(fd, size) < 0)
        r = -errno;
    if (r < 0) {
        unlink(object->path);
        new_say_failed(object, -r);
    }
    return r;
}

static int make(const struct object *object, const struct options *options)
{
    off_t size = options->size ? new_parse_size(options->size) : 0;
    int r;

    if (object->room == ROOM_PROC)
        die(EXIT_STATUS_USAGE, "%s has its mailbox by itself, while it lives", object->shown);
    if (options->size && object->room != ROOM_SHM)
        die(EXIT_STATUS_USAGE, "--size is for regions: %s has settings", object->shown);
    if (options->n_args > 1 && object->room == ROOM_SHM)
        die(EXIT_STATUS_USAGE, "%s has no settings; it has a --size", object->shown);
    if (object->room == ROOM_SHM)
        return make_region(object, options->mode, size);
    r = new_make_directory(object, options->mode);
    if (r == 0 && options->n_args > 1) {
        r = change_config(object, options->args + 1, options->n_args - 1);
        if (r < 0)
            rmdir(object->path);
    }
    return r;
}

static enum exit_status new_run(const char *mount, int argc, char **argv)
{
    struct options options = { .mode = MODE_UNSET };
    struct object object;
    int r;

    mount = ctl_parse(&argp, mount, argc, argv, &options.common);
    object_init(&object, mount, options.args[0], ROOM_MBOX);
    change_check_args(options.args + 1, options.n_args - 1);
    r = make(&object, &options);
    object_deinit(&object);
    return r < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_OK;
}

const struct verb verb_new = { "new", "Make a mailbox, ring or region", &argp, new_run };
