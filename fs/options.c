/* Each option is read as text first and judged afterwards, all of them: what is wrong with one is said in one
 * line, and nothing is mounted. */
#include "options.h"

#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/base/size.h"
#include "say.h"

#define DEFAULT_MAX_BYTES (UINT64_C(256) << 20)

enum {
    KEY_IGNORED,
    KEY_BARE,
};

/* As given, before it is checked. */
struct raw {
    char *max_bytes;
    char *uid_bytes;
    char *transport;
    char *store;
    char *store_check;
    char *store_dump;
    int private;
    int no_passthrough;
    int n_operands;
    char *last_operand;
    char *bare; /* an option that wants a value and has none; NULL: there is none such */
};

#define FLAG(template, member)                                                                     \
    {                                                                                              \
        template, offsetof(struct options, member), 1                                              \
    }

static const struct fuse_opt flags[] = {
    FLAG("-f", foreground), FLAG("-d", debug),   FLAG("debug", debug),       FLAG("-h", help),
    FLAG("--help", help),   FLAG("-V", version), FLAG("--version", version), FUSE_OPT_END,
};

static const struct fuse_opt options_settings[] = {
    { "max_bytes=%s", offsetof(struct raw, max_bytes), 0 },
    { "uid_bytes=%s", offsetof(struct raw, uid_bytes), 0 },
    { "transport=%s", offsetof(struct raw, transport), 0 },
    { "store=%s", offsetof(struct raw, store), 0 },
    { "--store-check=%s", offsetof(struct raw, store_check), 0 },
    { "--store-dump=%s", offsetof(struct raw, store_dump), 0 },
    FUSE_OPT_KEY("max_bytes", KEY_BARE),
    FUSE_OPT_KEY("uid_bytes", KEY_BARE),
    FUSE_OPT_KEY("transport", KEY_BARE),
    FUSE_OPT_KEY("store", KEY_BARE),
    FUSE_OPT_KEY("--store-check", KEY_BARE),
    FUSE_OPT_KEY("--store-dump", KEY_BARE),
    { "private", offsetof(struct raw, private), 1 },
    { "nopassthrough", offsetof(struct raw, no_passthrough), 1 },
    /* What fstab and mount(8) say to each other and not to a filesystem. */
    FUSE_OPT_KEY("defaults", KEY_IGNORED),
    FUSE_OPT_KEY("auto", KEY_IGNORED),
    FUSE_OPT_KEY("noauto", KEY_IGNORED),
    FUSE_OPT_KEY("user", KEY_IGNORED),
    FUSE_OPT_KEY("nouser", KEY_IGNORED),
    FUSE_OPT_KEY("users", KEY_IGNORED),
    FUSE_OPT_KEY("owner", KEY_IGNORED),
    FUSE_OPT_KEY("group", KEY_IGNORED),
    FUSE_OPT_KEY("nofail", KEY_IGNORED),
    FUSE_OPT_KEY("_netdev", KEY_IGNORED),
    FUSE_OPT_KEY("atime", KEY_IGNORED),
    FUSE_OPT_KEY("diratime", KEY_IGNORED),
    FUSE_OPT_KEY("relatime", KEY_IGNORED),
    FUSE_OPT_KEY("norelatime", KEY_IGNORED),
    FUSE_OPT_KEY("strictatime", KEY_IGNORED),
    FUSE_OPT_KEY("comment=", KEY_IGNORED),
    FUSE_OPT_END,
};

/* Return: 0; -1: there was no memory. */
static int keep_text(char **text, const char *arg)
{
    free(*text);
    *text = strdup(arg);
    return *text ? 0 : -1;
}

/* Keeps for libfuse what neither table knows; it refuses what it does not know either. */
static int sort_out(void *data, const char *arg, int key, struct fuse_args *out)
{
    struct raw *raw = data;

    (void)out;
    if (key == KEY_IGNORED || strncmp(arg, "x-", 2) == 0)
        return 0;
    if (key == KEY_BARE)
        return keep_text(&raw->bare, arg);
    if (key != FUSE_OPT_KEY_NONOPT)
        return 1;
    raw->n_operands++;
    return keep_text(&raw->last_operand, arg);
}

static enum exit_status read_size(const char *key, const char *text, uint64_t *size)
{
    if (!text)
        return EXIT_STATUS_OK;
    if (size_parse(text, strlen(text), size) == 0 && *size > 0)
        return EXIT_STATUS_OK;
    say("bad size in %s='%s': a number above 0, then K, M, G or nothing", key, text);
    return EXIT_STATUS_USAGE;
}

static enum exit_status read_transport(const char *text, enum transport_choice *choice)
{
    static const char *const names[] = {
        [TRANSPORT_AUTO] = "auto",
        [TRANSPORT_URING] = "uring",
        [TRANSPORT_DEV] = "dev",
    };

    if (!text)
        return EXIT_STATUS_OK;
    for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *choice = (enum transport_choice)i;
            return EXIT_STATUS_OK;
        }
    }
    say("bad transport='%s': auto, uring or dev", text);
    return EXIT_STATUS_USAGE;
}

/* Says why @path can't be mounted on. */
static void say_bad_mountpoint(const char *path, int error)
{
    switch (error) {
    case ENOENT:
        say("mount point '%s' does not exist: make it first (mkdir -p)", path);
        break;
    case ENOTCONN:
    case ECONNABORTED: /* over io_uring, for a moment */
        say("mount point '%s' holds a dead mount: clear it first (fusermount3 -u -z %s)", path,
            path);
        break;
    default:
        say("mount point '%s': %s", path, strerror(error));
        break;
    }
}

/* What is mounted last at @path hides what was before. */
static bool is_ipcfs(const char *path)
{
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    const struct mntent *entry;
    bool found = false;

    while (mounts && (entry = getmntent(mounts))) {
        if (strcmp(entry->mnt_dir, path) == 0)
            found = strcmp(entry->mnt_type, "fuse.ipcfs") == 0;
    }
    if (mounts)
        endmntent(mounts);
    return found;
}

static enum exit_status read_mountpoint(const struct raw *raw, struct options *options)
{
    struct statvfs fs;
    struct stat st;
    int error = 0;

    if (raw->n_operands == 0 || raw->n_operands > 2) {
        say("%s; usage: ipcfs [options] [SOURCE] MOUNTPOINT (more: ipcfs -h)",
            raw->n_operands == 0 ? "no mount point given" : "too many operands");
        return EXIT_STATUS_USAGE;
    }
    options->mountpoint = realpath(raw->last_operand, NULL);
    /* The kernel may still know the attributes of what has died: statvfs() asks. */
    if (!options->mountpoint || stat(options->mountpoint, &st) < 0 ||
        statvfs(options->mountpoint, &fs) < 0)
        error = errno;
    else if (!S_ISDIR(st.st_mode))
        error = ENOTDIR;
    /* Whoever has it mounted would find an empty one, without a word. */
    if (error == 0 && options->mountpoint && is_ipcfs(options->mountpoint)) {
        say("an ipcfs is mounted on '%s' and answers: use that one, or end it first (fusermount3 -u %s)",
            options->mountpoint, options->mountpoint);
        return EXIT_STATUS_FAILED;
    }
    if (error == 0)
        return EXIT_STATUS_OK;
    say_bad_mountpoint(raw->last_operand, error);
    return EXIT_STATUS_FAILED;
}

static enum exit_status read_store(const char *text, struct options *options)
{
    if (!text)
        return EXIT_STATUS_OK;
    if (!*text) {
        say("no directory in store=: name one, as in store=/var/lib/ipcfs");
        return EXIT_STATUS_USAGE;
    }
    options->store = strdup(text);
    if (options->store)
        return EXIT_STATUS_OK;
    say("out of memory");
    return EXIT_STATUS_FAILED;
}

static enum exit_status options_check(const struct raw *raw, struct options *options)
{
    enum exit_status status;

    options->fs.no_passthrough = raw->no_passthrough;
    options->fs.max_bytes = DEFAULT_MAX_BYTES;
    status = read_size("max_bytes", raw->max_bytes, &options->fs.max_bytes);
    if (status != EXIT_STATUS_OK)
        return status;
    options->fs.uid_bytes = (options->fs.max_bytes + 3) / 4;
    status = read_size("uid_bytes", raw->uid_bytes, &options->fs.uid_bytes);
    if (status != EXIT_STATUS_OK)
        return status;
    status = read_transport(raw->transport, &options->transport);
    if (status != EXIT_STATUS_OK)
        return status;
    status = read_store(raw->store, options);
    if (status != EXIT_STATUS_OK)
        return status;
    return read_mountpoint(raw, options);
}

/* Return: whether there was memory. */
static bool add_session_args(const struct raw *raw, const struct options *options,
                             struct fuse_args *args)
{
    int r = fuse_opt_add_arg(args, "-odefault_permissions,fsname=ipcfs,subtype=ipcfs");

    if (r == 0 && geteuid() == 0 && !raw->private)
        r = fuse_opt_add_arg(args, "-oallow_other");
    if (r == 0 && options->debug)
        r = fuse_opt_add_arg(args, "-odebug");
    return r == 0;
}

static enum exit_status parse(struct raw *raw, struct options *options)
{
    struct fuse_args *args = &options->session_args;

    if (fuse_opt_parse(args, options, flags, NULL) < 0 ||
        fuse_opt_parse(args, raw, options_settings, sort_out) < 0) {
        say_fuse("bad option");
        return EXIT_STATUS_USAGE;
    }
    if (raw->bare) {
        say("%s wants a value, as in %s=...; see: ipcfs -h", raw->bare, raw->bare);
        return EXIT_STATUS_USAGE;
    }
    options->store_check = raw->store_check;
    options->store_dump = raw->store_dump;
    if (options->help || options->version || options->store_check || options->store_dump)
        return EXIT_STATUS_OK;
    if (!add_session_args(raw, options, args)) {
        say("out of memory");
        return EXIT_STATUS_FAILED;
    }
    return options_check(raw, options);
}

enum exit_status options_parse(struct options *options, int argc, char *argv[])
{
    struct raw raw = { 0 };
    enum exit_status status;

    *options = (struct options){ .session_args = FUSE_ARGS_INIT(argc, argv) };
    status = parse(&raw, options);
    free(raw.max_bytes);
    free(raw.uid_bytes);
    free(raw.transport);
    free(raw.store);
    free(raw.last_operand);
    free(raw.bare);
    return status;
}

void options_free(struct options *options)
{
    free(options->mountpoint);
    free(options->store);
    free(options->store_check);
    free(options->store_dump);
    fuse_opt_free_args(&options->session_args);
}

void options_print_help(void)
{
    puts(
        "usage: ipcfs [options] [SOURCE] MOUNTPOINT\n"
        "Mounts a filesystem in which mailboxes are directories and messages are written and read\n"
        "with echo and cat. SOURCE is ignored; it is there for mount(8) and fstab.\n"
        "\n"
        "  -f                  stay in the foreground\n"
        "  -d                  say what the kernel asks (implies -f)\n"
        "  -h, --help          this\n"
        "  -V, --version       the version\n"
        "  -o max_bytes=SIZE   bound on all that waits (default 256M)\n"
        "  -o uid_bytes=SIZE   bound on what one user may hold (default a quarter of it)\n"
        "  -o store=DIR        keep mailboxes and messages in DIR, so that they outlive the daemon\n"
        "  --store-check=DIR   tell whether the store in DIR is sound, and what is in it\n"
        "  --store-dump=DIR    print what waits in it, as recv.json does\n"
        "  -o private          mounted by root: for root alone\n"
        "  -o nopassthrough    do as if the kernel could not map files straight onto shared memory\n"
        "  -o transport=WAY    how requests come from the kernel: uring (io_uring), dev (/dev/fuse),\n"
        "                      or auto (default): io_uring where the kernel offers it\n"
        "  -o OPTION           ro, nosuid, allow_other and others of mount(8)\n"
        "\n"
        "SIZE is in bytes, or with K, M or G. It ends with umount, fusermount3 -u, SIGTERM or SIGINT.");
}
