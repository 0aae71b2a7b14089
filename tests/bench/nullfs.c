/* nullfs [--transport=uring|dev] MOUNTPOINT SIZE...: the floor that ipcfs is measured against. Requests come by
 * libfuse's own loop, or by a transport of ipcfs's (fs/kernel/transport.h).
 *
 * For each size a file nullSIZE, which takes every write whole and answers every read with SIZE
 * bytes that are always the same, without a lock, a copy or an allocation of its own. What a call
 * costs here is what the kernel and libfuse cost, for the session is set up as that of ipcfs is
 * (fs/main.c, fs/ops.c, fs/options.c): keep them alike.
 *
 * Stays in the foreground; ends with umount, SIGTERM or SIGINT. */
#include <fuse_lowlevel.h>

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/kernel/transport.h"

#define MAX_WRITE_BYTES (1U << 20)
#define MAX_FILES 16
#define FIRST_FILE_INO (FUSE_ROOT_ID + 1)

/* As fs/box.c has it for `send`: below the end of a file the kernel lets writers in side by side. */
#define FILE_BYTES (1 << 20)

#define OPEN_FLAGS (FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES)

static char message[MAX_WRITE_BYTES];

static size_t sizes[MAX_FILES];
static size_t n_files;

static bool is_file(fuse_ino_t ino)
{
    return ino >= FIRST_FILE_INO && ino < FIRST_FILE_INO + n_files;
}

static struct stat attr_of(fuse_ino_t ino)
{
    struct stat attr = { .st_ino = ino, .st_uid = geteuid(), .st_gid = getegid(), .st_nlink = 1 };

    if (is_file(ino)) {
        attr.st_mode = S_IFREG | 0600;
        attr.st_size = FILE_BYTES;
    } else {
        attr.st_mode = S_IFDIR | 0700;
    }
    return attr;
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    fuse_unset_feature_flag(conn, FUSE_CAP_ATOMIC_O_TRUNC);
    fuse_unset_feature_flag(conn, FUSE_CAP_READDIRPLUS);
    if (conn->max_write > MAX_WRITE_BYTES)
        conn->max_write = MAX_WRITE_BYTES;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    char file_name[32];

    (void)parent;
    for (size_t i = 0; i < n_files; i++) {
        struct fuse_entry_param entry = { .ino = FIRST_FILE_INO + i };

        snprintf(file_name, sizeof(file_name), "null%zu", sizes[i]);
        if (strcmp(name, file_name) == 0) {
            entry.attr = attr_of(entry.ino);
            fuse_reply_entry(req, &entry);
            return;
        }
    }
    fuse_reply_err(req, ENOENT);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat attr = attr_of(ino);

    (void)fi;
    fuse_reply_attr(req, &attr, 0.0);
}

/* By hand: struct fuse_file_info has no member for FOPEN_STREAM. */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fuse_open_out out = { .fh = sizes[ino - FIRST_FILE_INO], .open_flags = OPEN_FLAGS };

    (void)fi;
    fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    (void)ino;
    (void)offset;
    fuse_reply_buf(req, message, size < fi->fh ? size : fi->fh);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    (void)ino;
    (void)data;
    (void)offset;
    (void)fi;
    fuse_reply_write(req, size);
}

static const struct fuse_lowlevel_ops ops = {
    .init = op_init,
    .lookup = op_lookup,
    .getattr = op_getattr,
    .open = op_open,
    .read = op_read,
    .write = op_write,
};

static int loop(struct fuse_session *session)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int r;

    if (!config)
        return -ENOMEM;
    fuse_loop_cfg_set_max_threads(config, n_cpus < 2 ? 2 : (unsigned int)n_cpus);
    r = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    /* Positive: the signal that ended it. */
    return r < 0 ? r : 0;
}

static void on_ready(void *arg)
{
    (void)arg;
}

static void on_notice(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "nullfs: %s\n", line);
}

static void *wait_for_signal(void *arg)
{
    sigset_t signals;
    int signal;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigwait(&signals, &signal);
    transport_end(arg);
    return NULL;
}

static void block_signals(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

/* As ipcfs does it. */
static int serve_over(struct fuse_session *session, enum transport_choice choice)
{
    const struct transport_events events = { .ready = on_ready, .notice = on_notice };
    struct transport *transport;
    pthread_t thread;
    int r = transport_new(session, choice, &events, &transport);

    if (r < 0)
        return r;
    r = -pthread_create(&thread, NULL, wait_for_signal, transport);
    if (r == 0) {
        r = transport_run(transport);
        pthread_cancel(thread);
        pthread_join(thread, NULL);
    }
    transport_free(transport);
    return r;
}

static int mount_and_serve_over(struct fuse_session *session, const char *mountpoint,
                                enum transport_choice choice)
{
    int r = -1;

    block_signals();
    if (fuse_session_mount(session, mountpoint) == 0) {
        r = serve_over(session, choice);
        fuse_session_unmount(session);
    }
    return r;
}

static int mount_and_serve(struct fuse_session *session, const char *mountpoint)
{
    int r = -1;

    if (fuse_set_signal_handlers(session) < 0)
        return -1;
    if (fuse_session_mount(session, mountpoint) == 0) {
        r = loop(session);
        fuse_session_unmount(session);
    }
    fuse_remove_signal_handlers(session);
    return r;
}

/* @choice: TRANSPORT_AUTO: libfuse's loop. */
static int run(const char *mountpoint, enum transport_choice choice)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_session *session = NULL;
    int r = fuse_opt_add_arg(&args, "nullfs");

    if (r == 0)
        r = fuse_opt_add_arg(&args, "-odefault_permissions,fsname=nullfs,subtype=nullfs");
    if (r == 0 && geteuid() == 0)
        r = fuse_opt_add_arg(&args, "-oallow_other");
    if (r == 0)
        session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
    if (!session)
        r = -1;
    else if (choice == TRANSPORT_AUTO)
        r = mount_and_serve(session, mountpoint);
    else
        r = mount_and_serve_over(session, mountpoint, choice);
    if (session)
        fuse_session_destroy(session);
    fuse_opt_free_args(&args);
    return r;
}

static int read_sizes(int argc, char *argv[])
{
    for (int i = 0; i < argc; i++) {
        char *end;
        unsigned long size = strtoul(argv[i], &end, 10);

        if (n_files == MAX_FILES || *end || size == 0 || size > sizeof(message))
            return -1;
        sizes[n_files++] = size;
    }
    return n_files > 0 ? 0 : -1;
}

int main(int argc, char *argv[])
{
    enum transport_choice choice = TRANSPORT_AUTO;

    if (argc > 1 && strcmp(argv[1], "--transport=uring") == 0)
        choice = TRANSPORT_URING;
    else if (argc > 1 && strcmp(argv[1], "--transport=dev") == 0)
        choice = TRANSPORT_DEV;
    if (choice != TRANSPORT_AUTO) {
        argv++;
        argc--;
    }
    if (argc < 3 || read_sizes(argc - 2, argv + 2) < 0) {
        fprintf(stderr, "usage: nullfs [--transport=uring|dev] MOUNTPOINT SIZE...\n");
        return 2;
    }
    /* Memory of its own, not the kernel's one page of zeros. */
    memset(message, 'm', sizeof(message));
    return run(argv[1], choice) < 0 ? 1 : 0;
}
