/* One thread waits for all: for a message, of which it asks by the handle of one slot that has nothing to do; and for
 * signals, which come through a descriptor: a command has ended, or ipcctl is to. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctl.h"
#include "job.h"
#include "wait.h"
#include "why.h"

#define JOBS_MAX 10000

struct options {
    struct common common;
    int64_t timeout_ns;
    uint64_t n_jobs;
    char *name;
    char **command;
};

static const struct argp_option option_list[] = {
    { "jobs", 'j', "N", 0, "Work on N messages at a time, not one" },
    { "timeout", 't', "TIME", 0,
      "End where no message comes within TIME: seconds, or with ms, s, m, h; 0: when none is left" },
    { 0 },
};

static error_t work_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->common;
        return 0;
    case 'j':
        options->n_jobs = ctl_number(state, "jobs", arg, 1, JOBS_MAX);
        return 0;
    case 't':
        options->timeout_ns = ctl_timeout(state, arg);
        return 0;
    case ARGP_KEY_ARG:
        if (!options->name) {
            options->name = arg;
            return 0;
        }
        options->command = state->argv + state->next - 1;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_END:
        if (!options->name)
            argp_error(state, "say where messages come from: a NAME");
        if (!options->command)
            argp_error(state, "say what to do with each message: a command, after --");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = work_parse,
    .args_doc = "NAME -- COMMAND [ARGUMENT...]",
    .doc =
        "Run a command for each message, which is its standard input. Status 0: the message is done; else it returns "
        "to its place, as it does when ipcctl and the command are killed.\v"
        "The command finds IPCFS_ID, IPCFS_UID, IPCFS_GID, IPCFS_PID, IPCFS_PRIO, IPCFS_SIZE, IPCFS_ATTEMPTS, IPCFS_TIME, and "
        "headers as IPCFS_H_NAME. If the message is a question, what it prints is the answer. "
        "SIGTERM and SIGINT let what runs finish, and take no more.",
    .children = COMMON_CHILDREN,
};

struct work {
    const struct object *object;
    struct why_owner owner;
    char *const *command;
    struct job *jobs;
    size_t n_jobs;
    size_t n_running;
    int signals; /* a descriptor */
    bool is_ending;
    uint64_t n_done;
    uint64_t n_back;
    bool shows;
};

static void work_show(const struct work *work)
{
    if (work->shows)
        fprintf(stderr, "\r%llu done, %llu back, %zu running ", (unsigned long long)work->n_done,
                (unsigned long long)work->n_back, work->n_running);
}

static void open_signals(struct work *work)
{
    static const int numbers[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP };
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaddset(&set, numbers[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    work->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (work->signals < 0)
        die(EXIT_STATUS_FAILED, "can't wait for signals: %s", strerror(errno));
}

/* Return: 0; a negative errno: of the mailbox. */
static int open_jobs(struct work *work)
{
    struct rlimit limit;
    int r = 0;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (size_t i = 0; i < work->n_jobs && r == 0; i++)
        r = job_open(&work->jobs[i], work->object);
    return r;
}

static struct job *idle_job(struct work *work)
{
    for (size_t i = 0; i < work->n_jobs; i++) {
        if (!work->jobs[i].pid)
            return &work->jobs[i];
    }
    return NULL;
}

/* Takes what there is, for those that have nothing to do. Return: 0; a negative errno. */
static int start_jobs(struct work *work)
{
    struct job *job;
    int r = 1;

    while (r > 0 && !work->is_ending && (job = idle_job(work))) {
        r = job_start(job, work->command);
        if (r > 0)
            work->n_running++;
    }
    return r < 0 ? r : 0;
}

/* Return: 0; a negative errno. */
static int end_job(struct work *work, pid_t pid, int status)
{
    struct job *job = work->jobs;
    int r;

    while (job < work->jobs + work->n_jobs && job->pid != pid)
        job++;
    if (job == work->jobs + work->n_jobs)
        return 0;
    work->n_running--;
    r = job_end(job, status);
    if (r > 0)
        work->n_done++;
    else if (r == 0)
        work->n_back++;
    return r < 0 ? r : 0;
}

static int end_jobs(struct work *work)
{
    int status;
    pid_t pid;
    int r = 0;

    while (r == 0 && (pid = waitpid(-1, &status, WNOHANG)) > 0)
        r = end_job(work, pid, status);
    return r;
}

/* The second time, what runs is told too. */
static void begin_end(struct work *work, int number)
{
    for (size_t i = 0; i < work->n_jobs && work->is_ending; i++) {
        if (work->jobs[i].pid)
            kill(-work->jobs[i].pid, number);
    }
    work->is_ending = true;
}

static void read_signals(struct work *work)
{
    struct signalfd_siginfo info;

    while (read(work->signals, &info, sizeof(info)) > 0) {
        if (info.ssi_signo != SIGCHLD)
            begin_end(work, (int)info.ssi_signo);
    }
}

/* Waits for a message, where one can be worked on, and for signals. Return: whether something came in time. */
static bool work_wait(struct work *work, int64_t timeout_ns)
{
    struct job *job = work->is_ending ? NULL : idle_job(work);
    struct pollfd fds[] = {
        { .fd = work->signals, .events = POLLIN },
        { .fd = job ? job->fd : -1, .events = POLLIN },
    };
    struct timespec timeout = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
    bool is_idle = work->n_running == 0;

    return ppoll(fds, 2, timeout_ns == WAIT_FOREVER || !is_idle ? NULL : &timeout, NULL) != 0;
}

/* Return: 0; -ETIMEDOUT: nothing came; another negative errno. */
static int work_on(struct work *work, int64_t timeout_ns)
{
    int r = open_jobs(work);

    while (r == 0) {
        r = start_jobs(work);
        work_show(work);
        if (r < 0 || (work->is_ending && work->n_running == 0))
            break;
        if (!work_wait(work, timeout_ns))
            return -ETIMEDOUT;
        read_signals(work);
        r = end_jobs(work);
    }
    return r;
}

/* Waits for what runs, whatever came: its messages are on lease until then. */
static void work_finish(struct work *work)
{
    int status;
    pid_t pid;

    while (work->n_running > 0 && (pid = waitpid(-1, &status, 0)) > 0)
        end_job(work, pid, status);
    for (size_t i = 0; i < work->n_jobs; i++)
        job_close(&work->jobs[i]);
    work_show(work);
    if (work->shows)
        fputc('\n', stderr);
    close(work->signals);
    free(work->jobs);
}

static enum exit_status work_run_on(const struct object *object, const struct options *options)
{
    struct work work = {
        .object = object,
        .command = options->command,
        .n_jobs = options->n_jobs,
        .shows = isatty(STDERR_FILENO),
    };
    int r;

    work.jobs = xrealloc(NULL, work.n_jobs, sizeof(*work.jobs));
    for (size_t i = 0; i < work.n_jobs; i++)
        work.jobs[i] = (struct job){ .fd = -1, .answer = -1 };
    open_signals(&work);
    why_note_owner(&work.owner, object);
    r = work_on(&work, options->timeout_ns);
    work_finish(&work);
    if (r == -EIDRM)
        why_say_gone(object, &work.owner);
    else if (r < 0 && r != -ETIMEDOUT)
        why_say(object, "work on messages of", "work", -r);
    why_forget_owner(&work.owner);
    if (r == -ETIMEDOUT)
        return work.n_done + work.n_back > 0 ? EXIT_STATUS_OK : EXIT_STATUS_NOTHING_CAME;
    return r < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_OK;
}

static enum exit_status work_run(const char *mount, int argc, char **argv)
{
    struct options options = { .timeout_ns = WAIT_FOREVER, .n_jobs = 1 };
    enum exit_status status;
    struct object object;

    mount = ctl_parse(&argp, mount, argc, argv, &options.common);
    object_init(&object, mount, options.name, ROOM_MBOX);
    if (object.room == ROOM_RING || object.room == ROOM_SHM)
        die(EXIT_STATUS_USAGE, "%s has no leases; mailboxes, subscriptions and processes do",
            object.shown);
    status = work_run_on(&object, &options);
    object_deinit(&object);
    return status;
}

const struct verb verb_work = { "work", "Run a command for each message", &argp, work_run };
