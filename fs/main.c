/* From the command line to a mount that answers, and back.
 *
 * The process that mounts is a child; its parent waits until the kernel's first request has come
 * (FUSE_INIT), so that whoever started ipcfs may use the mount as soon as it returns.
 *
 * One thread waits for the signals that end a mount. It ends all mailboxes, so that who waits in
 * one learns it by EIDRM, and then the loop; the main thread unmounts. */
#include <errno.h>
#include <linux/capability.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/kernel/transport.h"
#include "mount.h"
#include "options.h"
#include "say.h"
#include "store_tool.h"

/* Larger blocks than this are given back at once, and of smaller ones what is more than this. */
#define KEPT_BLOCK_BYTES (4 << 20)
#define KEPT_BYTES (16 << 20)

/* Each arena of malloc's keeps as much. */
#define MALLOC_ARENAS 2

struct mount {
    struct options options;
    struct fs fs;
    struct fuse_session *session;
    struct transport *transport; /* while it is mounted */
    sigset_t ending_signals;
    int ready_fd; /* tells the parent that the mount answers; -1: there is none */
};

static void use_null_for_stdio(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return;
    dup2(fd, STDIN_FILENO);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

/* Called when requests are being answered. */
static void main_on_ready(void *arg)
{
    struct mount *mount = arg;
    char byte = 0;

    say_release();
    if (mount->ready_fd < 0)
        return;
    use_null_for_stdio();
    if (write(mount->ready_fd, &byte, 1) < 0)
        /* The parent is gone; the mount is wanted all the same. */
        errno = 0;
    close(mount->ready_fd);
    mount->ready_fd = -1;
}

/* The parent: Return: the exit status, once the child serves or has failed. */
static int wait_until_ready(int ready_fd, pid_t child)
{
    char byte;
    int status;

    if (read(ready_fd, &byte, 1) == 1)
        return EXIT_STATUS_OK;
    if (waitpid(child, &status, 0) == child && WIFEXITED(status))
        return WEXITSTATUS(status);
    say("ended before it could mount");
    return EXIT_STATUS_FAILED;
}

/* Goes on in a child that has no terminal; the parent exits when the child is ready.
 * Return: an exit status, in the child. */
static enum exit_status go_to_background(struct mount *mount)
{
    int fds[2];
    pid_t child;

    if (pipe2(fds, O_CLOEXEC) < 0 || (child = fork()) < 0) {
        say("can't go to the background: %s", strerror(errno));
        return EXIT_STATUS_FAILED;
    }
    if (child > 0) {
        close(fds[1]);
        _exit(wait_until_ready(fds[0], child));
    }
    close(fds[0]);
    mount->ready_fd = fds[1];
    setsid();
    return EXIT_STATUS_OK;
}

static void *wait_for_signal(void *arg)
{
    struct mount *mount = arg;
    int signal;

    if (sigwait(&mount->ending_signals, &signal) == 0) {
        fs_end_mailboxes(&mount->fs);
        transport_end(mount->transport);
    }
    return NULL;
}

static void on_notice(void *arg, const char *line)
{
    (void)arg;
    say("%s", line);
}

/* Return: 0; a negative errno. */
static int make_transport(struct mount *mount)
{
    const struct transport_events events = { .ready = main_on_ready,
                                             .notice = on_notice,
                                             .arg = mount };

    return transport_new(mount->session, mount->options.transport, &events, &mount->transport);
}

static enum exit_status loop(struct mount *mount)
{
    int r = transport_run(mount->transport);

    if (r == 0)
        return EXIT_STATUS_OK;
    if (r != -EPROTONOSUPPORT)
        say("the connection to the kernel failed: %s", strerror(-r));
    return EXIT_STATUS_FAILED;
}

static enum exit_status main_serve(struct mount *mount)
{
    enum exit_status status;
    pthread_t signal_thread;
    int r;

    r = make_transport(mount);
    if (r == 0)
        r = fs_start(&mount->fs, mount->ready_fd >= 0);
    if (r == 0)
        r = -pthread_create(&signal_thread, NULL, wait_for_signal, mount);
    if (r != 0) {
        say("can't start a thread: %s", strerror(-r));
        return EXIT_STATUS_FAILED;
    }
    status = loop(mount);
    pthread_cancel(signal_thread);
    pthread_join(signal_thread, NULL);
    /* Who has the kernel wait for long does not keep the others' calls unanswered. */
    if (!fs_stop(&mount->fs))
        umount2(mount->options.mountpoint, MNT_FORCE);
    transport_free(mount->transport);
    return status;
}

/* Why a mount failed that libfuse says too little about. Return: whether it was said. */
static bool say_known_reason(void)
{
    if (access("/dev/fuse", F_OK) < 0) {
        say("/dev/fuse is missing: load the kernel's module (modprobe fuse); a container wants "
            "--device /dev/fuse");
        return true;
    }
    if (access("/dev/fuse", R_OK | W_OK) < 0) {
        say("/dev/fuse can't be opened: %s; let all users (as root: chmod 666 /dev/fuse)",
            strerror(errno));
        return true;
    }
    if (geteuid() == 0 && prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) == 0) {
        say("this root may not mount; a container wants --cap-add SYS_ADMIN");
        return true;
    }
    return false;
}

/* Return: the device of what is mounted at @path, without asking it: nobody answers yet; 0: it can't be told. */
static dev_t device_of(const char *path)
{
    struct statx found;

    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &found) < 0)
        return 0;
    return makedev(found.stx_dev_major, found.stx_dev_minor);
}

static enum exit_status mount_and_serve(struct mount *mount)
{
    enum exit_status status;

    if (fuse_session_mount(mount->session, mount->options.mountpoint) < 0) {
        if (!say_known_reason())
            say_fuse("can't mount");
        return EXIT_STATUS_FAILED;
    }
    mount->fs.kernel.dev = device_of(mount->options.mountpoint);
    status = chdir("/") == 0 ? main_serve(mount) : EXIT_STATUS_FAILED;
    fuse_session_unmount(mount->session);
    return status;
}

static enum exit_status open_store(struct mount *mount)
{
    char why[STORE_WHY_MAX];

    if (!mount->options.store || fs_open_store(&mount->fs, mount->options.store, why) == 0)
        return EXIT_STATUS_OK;
    say("store '%s': %s", mount->options.store, why);
    return EXIT_STATUS_FAILED;
}

static enum exit_status main_run(struct mount *mount)
{
    enum exit_status status = EXIT_STATUS_OK;

    mount->session = fuse_session_new(&mount->options.session_args, &kernel_ops, sizeof(kernel_ops),
                                      &mount->fs.kernel);
    if (!mount->session) {
        say_fuse("bad option");
        return EXIT_STATUS_USAGE;
    }
    kernel_set_session(&mount->fs.kernel, mount->session);
    if (!mount->options.foreground && !mount->options.debug)
        status = go_to_background(mount);
    if (status == EXIT_STATUS_OK)
        status = open_store(mount);
    if (status == EXIT_STATUS_OK)
        status = mount_and_serve(mount);
    /* A thread that has not ended may use it. */
    if (!mount->fs.is_stuck)
        fs_deinit(&mount->fs);
    fuse_session_destroy(mount->session);
    return status;
}

/* Each process in proc/ takes a file descriptor. */
static void allow_many_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Messages come and go: memory that was freed is kept for the next ones, where it would otherwise
 * be given back and faulted in again page by page, which takes longer than to copy a message. */
static void keep_freed_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES);
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
    mallopt(M_ARENA_MAX, MALLOC_ARENAS);
}

static enum exit_status main_start(struct mount *mount)
{
    keep_freed_memory();
    mount->ready_fd = -1;
    sigemptyset(&mount->ending_signals);
    sigaddset(&mount->ending_signals, SIGTERM);
    sigaddset(&mount->ending_signals, SIGINT);
    sigaddset(&mount->ending_signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &mount->ending_signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* Of a lease (region_bytes.c) that somebody breaks who looks into our descriptors. */
    signal(SIGIO, SIG_IGN);
    allow_many_files();
    if (fs_init(&mount->fs, &mount->options.fs) < 0) {
        say("out of memory");
        return EXIT_STATUS_FAILED;
    }
    return main_run(mount);
}

int main(int argc, char *argv[])
{
    static struct mount mount;
    enum exit_status status;

    say_capture();
    status = options_parse(&mount.options, argc, argv);
    if (status == EXIT_STATUS_OK && mount.options.help)
        options_print_help();
    else if (status == EXIT_STATUS_OK && mount.options.store_check)
        status = store_tool_check(mount.options.store_check) < 0 ? EXIT_STATUS_FAILED
                                                                 : EXIT_STATUS_OK;
    else if (status == EXIT_STATUS_OK && mount.options.store_dump)
        status = store_tool_dump(mount.options.store_dump) < 0 ? EXIT_STATUS_FAILED
                                                               : EXIT_STATUS_OK;
    else if (status == EXIT_STATUS_OK && mount.options.version)
        printf("ipcfs %s (libfuse %s)\n", IPCFS_VERSION, fuse_pkgversion());
    else if (status == EXIT_STATUS_OK)
        status = main_start(&mount);
    options_free(&mount.options);
    say_release();
    return status;
}
