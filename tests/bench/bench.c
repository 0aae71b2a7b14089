/* ipcfs-bench [options]: what a message through ipcfs costs, beside what it can't cost less than
 * (the null FUSE file, nullfs.c) and what else there is; both filesystems over each transport.
 *
 * This process mounts the filesystems and waits; a child measures, so that whatever hangs or dies
 * there, and whatever signal comes here, the mounts are ended and the directories removed.
 *
 * Where the processes run (--pin) matters more than anything else: see enum pinning. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mounts.h"
#include "results.h"
#include "run.h"

/* meson takes it for "skipped". */
#define EXIT_SKIPPED 77

/* So that also the default mailbox (1,024 messages, 16 MiB) has room for a batch. */
#define MAX_BATCH 240

/* On a virtual machine of two CPUs the null file's write of 64 bytes took
 *   same   10 to 16 us; ratios of two runs differ by 0.02: all that a daemon does is in the figure
 *   split  70 to 110 us: waking up a virtual CPU that has halted takes so long that what the daemon
 *          does hardly shows
 *   free   17 to 45 us: the scheduler moves between the two as it likes, more often the longer a
 *          daemon works; ratios of two runs differ by 0.1 and more
 *   apart  two processes on a CPU each, the daemons where they like
 * so the default is the steadiest and the strictest. */
enum pinning {
    PIN_SAME,  /* all on one CPU */
    PIN_SPLIT, /* who measures on one CPU, the daemons on another */
    PIN_APART, /* who measures on one CPU, the partner on another, the daemons on any */
    PIN_FREE,
    N_PINNINGS,
};

static const char *const pinning_names[N_PINNINGS] = { "same", "split", "apart", "free" };

struct options {
    const char *ipcfs;
    const char *nullfs;
    size_t n_rounds;
    size_t n_ops;
    size_t n_batch;
    unsigned int timeout_s;
    enum pinning pinning;
    bool exchange_only;
    bool json;
};

struct bench {
    struct options options;
    char dir[PATH_MAX];
    struct mount mounts[N_MOUNTS];
    char switch_before; /* the kernel's, for io_uring; '\0': there is none */
    cpu_set_t client_cpus;
    cpu_set_t partner_cpus;
    cpu_set_t daemon_cpus;
    sigset_t ending_signals;
};

static const char usage[] =
    "usage: ipcfs-bench [options]\n"
    "  --ipcfs=PATH   the program under test (default: $IPCFS)\n"
    "  --nullfs=PATH  the program to compare it with (default: $NULLFS)\n"
    "  --rounds=N     how often each is measured (default 21)\n"
    "  --ops=N        operations in each round (default 512)\n"
    "  --batch=N      messages sent before the first is received (default 8, at most 240)\n"
    "  --pin=HOW      same, split, apart or free: who runs on which CPU (default same)\n"
    "  --timeout=S    seconds until it gives up (default 240)\n"
    "  --exchange     leave out what takes two processes\n"
    "  --json         print JSON\n";

__attribute__((noreturn)) static void fail_usage(const char *what)
{
    fprintf(stderr, "bench: %s\n%s", what, usage);
    exit(2);
}

static size_t parse_number(const char *text, size_t max)
{
    char *end;
    unsigned long n;

    errno = 0;
    n = strtoul(text, &end, 10);
    if (errno || end == text || *end || n == 0 || n > max)
        fail_usage("a number is bad or out of bounds");
    return n;
}

static enum pinning parse_pinning(const char *text)
{
    for (size_t i = 0; i < N_PINNINGS; i++) {
        if (strcmp(text, pinning_names[i]) == 0)
            return (enum pinning)i;
    }
    fail_usage("--pin takes same, split, apart or free");
}

static struct options parse_options(int argc, char *argv[])
{
    enum { IPCFS = 1, NULLFS, ROUNDS, OPS, BATCH, PIN, TIMEOUT, EXCHANGE, JSON, HELP };
    static const struct option longs[] = {
        { "ipcfs", required_argument, NULL, IPCFS },
        { "nullfs", required_argument, NULL, NULLFS },
        { "rounds", required_argument, NULL, ROUNDS },
        { "ops", required_argument, NULL, OPS },
        { "batch", required_argument, NULL, BATCH },
        { "pin", required_argument, NULL, PIN },
        { "timeout", required_argument, NULL, TIMEOUT },
        { "exchange", no_argument, NULL, EXCHANGE },
        { "json", no_argument, NULL, JSON },
        { "help", no_argument, NULL, HELP },
        { 0 },
    };
    struct options options = {
        .ipcfs = getenv("IPCFS"),
        .nullfs = getenv("NULLFS"),
        .n_rounds = 21,
        .n_ops = 512,
        .n_batch = 8,
        .timeout_s = 240,
    };
    int option;

    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (option) {
        case IPCFS:
            options.ipcfs = optarg;
            break;
        case NULLFS:
            options.nullfs = optarg;
            break;
        case ROUNDS:
            options.n_rounds = parse_number(optarg, 100000);
            break;
        case OPS:
            options.n_ops = parse_number(optarg, 100000000);
            break;
        case BATCH:
            options.n_batch = parse_number(optarg, MAX_BATCH);
            break;
        case PIN:
            options.pinning = parse_pinning(optarg);
            break;
        case TIMEOUT:
            options.timeout_s = (unsigned int)parse_number(optarg, 86400);
            break;
        case EXCHANGE:
            options.exchange_only = true;
            break;
        case JSON:
            options.json = true;
            break;
        case HELP:
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        default:
            fail_usage("unknown option");
        }
    }
    if (optind < argc)
        fail_usage("no operands");
    if (!options.ipcfs || !options.nullfs)
        fail_usage("name both programs, by --ipcfs and --nullfs or by $IPCFS and $NULLFS");
    return options;
}

/* Return: the CPU of number @n among those we may use; the last one where there are less. */
static int nth_cpu(const cpu_set_t *all, int n)
{
    int last = 0;

    for (int cpu = 0; cpu < CPU_SETSIZE && n >= 0; cpu++) {
        if (CPU_ISSET(cpu, all)) {
            last = cpu;
            n--;
        }
    }
    return last;
}

static void choose_cpus(struct bench *bench)
{
    cpu_set_t all;

    sched_getaffinity(0, sizeof(all), &all);
    bench->client_cpus = bench->partner_cpus = bench->daemon_cpus = all;
    if (bench->options.pinning == PIN_FREE)
        return;
    CPU_ZERO(&bench->client_cpus);
    CPU_SET(nth_cpu(&all, 0), &bench->client_cpus);
    bench->partner_cpus = bench->client_cpus;
    if (bench->options.pinning == PIN_APART) {
        CPU_ZERO(&bench->partner_cpus);
        CPU_SET(nth_cpu(&all, 1), &bench->partner_cpus);
        return;
    }
    CPU_ZERO(&bench->daemon_cpus);
    CPU_SET(nth_cpu(&all, bench->options.pinning == PIN_SPLIT ? 1 : 0), &bench->daemon_cpus);
}

/* Mounts @kind in @dir. Return: 0; -1, said on stderr. */
static int mount_one(struct bench *bench, enum mount_kind kind, const char *dir)
{
    static const char *const transports_of_mounts[N_MOUNTS] = {
        [MOUNT_NULL_DEV] = "--transport=dev",
        [MOUNT_NULL_URING] = "--transport=uring",
        [MOUNT_IPCFS_DEV] = "-otransport=dev",
        [MOUNT_IPCFS_URING] = "-otransport=uring",
    };
    char sizes[N_SIZES][24];
    const char *const ipcfs_argv[] = { bench->options.ipcfs, "-f", transports_of_mounts[kind], dir,
                                       NULL };
    const char *const null_argv[] = {
        bench->options.nullfs, transports_of_mounts[kind], dir, sizes[0], sizes[1], sizes[2], NULL
    };
    const char *const first_argv[] = {
        bench->options.nullfs, dir, sizes[0], sizes[1], sizes[2], NULL
    };

    for (size_t s = 0; s < N_SIZES; s++)
        snprintf(sizes[s], sizeof(sizes[s]), "%zu", message_sizes_bytes[s]);
    if (kind == MOUNT_NULL)
        return mount_start(&bench->mounts[kind], dir, first_argv, &bench->daemon_cpus);
    return mount_start(&bench->mounts[kind], dir,
                       kind == MOUNT_NULL_DEV || kind == MOUNT_NULL_URING ? null_argv : ipcfs_argv,
                       &bench->daemon_cpus);
}

#define SWITCH "/sys/module/fuse/parameters/enable_uring"

/* Sets the kernel's switch, if it can be, to @value. Return: what it was; '\0': there is none. */
static char set_switch(char value)
{
    char before = '\0';
    int fd = open(SWITCH, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return '\0';
    if (pread(fd, &before, 1, 0) != 1 || (before != value && pwrite(fd, &value, 1, 0) != 1))
        before = '\0';
    close(fd);
    return before;
}

/* Return: 0; -1, said on stderr. Without io_uring what is over it stays unmeasured. */
static int mount_all(struct bench *bench)
{
    char dir[PATH_MAX + 24];
    int r = 0;

    snprintf(bench->dir, sizeof(bench->dir), "/tmp/ipcfs-bench-XXXXXX");
    if (!mkdtemp(bench->dir)) {
        perror("bench: can't make a directory in /tmp");
        bench->dir[0] = '\0';
        return -1;
    }
    bench->switch_before = set_switch('Y');
    for (size_t kind = 0; kind < N_MOUNTS && r == 0; kind++) {
        bool is_uring = kind == MOUNT_NULL_URING || kind == MOUNT_IPCFS_URING;

        if (is_uring && !bench->switch_before)
            continue;
        snprintf(dir, sizeof(dir), "%s/%zu", bench->dir, kind);
        r = mount_one(bench, (enum mount_kind)kind, dir);
    }
    return r;
}

static void unmount_all(struct bench *bench)
{
    if (bench->switch_before)
        set_switch(bench->switch_before);
    for (size_t kind = 0; kind < N_MOUNTS; kind++)
        mount_end(&bench->mounts[kind]);
    if (bench->dir[0] && rmdir(bench->dir) < 0)
        fprintf(stderr, "bench: '%s' is left behind: %s\n", bench->dir, strerror(errno));
}

__attribute__((noreturn)) static void measure(const struct bench *bench)
{
    const struct options *options = &bench->options;
    struct bench_env env = {
        .n_batch = options->n_batch,
        .partner_cpus = &bench->partner_cpus,
    };
    struct results results = {
        .n_rounds = options->n_rounds,
        .n_ops = options->n_ops,
        .n_batch = options->n_batch,
        .exchange_only = options->exchange_only,
        .pinning = pinning_names[options->pinning],
    };

    for (size_t i = 0; i < N_MOUNTS; i++) {
        env.dirs[i] = bench->mounts[i].pid > 0 ? bench->mounts[i].dir : NULL;
        env.pids[i] = bench->mounts[i].pid;
    }
    sched_setaffinity(0, sizeof(bench->client_cpus), &bench->client_cpus);
    run_rounds(&env, &results);
    if (options->json)
        results_print_json(&results, stdout);
    else
        results_print_table(&results, stdout);
    results_deinit(&results);
    exit(EXIT_SUCCESS);
}

/* Return: its pid; -1. */
static pid_t start_measuring(const struct bench *bench)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_FAILURE);
    measure(bench);
}

/* Return: the exit status of @pid, which ends by itself, with us or in time. */
static int wait_for(const struct bench *bench, pid_t pid)
{
    struct timespec timeout = { .tv_sec = bench->options.timeout_s };
    int status = 0;
    int signal;

    do {
        signal = sigtimedwait(&bench->ending_signals, NULL, &timeout);
    } while ((signal < 0 && errno == EINTR) ||
             (signal == SIGCHLD && waitpid(pid, &status, WNOHANG) == 0));
    if (signal == SIGCHLD)
        return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
    if (signal < 0)
        fprintf(stderr, "bench: gave up after %u s\n", bench->options.timeout_s);
    else
        fprintf(stderr, "bench: ended by signal %d\n", signal);
    kill(pid, SIGKILL);
    return EXIT_FAILURE;
}

static void block_signals(struct bench *bench)
{
    static const int signals[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT };

    sigemptyset(&bench->ending_signals);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(&bench->ending_signals, signals[i]);
    sigprocmask(SIG_BLOCK, &bench->ending_signals, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char *argv[])
{
    static struct bench bench;
    int status = EXIT_FAILURE;
    pid_t pid;

    bench.options = parse_options(argc, argv);
    if (access("/dev/fuse", R_OK | W_OK) < 0) {
        perror("bench: skipped: /dev/fuse");
        return EXIT_SKIPPED;
    }
    block_signals(&bench);
    choose_cpus(&bench);
    if (mount_all(&bench) == 0) {
        pid = start_measuring(&bench);
        if (pid > 0)
            status = wait_for(&bench, pid);
    }
    unmount_all(&bench);
    /* Where it hung in a daemon, it has ended only with that. */
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    return status;
}
