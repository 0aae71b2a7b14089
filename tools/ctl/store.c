/* The store is ipcfs's to read: the verbs run it, the one beside this program where there is one. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "util.h"

struct options {
    struct common common;
    char *dir;
};

static error_t store_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    return ctl_parse_name(key, arg, state, &options->common, &options->dir,
                          "which store? name its directory");
}

static const struct argp_child children[] = { { &common_argp, 0, NULL, 0 }, { 0 } };
static const struct argp check_argp = {
    NULL,     store_parse,
    "DIR",    "Tells whether the store in DIR is sound, and what is in it, without a daemon.",
    children, NULL,
    NULL
};
static const struct argp dump_argp = {
    NULL,     store_parse,
    "DIR",    "Prints what waits in the store in DIR as recv.json does, without a daemon.",
    children, NULL,
    NULL
};

/* Where ipcfs is, seen from this program: installed, and where both were built. */
static const char *const places[] = { "ipcfs", "../fs/ipcfs" };

#define PLACE_BYTES_MAX sizeof("../fs/ipcfs")

/* Return: the path of an ipcfs beside this program; else its name, to be found in PATH. */
static const char *find_ipcfs(char path[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - PLACE_BYTES_MAX);
    char *slash;

    if (n < 0)
        return "ipcfs";
    path[n] = '\0';
    slash = strrchr(path, '/');
    for (size_t i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++) {
        memcpy(slash + 1, places[i], strlen(places[i]) + 1);
        if (access(path, X_OK) == 0)
            return path;
    }
    return "ipcfs";
}

static enum exit_status run_ipcfs(const struct argp *argp, const char *option, const char *mount,
                                  int argc, char **argv)
{
    struct options options = { 0 };
    char path[PATH_MAX];
    char *arg;

    ctl_parse_args(argp, mount, argc, argv, &options.common);
    if (asprintf(&arg, "%s=%s", option, options.dir) < 0)
        die(EXIT_STATUS_FAILED, "out of memory");
    execlp(find_ipcfs(path), "ipcfs", arg, (char *)NULL);
    die(EXIT_STATUS_FAILED, "can't run ipcfs: %s", strerror(errno));
}

static enum exit_status run_check(const char *mount, int argc, char **argv)
{
    return run_ipcfs(&check_argp, "--store-check", mount, argc, argv);
}

static enum exit_status run_dump(const char *mount, int argc, char **argv)
{
    return run_ipcfs(&dump_argp, "--store-dump", mount, argc, argv);
}

static const struct verb verb_check = { "check", "Tell whether a store is sound", &check_argp,
                                        run_check, NULL };
static const struct verb verb_dump = { "dump", "Print what waits in a store", &dump_argp, run_dump,
                                       NULL };

static const struct verb *const verbs[] = { &verb_check, &verb_dump, NULL };

const struct verb verb_store = { "store", "Look into the directory that keeps mailboxes", NULL,
                                 NULL, verbs };
