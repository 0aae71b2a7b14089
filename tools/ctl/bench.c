/* What this machine gives: messages a second and round trips through ipcfs and what else there is.
 *
 * In each round every transport has its turn, so that what the machine does meanwhile meets all of them; each
 * figure is compared with the baseline's of the same round. The two ends are processes of their own; this one
 * only waits, so that whatever hangs or dies there, and whatever signal comes here, what was made is removed. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench_report.h"
#include "ctl.h"
#include "mount.h"
#include "quote.h"

#define NS_PER_S INT64_C(1000000000)

/* So long a measurement shall take, and so long it may. */
#define TARGET_NS (NS_PER_S / 20)
#define PATIENCE_S 20

#define FIRST_OPS 200

/* Of .ipcfs/version. */
#define VERSION_BYTES_MAX 65536
#define OPS_MAX 20000000

struct options {
    struct common common;
    size_t size_bytes;
    size_t n_rounds;
    bool json;
    const char *svg;
    const char *other; /* a mount; NULL: none */
};

enum { KEY_JSON = 0x100, KEY_SVG, KEY_BESIDE };

static const struct argp_option option_list[] = {
    { "size", 's', "BYTES", 0, "Of a message, 1 to 65536; 64 if not given" },
    { "rounds", 'r', "N", 0, "How often each is measured, 1 to 1000; 5 if not given" },
    { "beside", KEY_BESIDE, "MOUNT", 0,
      "Another mount of ipcfs, to be measured in the same rounds" },
    { "json", KEY_JSON, NULL, 0, "Print a JSON object" },
    { "svg", KEY_SVG, "FILE", 0, "Write the chart as a picture to FILE too" },
    { 0 },
};

static error_t bench_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->common;
        return 0;
    case 's':
        options->size_bytes = ctl_number(state, "size", arg, 1, 65536);
        return 0;
    case 'r':
        options->n_rounds = ctl_number(state, "number of rounds", arg, 1, 1000);
        return 0;
    case KEY_JSON:
        options->json = true;
        return 0;
    case KEY_BESIDE:
        options->other = arg;
        return 0;
    case KEY_SVG:
        options->svg = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = bench_parse,
    .doc =
        "Measure messages a second and round trips between two processes: through a mailbox, one that is kept on the "
        "disk, a topic, lines and a mapped ring, beside POSIX and System V queues, a pipe, Unix sockets and plain "
        "rings in /dev/shm.",
    .children = COMMON_CHILDREN,
};

/* --- the two ends --- */

/* What the ends and this process share. */
struct stage {
    _Atomic int n_ready;
    _Atomic int error; /* the first that an end met; positive */
    int64_t start_ns;
    int64_t end_ns;
};

struct measurement {
    struct stage *stage;
    struct channel *there;
    struct channel *back; /* NULL: messages go one way */
    uint64_t n_ops;
    void *message; /* zeros */
};

static int attach(const struct measurement *measurement)
{
    int r = measurement->there->transport->attach(measurement->there);

    if (r == 0 && measurement->back)
        r = measurement->back->transport->attach(measurement->back);
    atomic_fetch_add(&measurement->stage->n_ready, 1);
    while (r == 0 && atomic_load(&measurement->stage->n_ready) < 2)
        sched_yield();
    return r;
}

/* The end that sends first, and times a round trip. */
static int run_near_end(const struct measurement *measurement)
{
    struct channel *there = measurement->there;
    struct channel *back = measurement->back;
    int r = attach(measurement);

    measurement->stage->start_ns = now_ns();
    for (uint64_t i = 0; r == 0 && i < measurement->n_ops; i++) {
        r = there->transport->send(there, measurement->message);
        if (r == 0 && back)
            r = back->transport->receive(back, measurement->message);
    }
    if (r == 0)
        r = there->transport->flush(there);
    if (back)
        measurement->stage->end_ns = now_ns();
    return r;
}

static int run_far_end(const struct measurement *measurement)
{
    struct channel *there = measurement->there;
    struct channel *back = measurement->back;
    int r = attach(measurement);

    for (uint64_t i = 0; r == 0 && i < measurement->n_ops; i++) {
        r = there->transport->receive(there, measurement->message);
        if (r == 0 && back)
            r = back->transport->send(back, measurement->message);
    }
    if (!back)
        measurement->stage->end_ns = now_ns();
    return r;
}

static pid_t start_end(const struct measurement *measurement, bool is_far)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    sigset_t none;
    int r;

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_STATUS_FAILED);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    r = is_far ? run_far_end(measurement) : run_near_end(measurement);
    if (r < 0)
        atomic_compare_exchange_strong(&measurement->stage->error, &(int){ 0 }, -r);
    _exit(r < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_OK);
}

/* --- this process --- */

struct bench {
    const struct options *options;
    const char *mount;
    struct stage *stage;
    void *message;
    sigset_t signals; /* blocked: SIGCHLD, and those that end it */
    int stopped_by;   /* a signal; 0: none */
    uint64_t n_ops[N_TRANSPORTS][2];
    double *samples[N_TRANSPORTS][2]; /* for each round */
};

static void block_signals(struct bench *bench)
{
    sigemptyset(&bench->signals);
    sigaddset(&bench->signals, SIGCHLD);
    sigaddset(&bench->signals, SIGINT);
    sigaddset(&bench->signals, SIGTERM);
    sigaddset(&bench->signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &bench->signals, NULL);
}

/* Return: 0: the end has done well; a negative errno: it has not. */
static int judge(const struct bench *bench, int status)
{
    int error = atomic_load(&bench->stage->error);

    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_STATUS_OK)
        return 0;
    return error ? -error : -EIO;
}

/* Waits for both ends; when one fails, or a signal comes, or it takes too long, ends the other. */
static int wait_for_ends(struct bench *bench, pid_t pids[2])
{
    struct timespec patience = { .tv_sec = PATIENCE_S };
    int n_left = 2;
    int result = 0;

    while (n_left > 0) {
        int number = sigtimedwait(&bench->signals, NULL, &patience);

        if (number < 0 && errno == EAGAIN)
            result = -ETIMEDOUT;
        else if (number > 0 && number != SIGCHLD)
            bench->stopped_by = number;
        for (int i = 0; i < 2; i++) {
            int status;

            if ((result < 0 || bench->stopped_by) && pids[i] > 0)
                kill(pids[i], SIGKILL);
            if (pids[i] <= 0 || waitpid(pids[i], &status, WNOHANG) <= 0)
                continue;
            pids[i] = 0;
            n_left--;
            if (result == 0)
                result = judge(bench, status);
            /* The other one, if it was looked at already. */
            if (result < 0 && pids[0] > 0)
                kill(pids[0], SIGKILL);
        }
    }
    return bench->stopped_by ? -EINTR : result;
}

static int run_ends(struct bench *bench, struct measurement *measurement)
{
    pid_t pids[2];

    *bench->stage = (struct stage){ 0 };
    pids[0] = start_end(measurement, true);
    if (pids[0] < 0)
        return -errno;
    pids[1] = start_end(measurement, false);
    if (pids[1] < 0) {
        int error = errno;

        kill(pids[0], SIGKILL);
        waitpid(pids[0], NULL, 0);
        return -error;
    }
    return wait_for_ends(bench, pids);
}

/* Return: how long @n_ops take with a fresh channel, or two; a negative errno. */
static int64_t time_ops(struct bench *bench, int kind, bool round_trip, uint64_t n_ops)
{
    struct channel there;
    struct channel back;
    struct measurement measurement = {
        .stage = bench->stage,
        .there = &there,
        .back = round_trip ? &back : NULL,
        .n_ops = n_ops,
        .message = bench->message,
    };
    const char *mount = bench_is_other(kind) ? bench->options->other : bench->mount;
    int r = channel_open(&there, kind, mount, bench->options->size_bytes);

    if (r < 0)
        return r;
    if (round_trip)
        r = channel_open(&back, kind, mount, bench->options->size_bytes);
    if (r == 0) {
        r = run_ends(bench, &measurement);
        if (round_trip)
            channel_close(&back);
    }
    channel_close(&there);
    return r < 0 ? r : bench->stage->end_ns - bench->stage->start_ns;
}

/* Finds how many operations take long enough to be timed. */
static int calibrate(struct bench *bench, int kind, bool round_trip)
{
    uint64_t n_ops = FIRST_OPS;
    int64_t ns;

    while ((ns = time_ops(bench, kind, round_trip, n_ops)) >= 0 && ns < TARGET_NS / 4 &&
           n_ops < OPS_MAX)
        n_ops *= 4;
    if (ns < 0)
        return (int)ns;
    bench->n_ops[kind][round_trip] = n_ops;
    return 0;
}

static int measure(struct bench *bench, int kind, bool round_trip, size_t round)
{
    uint64_t n_ops;
    int64_t ns;

    if (!bench->n_ops[kind][round_trip]) {
        int r = calibrate(bench, kind, round_trip);

        if (r < 0)
            return r;
    }
    n_ops = bench->n_ops[kind][round_trip];
    ns = time_ops(bench, kind, round_trip, n_ops);
    if (ns < 0)
        return (int)ns;
    ns = ns > 0 ? ns : 1;
    bench->samples[kind][round_trip][round] = round_trip ? (double)ns / (double)n_ops
                                                         : (double)n_ops * 1e9 / (double)ns;
    return 0;
}

static void run_round(struct bench *bench, struct report *report, size_t round)
{
    for (int kind = 0; kind < N_TRANSPORTS; kind++) {
        struct result *result = &report->results[kind];

        for (int round_trip = 0; round_trip < 2; round_trip++) {
            int r = 0;

            if (report_has(report, kind) && !result->error &&
                !(round_trip && transports[kind]->is_stream))
                r = measure(bench, kind, round_trip, round);
            if (bench->stopped_by)
                return;
            if (r < 0)
                result->error = -r;
        }
    }
}

static int compare_numbers(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;

    return difference < 0 ? -1 : difference > 0;
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof(values[0]), compare_numbers);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static struct figure summarize(const struct bench *bench, int kind, int round_trip)
{
    size_t n = bench->options->n_rounds;
    AUTO_FREE double *values = xrealloc(NULL, n, sizeof(*values));
    AUTO_FREE double *ratios = xrealloc(NULL, n, sizeof(*ratios));

    for (size_t i = 0; i < n; i++) {
        values[i] = bench->samples[kind][round_trip][i];
        ratios[i] = values[i] / bench->samples[TRANSPORT_BASELINE][round_trip][i];
    }
    return (struct figure){ median(values, n), median(ratios, n) };
}

static void run_rounds(struct bench *bench, struct report *report)
{
    bool shows = isatty(STDERR_FILENO);

    for (size_t round = 0; round < bench->options->n_rounds && !bench->stopped_by; round++) {
        if (shows)
            fprintf(stderr, "\rround %zu of %zu\033[K", round + 1, bench->options->n_rounds);
        run_round(bench, report, round);
    }
    if (shows)
        fputs("\r\033[K", stderr);
    for (int kind = 0; kind < N_TRANSPORTS; kind++) {
        struct result *result = &report->results[kind];

        if (!report_has(report, kind) || result->error || report->results[TRANSPORT_BASELINE].error)
            continue;
        result->rate = summarize(bench, kind, 0);
        if (!transports[kind]->is_stream)
            result->round_trip = summarize(bench, kind, 1);
    }
}

/* Opened before the measurements: who can't write it shall know at once. What it holds stays until there is something
 * new. */
static FILE *open_svg(const char *path)
{
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;

    if (path && !file) {
        AUTO_FREE char *shown = quote(path, true);

        die(EXIT_STATUS_FAILED, "can't write %s: %s", shown, strerror(errno));
    }
    return file;
}

static int write_svg(const struct report *report, FILE *file, const char *path)
{
    AUTO_FREE char *shown = quote(path, true);
    /* A pipe can't be emptied, and need not. */
    bool has_failed = ftruncate(fileno(file), 0) < 0 && errno != EINVAL;

    if (!has_failed)
        report_print_svg(report, file);
    has_failed = has_failed || ferror(file);
    if (fclose(file) == 0 && !has_failed)
        return 0;
    say("can't write %s: %s", shown, strerror(errno));
    return -1;
}

static void prepare(struct bench *bench, const struct options *options)
{
    bench->options = options;
    bench->message = xrealloc(NULL, options->size_bytes, 1);
    memset(bench->message, 'x', options->size_bytes);
    bench->stage = mmap(NULL, sizeof(*bench->stage), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (bench->stage == MAP_FAILED)
        die(EXIT_STATUS_FAILED, "out of memory");
    for (int kind = 0; kind < N_TRANSPORTS; kind++) {
        for (int round_trip = 0; round_trip < 2; round_trip++)
            bench->samples[kind][round_trip] = xrealloc(NULL, options->n_rounds, sizeof(double));
    }
    block_signals(bench);
}

static void bench_finish(struct bench *bench)
{
    for (int kind = 0; kind < N_TRANSPORTS; kind++) {
        free(bench->samples[kind][0]);
        free(bench->samples[kind][1]);
    }
    munmap(bench->stage, sizeof(*bench->stage));
    free(bench->message);
    sigprocmask(SIG_UNBLOCK, &bench->signals, NULL);
    if (bench->stopped_by)
        raise(bench->stopped_by);
}

/* Says what ought to have been measured and could not: ipcfs itself, and what all is compared with.
 * Return: whether all was. */
static bool is_complete(const struct report *report)
{
    bool complete = true;

    for (int kind = 0; kind < N_TRANSPORTS; kind++) {
        int error = report->results[kind].error;

        if (!error || (!bench_is_ipcfs(kind) && kind != TRANSPORT_BASELINE) ||
            (error == EOPNOTSUPP && transports[kind]->needs))
            continue;
        say("can't measure %s: %s", bench_title(kind), strerror(error));
        complete = false;
    }
    return complete;
}

/* Return: how requests come to the daemon. */
static const char *find_requests(const char *mount)
{
    AUTO_FREE char *path = xasprintf("%s/.ipcfs/version", mount);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    AUTO_FREE char *text = NULL;
    size_t n_bytes;

    if (fd < 0 || read_all(fd, VERSION_BYTES_MAX, &text, &n_bytes) < 0)
        return "an unknown way";
    return memmem(text, n_bytes, "\ntransport=uring\n", strlen("\ntransport=uring\n"))
               ? "io_uring"
               : "/dev/fuse";
}

static enum exit_status bench_run(const char *mount, int argc, char **argv)
{
    struct options options = { .size_bytes = 64, .n_rounds = 5 };
    struct report report = { .n_cpus = sysconf(_SC_NPROCESSORS_ONLN) };
    struct bench bench = { 0 };
    enum exit_status status;
    FILE *svg;

    ctl_parse(&argp, mount, argc, argv, &options.common);
    bench.mount = ctl_mount(&options.common);
    if (options.other)
        mount_check(options.other);
    svg = open_svg(options.svg);
    report.requests = find_requests(bench.mount);
    report.other_requests = options.other ? find_requests(options.other) : NULL;
    report.size_bytes = options.size_bytes;
    report.n_rounds = options.n_rounds;
    prepare(&bench, &options);
    run_rounds(&bench, &report);
    bench_finish(&bench);
    if (options.json)
        report_print_json(&report);
    else
        report_print(&report);
    status = is_complete(&report) ? EXIT_STATUS_OK : EXIT_STATUS_FAILED;
    if (svg && write_svg(&report, svg, options.svg) < 0)
        status = EXIT_STATUS_FAILED;
    return status;
}

const struct verb verb_bench = { "bench", "Measure ipcfs beside what else there is", &argp,
                                 bench_run };
