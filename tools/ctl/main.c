/* ipcctl: make, look into and use what an ipcfs mount holds. */
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "mount.h"
#include "nearest.h"
#include "quote.h"
#include "wait.h"

/* All verbs, in the order of ipcctl help: verb_NAME is in a file called after it. */
#define VERBS(ONE)                                                                                 \
    ONE(ls)                                                                                        \
    ONE(new)                                                                                       \
    ONE(rm)                                                                                        \
    ONE(config)                                                                                    \
    ONE(send)                                                                                      \
    ONE(recv)                                                                                      \
    ONE(work)                                                                                      \
    ONE(call)                                                                                      \
    ONE(pub)                                                                                       \
    ONE(sub)                                                                                       \
    ONE(ring)                                                                                      \
    ONE(store)                                                                                     \
    ONE(top)                                                                                       \
    ONE(bench)                                                                                     \
    ONE(poll)

#define DECLARED(name) extern const struct verb verb_##name;
#define LISTED(name) &verb_##name,

VERBS(DECLARED)
static const struct verb *const verbs[] = { VERBS(LISTED) NULL };

static const struct verb *find_verb(const struct verb *const *list, const char *name)
{
    while (*list && strcmp((*list)->name, name) != 0)
        list++;
    return *list;
}

/* --- options of all verbs --- */

static const struct argp_option common_options[] = {
    { "mount", 'm', "MOUNT", 0, "Where ipcfs is mounted; needed where it is mounted several times",
      -1 },
    { 0 },
};

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
    struct common *common = state->input;

    if (key != 'm')
        return ARGP_ERR_UNKNOWN;
    common->mount = arg;
    return 0;
}

const struct argp common_argp = { common_options, parse_common, NULL, NULL, NULL, NULL, NULL };

void ctl_parse_args(const struct argp *argp, const char *mount, int argc, char **argv,
                    struct common *options)
{
    options->mount = mount;
    argp_parse(argp, argc, argv, 0, NULL, options);
}

const char *ctl_mount(const struct common *options)
{
    static char *found; /* kept until the end */

    if (!options->mount)
        return found = mount_find();
    mount_check(options->mount);
    return options->mount;
}

const char *ctl_parse(const struct argp *argp, const char *mount, int argc, char **argv,
                      struct common *options)
{
    ctl_parse_args(argp, mount, argc, argv, options);
    if (options->mount)
        mount_check(options->mount);
    return options->mount;
}

error_t ctl_parse_name(int key, char *arg, struct argp_state *state, struct common *common,
                       char **name, const char *missing)
{
    int n_args;
    char **args;

    if (key != ARGP_KEY_ARG)
        return key == ARGP_KEY_ARGS ? ARGP_ERR_UNKNOWN
                                    : ctl_parse_list(key, state, common, &args, &n_args, missing);
    if (*name)
        argp_error(state, "one NAME at a time");
    *name = arg;
    return 0;
}

error_t ctl_parse_list(int key, struct argp_state *state, struct common *common, char ***args,
                       int *n_args, const char *missing)
{
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = common;
        return 0;
    case ARGP_KEY_ARGS:
        *args = state->argv + state->next;
        *n_args = state->argc - state->next;
        return 0;
    case ARGP_KEY_NO_ARGS:
        if (missing)
            argp_error(state, "%s", missing);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void parse_text(char *arg, struct argp_state *state, struct ctl_text *given,
                       const char *thing)
{
    if (!given->name)
        given->name = arg;
    else if (!given->text)
        given->text = arg;
    else
        argp_error(state, "one %s at a time; a text with spaces needs quotes", thing);
}

error_t ctl_parse_text(int key, char *arg, struct argp_state *state, struct common *common,
                       struct ctl_text *given, const char *thing, const char *missing)
{
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = common;
        return 0;
    case 'f':
        given->file = arg;
        return 0;
    case ARGP_KEY_ARG:
        parse_text(arg, state, given, thing);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "%s", missing);
        return EINVAL;
    case ARGP_KEY_END:
        if (given->file && given->text)
            argp_error(state, "choose: a TEXT or a --file");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int64_t ctl_timeout(const struct argp_state *state, const char *text)
{
    int64_t ns = 0;

    if (wait_parse(text, &ns) < 0) {
        AUTO_FREE char *shown = quote(text, true);

        argp_error(state, "%s is no time: seconds, or a number with ms, s, m or h", shown);
    }
    return ns;
}

uint64_t ctl_number(const struct argp_state *state, const char *what, const char *text,
                    uint64_t min, uint64_t max)
{
    uint64_t n = 0;

    errno = 0;
    if (*text && !text[strspn(text, "0123456789")])
        n = strtoull(text, NULL, 10);
    else
        errno = EINVAL;
    if (errno != 0 || n < min || n > max) {
        AUTO_FREE char *shown = quote(text, true);

        argp_error(state, "%s is no %s: a number from %" PRIu64 " to %" PRIu64, shown, what, min,
                   max);
    }
    return n;
}

/* --- verbs --- */

/* What other tools call what a verb does. */
static const struct synonym {
    const char *word;
    const char *verb;
} synonyms[] = {
    { "list", "ls" },         { "dir", "ls" },     { "show", "ls" },      { "stat", "ls" },
    { "create", "new" },      { "make", "new" },   { "mk", "new" },       { "mkdir", "new" },
    { "add", "new" },         { "remove", "rm" },  { "delete", "rm" },    { "del", "rm" },
    { "rmdir", "rm" },        { "destroy", "rm" }, { "set", "config" },   { "get", "recv" },
    { "receive", "recv" },    { "read", "recv" },  { "cat", "recv" },     { "post", "send" },
    { "put", "send" },        { "write", "send" }, { "echo", "send" },    { "publish", "pub" },
    { "subscribe", "sub" },   { "ask", "call" },   { "request", "call" }, { "watch", "top" },
    { "benchmark", "bench" },
};

/* @of: which verb's @list it is; NULL: all of them. */
static void say_no_verb(const struct verb *const *list, const struct verb *of, const char *word)
{
    AUTO_FREE char *shown = quote(word, true);
    AUTO_FREE char *ask = NULL;
    struct nearest nearest;

    nearest_init(&nearest, word);
    for (const struct verb *const *verb = list; *verb; verb++)
        nearest_add(&nearest, (*verb)->name);
    for (size_t i = 0; i < sizeof(synonyms) / sizeof(synonyms[0]); i++) {
        if (strcmp(word, synonyms[i].word) == 0 && find_verb(list, synonyms[i].verb)) {
            nearest_deinit(&nearest);
            nearest.best = xstrdup(synonyms[i].verb);
        }
    }
    ask = nearest_ask(&nearest);
    say("%s is no verb%s; see: ipcctl help%s%s", shown, ask, of ? " " : "", of ? of->name : "");
    nearest_deinit(&nearest);
}

/* Follows @argv down to a verb that can run, as far as it goes. *@name becomes "ipcctl VERB". Return:
 * the verb; NULL: there is none of that name, and that was said. */
static const struct verb *descend(int *argc, char ***argv, char **name)
{
    const struct verb *const *list = verbs;
    const struct verb *verb = NULL;

    *name = xstrdup("ipcctl");
    while (list && *argc > 0) {
        const struct verb *found = find_verb(list, **argv);
        char *longer;

        if (!found) {
            say_no_verb(list, verb, **argv);
            return NULL;
        }
        verb = found;
        longer = xasprintf("%s %s", *name, verb->name);
        free(*name);
        *name = longer;
        list = verb->verbs;
        (*argc)--;
        (*argv)++;
    }
    return verb;
}

static void help_verb(const struct verb *verb, char *name)
{
    if (verb->argp)
        argp_help(verb->argp, stdout, ARGP_HELP_STD_HELP & ~(unsigned int)ARGP_HELP_EXIT_OK, name);
    for (const struct verb *const *sub = verb->verbs; sub && *sub; sub++) {
        AUTO_FREE char *sub_name = xasprintf("%s %s", name, (*sub)->name);

        if (sub != verb->verbs)
            putchar('\n');
        help_verb(*sub, sub_name);
    }
}

static enum exit_status run_help(const struct argp *main_argp, int argc, char **argv)
{
    AUTO_FREE char *name = NULL;
    const struct verb *verb;

    if (argc == 0 || strcmp(argv[0], "help") == 0) {
        argp_help(main_argp, stdout, ARGP_HELP_STD_HELP & ~(unsigned int)ARGP_HELP_EXIT_OK,
                  (char *)"ipcctl");
        return EXIT_STATUS_OK;
    }
    verb = descend(&argc, &argv, &name);
    if (verb && argc > 0) {
        AUTO_FREE char *shown = quote(argv[0], true);

        say("%s is no verb; see: ipcctl help", shown);
    }
    if (!verb || argc > 0)
        return EXIT_STATUS_USAGE;
    help_verb(verb, name);
    return EXIT_STATUS_OK;
}

static enum exit_status run_verb(const char *mount, int argc, char **argv)
{
    AUTO_FREE char *name = NULL;
    const struct verb *verb = descend(&argc, &argv, &name);

    if (!verb)
        return EXIT_STATUS_USAGE;
    if (verb->verbs) {
        say("say what to do with it; see: ipcctl help %s", verb->name);
        return EXIT_STATUS_USAGE;
    }
    /* In place of the verb itself, which stands there. */
    argv[-1] = name;
    return verb->run(mount, argc + 1, argv - 1);
}

static void list_verbs(FILE *out)
{
    for (const struct verb *const *verb = verbs; *verb; verb++)
        fprintf(out, "  %-8s%s\n", (*verb)->name, (*verb)->summary);
    fputs("'ipcctl help VERB' tells more of one.\n", out);
}

/* Adds the verbs to the help text. */
static char *filter_help(int key, const char *text, void *input)
{
    char *list;

    (void)input;
    if (key != ARGP_KEY_HELP_PRE_DOC)
        return (char *)text;
    list = xstrdup(text ? text : "");
    for (const struct verb *const *verb = verbs; *verb; verb++) {
        char *longer = xasprintf("%s\n  %-8s%s", list, (*verb)->name, (*verb)->summary);

        free(list);
        list = longer;
    }
    return list;
}

/* --- main --- */

struct invocation {
    struct common common;
    int verb; /* index in argv; 0: none */
};

static error_t parse_main(int key, char *arg, struct argp_state *state)
{
    struct invocation *invocation = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &invocation->common;
        return 0;
    case ARGP_KEY_ARG:
        /* What follows is the verb's. */
        invocation->verb = state->next - 1;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        say("say what to do: a verb");
        list_verbs(stderr);
        exit(EXIT_STATUS_USAGE);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    const struct argp argp = {
        .parser = parse_main,
        .args_doc = "VERB [ARGUMENT...]",
        .doc =
            "Make, look into and use what an ipcfs mount holds: mailboxes (NAME), topics (topic/NAME), rings (ring/NAME), "
            "regions (shm/NAME) and processes (proc/PID).\n"
            "\v'ipcctl help VERB' tells more of a verb, ipcctl(1) of all. Exit status: 0; 1: it "
            "failed; 2: it was called wrongly; 3: nothing came in the time that was given.",
        .children = COMMON_CHILDREN,
        .help_filter = filter_help,
    };
    struct invocation what = { 0 };
    enum exit_status status;

    start_output();
    setlocale(LC_ALL, "");
    /* Numbers are read and written with a point. */
    setlocale(LC_NUMERIC, "C");
    argp_program_version = "ipcctl " IPCFS_VERSION;
    argp_err_exit_status = EXIT_STATUS_USAGE;
    argv[0] = (char *)"ipcctl";
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &what);
    argc -= what.verb;
    argv += what.verb;
    if (strcmp(argv[0], "help") == 0)
        status = run_help(&argp, argc - 1, argv + 1);
    else
        status = run_verb(what.common.mount, argc, argv);
    return (int)status;
}
