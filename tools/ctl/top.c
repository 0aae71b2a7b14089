/* A live screen of what a mount holds.
 *
 * Between two looks it holds nothing of the mount open, so that it can be unmounted; /proc/self/mountinfo
 * tells when it was (POLLPRI). All signals but while it waits are blocked, so that none is missed. */
#include <curses.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctl.h"
#include "human.h"
#include "kept.h"
#include "mount.h"
#include "quote.h"
#include "top_columns.h"
#include "top_rows.h"
#include "wait.h"

#define NS_PER_S INT64_C(1000000000)
#define DELAY_MIN_NS (NS_PER_S / 20)
#define FILTER_BYTES 64
#define KEY_ESCAPE 27
#define KEY_RUBOUT 127

/* Lines above the rows, and below. */
#define TOP_LINES 3
#define BOTTOM_LINES 1

struct options {
    struct common common;
    int64_t delay_ns;
};

static const struct argp_option option_list[] = {
    { "delay", 'd', "TIME", 0, "Time between two looks, 1 second if not given" },
    { 0 },
};

static error_t top_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->common;
        return 0;
    case 'd':
        options->delay_ns = ctl_timeout(state, arg);
        if (options->delay_ns < DELAY_MIN_NS)
            argp_error(state, "a --delay is at least 50ms");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = top_parse,
    .doc =
        "Show what comes and goes: messages, bytes, rates a second, who waits, and how full each mailbox, "
        "ring and process was lately, of its own limits.\v"
        "Keys: q quits; n m b i o w sort by name, messages, bytes, rates in and out, waiters; r turns the order "
        "round; / filters by name (Enter keeps the filter, Escape drops it); arrows, Page Up and Down scroll; space "
        "holds the figures.",
    .children = COMMON_CHILDREN,
};

struct top {
    const char *mount;
    dev_t device;
    int64_t delay_ns;
    struct rows rows;
    struct columns columns;
    enum sort sort;
    bool reversed;
    bool paused;
    bool typing; /* the filter */
    bool utf8;
    char filter[FILTER_BYTES];
    bool has_looked;
    char *store;  /* what it holds; NULL: there is none */
    size_t first; /* row on the screen */
    bool quit;
    bool unmounted;
    int error; /* why it ended; positive */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* --- the screen --- */

static const struct sorting {
    char key;
    const char *name;
} sortings[N_SORTS] = {
    [SORT_NAME] = { 'n', "name" },   [SORT_MESSAGES] = { 'm', "messages" },
    [SORT_BYTES] = { 'b', "bytes" }, [SORT_IN] = { 'i', "in/s" },
    [SORT_OUT] = { 'o', "out/s" },   [SORT_WAITERS] = { 'w', "waiters" },
};

static size_t page_lines(void)
{
    return LINES > TOP_LINES + BOTTOM_LINES ? (size_t)(LINES - TOP_LINES - BOTTOM_LINES) : 0;
}

/* Cut at the screen's edge. */
static void print_line(int y, const char *text)
{
    AUTO_FREE char *fitting = quote_fit(text, COLS > 0 ? (size_t)COLS : 0);

    mvaddstr(y, 0, fitting);
    clrtoeol();
}

static void top_print_row(const struct top *top, int y, const struct row *row)
{
    AUTO_FREE char *line = columns_row(&top->columns, row, top->utf8);

    if (row->n_senders_waiting > 0)
        attron(A_BOLD);
    print_line(y, line);
    attroff(A_BOLD);
}

static void print_summary(const struct top *top)
{
    AUTO_FREE char *mount = quote(top->mount, false);
    AUTO_FREE char *line = NULL;
    uint64_t n_messages = 0;
    double in = 0;
    double out = 0;
    char texts[3][HUMAN_MAX];

    for (size_t i = 0; i < top->rows.n; i++) {
        const struct row *row = &top->rows.list[i];

        n_messages += row->n_messages;
        in += row->in > 0 ? row->in : 0;
        out += row->out > 0 ? row->out : 0;
    }
    human_number((double)n_messages, 1000, texts[0]);
    human_number(in, 1000, texts[1]);
    human_number(out, 1000, texts[2]);
    line = xasprintf("ipcfs on %s: %zu shown of %zu, %s messages, in %s/s, out %s/s", mount,
                     top->rows.n_view, top->rows.n, texts[0], texts[1], texts[2]);
    print_line(0, line);
}

static void print_state(const struct top *top)
{
    AUTO_FREE char *line = xasprintf(
        "sorted by %s%s%s%s%s%s%s%s", sortings[top->sort].name, top->reversed ? ", reversed" : "",
        top->paused ? ", held" : "", top->typing || *top->filter ? ", filter: " : "", top->filter,
        top->typing ? "_" : "", top->store ? "; " : "", top->store ? top->store : "");

    print_line(1, line);
}

static void print_titles(const struct top *top)
{
    AUTO_FREE char *line = columns_titles(&top->columns);

    attron(A_REVERSE);
    print_line(2, line);
    attroff(A_REVERSE);
}

static void scroll_into_range(struct top *top)
{
    size_t n_page = page_lines();

    if (top->rows.n_view <= n_page)
        top->first = 0;
    else if (top->first > top->rows.n_view - n_page)
        top->first = top->rows.n_view - n_page;
}

static void draw(struct top *top)
{
    erase();
    columns_fit(&top->columns, &top->rows, COLS > 0 ? (size_t)COLS : 0);
    scroll_into_range(top);
    print_summary(top);
    print_state(top);
    print_titles(top);
    for (size_t i = 0; i < page_lines() && top->first + i < top->rows.n_view; i++)
        top_print_row(top, TOP_LINES + (int)i, top->rows.view[top->first + i]);
    print_line(LINES - 1,
               "q quit  n m b i o w sort  r reverse  / filter  arrows scroll  space hold");
    move(LINES - 1, COLS - 1);
    refresh();
}

/* --- keys --- */

static void filter_key(struct top *top, int key)
{
    size_t n = strlen(top->filter);

    if (key == KEY_ESCAPE)
        top->filter[0] = '\0';
    if (key == KEY_ESCAPE || key == '\n' || key == KEY_ENTER) {
        top->typing = false;
    } else if (key == KEY_BACKSPACE || key == KEY_RUBOUT || key == '\b') {
        /* A character of UTF-8 is its first byte and those that follow. */
        while (n > 0 && (top->filter[--n] & 0xc0) == 0x80)
            continue;
        top->filter[n] = '\0';
    } else if (key >= ' ' && key < 256 && n + 1 < FILTER_BYTES) {
        top->filter[n] = (char)key;
        top->filter[n + 1] = '\0';
    }
}

static void scroll_by(struct top *top, size_t n, bool down)
{
    if (down)
        top->first += n;
    else
        top->first -= n < top->first ? n : top->first;
}

static void command_key(struct top *top, int key)
{
    for (enum sort sort = 0; sort < N_SORTS; sort++) {
        if (key == sortings[sort].key)
            top->sort = sort;
    }
    switch (key) {
    case 'q':
        top->quit = true;
        break;
    case 'r':
        top->reversed = !top->reversed;
        break;
    case ' ':
        top->paused = !top->paused;
        break;
    case '/':
        top->typing = true;
        break;
    case KEY_ESCAPE:
        top->filter[0] = '\0';
        break;
    case KEY_UP:
    case KEY_DOWN:
        scroll_by(top, 1, key == KEY_DOWN);
        break;
    case KEY_PPAGE:
    case KEY_NPAGE:
        scroll_by(top, page_lines(), key == KEY_NPAGE);
        break;
    case KEY_HOME:
        top->first = 0;
        break;
    case KEY_END:
        top->first = top->rows.n_view;
        break;
    default:
        break;
    }
}

static void read_keys(struct top *top)
{
    int key;

    while ((key = getch()) != ERR) {
        if (key == KEY_RESIZE)
            clear();
        else if (top->typing)
            filter_key(top, key);
        else
            command_key(top, key);
        scroll_into_range(top);
    }
}

/* --- looking --- */

/* Return: whether the mount is still there. */
static bool check_mount(struct top *top)
{
    struct stat st;

    if (stat(top->mount, &st) == 0 && st.st_dev == top->device)
        return true;
    top->error = mount_is_gone(errno) ? errno : 0;
    top->unmounted = true;
    return false;
}

static void look(struct top *top)
{
    int r;

    if (!check_mount(top))
        return;
    r = rows_update(&top->rows, top->mount, now_ns());
    /* All mailboxes stand there with it: who has no store, and gets none, is not asked again. */
    if (!top->has_looked || top->store) {
        free(top->store);
        top->store = kept_line(top->mount);
    }
    top->has_looked = true;
    /* It may have gone in between. */
    if (r < 0 && check_mount(top)) {
        top->error = -r;
        top->quit = true;
        /* The kernel may still have the attributes of what has died. */
        top->unmounted = mount_is_gone(-r);
    }
}

/* Until the next look is due, a key is pressed, a signal comes or the mounts change. */
static void top_wait(struct top *top, int mounts_fd, int64_t due_ns, const sigset_t *signals)
{
    struct pollfd fds[] = {
        { .fd = STDIN_FILENO, .events = POLLIN },
        { .fd = mounts_fd, .events = POLLPRI },
    };
    int64_t left_ns = due_ns - now_ns();
    struct timespec timeout = { 0 };

    if (left_ns > 0)
        timeout = (struct timespec){ left_ns / NS_PER_S, left_ns % NS_PER_S };
    if (ppoll(fds, 2, &timeout, signals) <= 0)
        return;
    if (fds[1].revents)
        check_mount(top);
    /* The terminal is gone. */
    if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
        top->quit = true;
}

static void run_screen(struct top *top, const sigset_t *signals)
{
    AUTO_CLOSE int mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    int64_t due_ns = now_ns();

    while (!top->quit && !top->unmounted && !interrupted) {
        if (now_ns() >= due_ns) {
            if (!top->paused || top->rows.looked_ns == 0)
                look(top);
            due_ns = now_ns() + top->delay_ns;
        }
        rows_view(&top->rows, top->sort, top->reversed, top->filter);
        draw(top);
        top_wait(top, mounts_fd, due_ns, signals);
        read_keys(top);
    }
}

static void top_catch_signals(sigset_t *ret_before)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    struct sigaction action = { .sa_handler = on_signal };
    sigset_t blocked;

    sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        sigaction(numbers[i], &action, NULL);
        sigaddset(&blocked, numbers[i]);
    }
    sigprocmask(SIG_BLOCK, &blocked, ret_before);
}

static int open_screen(void)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        say("top needs a terminal; for programs there is: ipcctl ls --json");
        return -1;
    }
    if (!newterm(NULL, stdout, stdin)) {
        const char *term = getenv("TERM");
        AUTO_FREE char *shown = quote(term ? term : "", true);

        say("top can't use this terminal: TERM is %s", shown);
        return -1;
    }
    cbreak();
    noecho();
    nodelay(stdscr, true);
    keypad(stdscr, true);
    /* Escape alone is a key here: don't wait long for the rest of a sequence. */
    set_escdelay(50);
    return 0;
}

static enum exit_status say_end(const struct top *top)
{
    AUTO_FREE char *mount = quote(top->mount, false);

    if (top->unmounted && top->error == 0)
        say("the ipcfs on %s was unmounted", mount);
    else if (top->unmounted)
        say("the ipcfs on %s has died; clear its mount: fusermount3 -u -z %s", mount, mount);
    else if (top->error)
        say("can't list what is on %s: %s", mount, strerror(top->error));
    return top->error ? EXIT_STATUS_FAILED : EXIT_STATUS_OK;
}

static enum exit_status top_run(const char *mount, int argc, char **argv)
{
    struct options options = { .delay_ns = NS_PER_S };
    struct top top = { .utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0 };
    sigset_t signals;
    struct stat st;

    ctl_parse(&argp, mount, argc, argv, &options.common);
    top.mount = ctl_mount(&options.common);
    top.delay_ns = options.delay_ns;
    if (stat(top.mount, &st) == 0)
        top.device = st.st_dev;
    if (open_screen() < 0)
        return EXIT_STATUS_FAILED;
    top_catch_signals(&signals);
    run_screen(&top, &signals);
    endwin();
    rows_deinit(&top.rows);
    free(top.store);
    return say_end(&top);
}

const struct verb verb_top = { "top", "Watch what comes and goes", &argp, top_run };
