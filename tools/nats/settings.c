/* Options and lines: the same table serves both, so that a secret can stand in a file that only its owner reads and not
 * in everybody's `ps`. */
#include "settings.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

#define NAME_BYTES_MAX 255
#define SUBJECT_BYTES_MAX 255
#define WORDS_MAX 4
#define UNSET (-1)
#define SPACE " \t\r"

enum {
    KEY_REPLICAS = 0x100,
    KEY_WINDOW,
    KEY_HOST,
    KEY_DOMAIN,
    KEY_USER,
    KEY_PASSWORD,
    KEY_CREDS,
    KEY_TLS_CA,
    KEY_TLS_CERT,
    KEY_TLS_KEY,
    KEY_DUPLICATES,
    KEY_MAX_AGE,
    KEY_STATUS,
};

const char *argp_program_version = "ipcfs-nats " IPCFS_VERSION;

static const struct argp_option option_list[] = {
    { "server", 's', "URL[,URL...]", 0, "Where NATS is; nats://127.0.0.1:4222 if nobody says", 0 },
    { "config", 'c', "FILE", 0, "Read lines from FILE", 0 },
    { "replicas", KEY_REPLICAS, "N", 0, "Of streams that are made here, 1 to 5", 0 },
    { "window", KEY_WINDOW, "N", 0, "Messages in flight for each line, 256 if nobody says", 0 },
    { "host", KEY_HOST, "NAME", 0, "What origin-host tells the others", 0 },
    { "domain", KEY_DOMAIN, "NAME", 0, "The JetStream domain", 0 },
    { "user", KEY_USER, "NAME", 0, "User at the server", 0 },
    { "password", KEY_PASSWORD, "TEXT", 0, "Its password: better a line in FILE, mode 0600", 0 },
    { "creds", KEY_CREDS, "FILE", 0, "Credentials as nsc writes them", 0 },
    { "tls-ca", KEY_TLS_CA, "FILE", 0, "Who signs for the server; switches TLS on", 0 },
    { "tls-cert", KEY_TLS_CERT, "FILE", 0, "This client's certificate", 0 },
    { "tls-key", KEY_TLS_KEY, "FILE", 0, "Its key", 0 },
    { "duplicates", KEY_DUPLICATES, "SECONDS", 0,
      "How long a stream that is made here knows a message again; 600 if nobody says", 0 },
    { "max-age", KEY_MAX_AGE, "SECONDS", 0,
      "How long a stream that is made here keeps a message; 0, for ever, if nobody says", 0 },
    { "status", KEY_STATUS, NULL, 0, "Show how the bridges of MOUNT are, and end", 0 },
    { 0 },
};

/* Where a line stands: for what is said of it. */
struct place {
    const char *file; /* NULL: an argument */
    unsigned line;
};

struct parser {
    struct settings *settings;
    char *config;
    char **arguments; /* after MOUNT */
    size_t n_arguments;
};

static void __attribute__((noreturn, format(printf, 2, 3)))
settings_wrong(const struct place *place, const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        log_die(EXIT_STATUS_FAILED, "out of memory");
    va_end(args);
    if (place->file)
        log_die(EXIT_STATUS_USAGE, "%s:%u: %s", place->file, place->line, text);
    log_die(EXIT_STATUS_USAGE, "%s", text);
}

static void settings_set_text(char **text, const char *value)
{
    free(*text);
    *text = xstrdup(value);
}

/* What an argument said, a file's line doesn't change. */
static bool settings_stands(const struct place *place, bool is_set)
{
    return place->file && is_set;
}

static void settings_set_number(const struct place *place, int64_t *number, const char *what,
                                const char *text, int64_t min, int64_t max)
{
    char *end;
    intmax_t n;

    errno = 0;
    n = strtoimax(text, &end, 10);
    if (errno || end == text || *end || n < min || n > max)
        settings_wrong(place, "%s: \"%s\" is not a number from %" PRId64 " to %" PRId64, what, text,
                       min, max);
    if (!settings_stands(place, *number != UNSET))
        *number = n;
}

static void settings_set_server(const struct place *place, struct settings *settings,
                                const char *value)
{
    char *copy = xstrdup(value);
    char *rest = copy;
    char *url;

    while ((url = strsep(&rest, ","))) {
        if (strncmp(url, "nats://", 7) != 0 && strncmp(url, "tls://", 6) != 0 &&
            (strstr(url, "://") || !*url))
            settings_wrong(place, "server: \"%s\" is not nats://HOST:PORT or tls://HOST:PORT", url);
    }
    free(copy);
    if (!settings_stands(place, settings->servers))
        settings_set_text(&settings->servers, value);
}

/* Return: true; false: no option has this key. */
static bool settings_set(const struct place *place, struct settings *settings, int key,
                         const char *value)
{
    char **text = NULL;

    switch (key) {
    case 's':
        settings_set_server(place, settings, value);
        return true;
    case KEY_REPLICAS:
        settings_set_number(place, &settings->replicas, "replicas", value, 1, 5);
        return true;
    case KEY_WINDOW:
        settings_set_number(place, &settings->window, "window", value, 1, 65536);
        return true;
    case KEY_DUPLICATES:
        settings_set_number(place, &settings->duplicates_s, "duplicates", value, 1, 86400);
        return true;
    case KEY_MAX_AGE:
        settings_set_number(place, &settings->max_age_s, "max-age", value, 0, INT32_MAX);
        return true;
    case KEY_HOST:
        text = &settings->host;
        break;
    case KEY_DOMAIN:
        text = &settings->domain;
        break;
    case KEY_USER:
        text = &settings->user;
        break;
    case KEY_PASSWORD:
        text = &settings->password;
        break;
    case KEY_CREDS:
        text = &settings->creds;
        break;
    case KEY_TLS_CA:
        text = &settings->tls_ca;
        break;
    case KEY_TLS_CERT:
        text = &settings->tls_cert;
        break;
    case KEY_TLS_KEY:
        text = &settings->tls_key;
        break;
    default:
        return false;
    }
    if (!settings_stands(place, *text))
        settings_set_text(text, value);
    return true;
}

static const char *settings_name_fault(const char *name)
{
    if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return "is no name: it stands below the mount, without a /";
    return strlen(name) > NAME_BYTES_MAX ? "is longer than a name can be" : NULL;
}

/* Tokens with a point between them; `*` and, at the end, `>` for an import. */
static const char *settings_subject_fault(const char *subject, bool may_be_wild)
{
    const char *token = subject;

    if (strlen(subject) > SUBJECT_BYTES_MAX)
        return "is longer than a subject of this bridge may be";
    if (subject[0] == '$' || strncmp(subject, "_INBOX.", 7) == 0)
        return "is a subject of NATS itself";
    for (;;) {
        size_t n = strcspn(token, ".");
        bool is_wild = n == 1 && (*token == '*' || *token == '>');

        if (n == 0)
            return "is no subject: there is nothing beside a point";
        if (strcspn(token, "*>") < n && !is_wild)
            return "is no subject: a wildcard stands alone between points";
        if (is_wild && !may_be_wild)
            return "has wildcards, but is where messages are sent to";
        if (is_wild && *token == '>' && token[n])
            return "is no subject: > is its last part";
        if (!token[n])
            return NULL;
        token += n + 1;
    }
}

static void settings_check(const struct place *place, const char *text, const char *fault)
{
    if (fault)
        settings_wrong(place, "\"%s\" %s", text, fault);
}

/* Two lines that would take from one mailbox, or put one message twice, are a mistake of whoever wrote them. */
static void settings_check_new(const struct place *place, const struct settings *settings,
                               const struct mapping *new)
{
    for (size_t i = 0; i < settings->n_mappings; i++) {
        const struct mapping *old = &settings->mappings[i];

        if (old->kind == new->kind && strcmp(old->name, new->name) == 0 &&
            (new->kind != MAPPING_IMPORT || strcmp(old->subject, new->subject) == 0))
            settings_wrong(place, "\"%s\" is in two lines", new->name);
    }
}

static void settings_add(const struct place *place, struct settings *settings,
                         enum mapping_kind kind, const char *name, const char *subject,
                         const char *durable)
{
    struct mapping mapping = { .kind = kind };

    settings_check(place, name, settings_name_fault(name));
    settings_check(place, subject, settings_subject_fault(subject, kind == MAPPING_IMPORT));
    if (durable && durable[strcspn(durable, ".*>/\\")])
        settings_check(place, durable, "is no durable's name: none of . * > / \\ is in one");
    mapping.name = xstrdup(name);
    mapping.subject = xstrdup(subject);
    mapping.durable = durable ? xstrdup(durable) : NULL;
    settings_check_new(place, settings, &mapping);
    settings->mappings = xrealloc(settings->mappings, settings->n_mappings + 1,
                                  sizeof(*settings->mappings));
    settings->mappings[settings->n_mappings++] = mapping;
}

static bool settings_begins_line(const char *word)
{
    return strcmp(word, "export") == 0 || strcmp(word, "import") == 0 || strcmp(word, "topic") == 0;
}

static void settings_words(const struct place *place, struct settings *settings, char **word,
                           size_t n_words)
{
    if (strcmp(word[0], "export") == 0 && n_words == 3) {
        settings_add(place, settings, MAPPING_EXPORT, word[1], word[2], NULL);
    } else if (strcmp(word[0], "topic") == 0 && n_words == 3) {
        settings_add(place, settings, MAPPING_TOPIC, word[1], word[2], NULL);
    } else if (strcmp(word[0], "import") == 0 && (n_words == 3 || n_words == 4)) {
        settings_add(place, settings, MAPPING_IMPORT, word[2], word[1],
                     n_words == 4 ? word[3] : NULL);
    } else if (n_words == 2 && !settings_begins_line(word[0]) && strcmp(word[0], "config") != 0) {
        for (const struct argp_option *o = option_list; o->name; o++) {
            if (o->arg && strcmp(o->name, word[0]) == 0 &&
                settings_set(place, settings, o->key, word[1]))
                return;
        }
        settings_wrong(place, "\"%s\" is no line and no option", word[0]);
    } else {
        settings_wrong(place,
                       "\"%s\": a line is export MAILBOX SUBJECT, import SUBJECT MAILBOX "
                       "[DURABLE], or topic TOPIC SUBJECT",
                       word[0]);
    }
}

static void settings_line(const struct place *place, struct settings *settings, char *line)
{
    char *words[WORDS_MAX + 1];
    size_t n_words = 0;
    char *word;

    if (line[strspn(line, SPACE)] == '#')
        return;
    while ((word = strsep(&line, SPACE))) {
        if (*word && n_words <= WORDS_MAX)
            words[n_words++] = word;
    }
    if (n_words)
        settings_words(place, settings, words, n_words);
}

static void settings_file(struct settings *settings, const char *path)
{
    struct place place = { path, 0 };
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t n_allocated = 0;
    ssize_t n;

    if (!file)
        log_die(EXIT_STATUS_FAILED, "%s: %s", path, strerror(errno));
    while ((n = getline(&line, &n_allocated, file)) >= 0) {
        place.line++;
        if (n && line[n - 1] == '\n')
            line[n - 1] = '\0';
        settings_line(&place, settings, line);
    }
    if (ferror(file))
        log_die(EXIT_STATUS_FAILED, "%s: %s", path, strerror(errno));
    free(line);
    fclose(file);
}

/* An argument with spaces is a line; else the words of a line are arguments of their own. */
static void settings_arguments(struct parser *parser)
{
    const struct place place = { NULL, 0 };

    for (size_t i = 0; i < parser->n_arguments;) {
        char **word = &parser->arguments[i];
        size_t n = 1;

        if (strpbrk(*word, SPACE)) {
            char *copy = xstrdup(*word);

            settings_line(&place, parser->settings, copy);
            free(copy);
        } else {
            n = parser->n_arguments - i < 3 ? parser->n_arguments - i : 3;
            settings_words(&place, parser->settings, word, n);
        }
        i += n;
    }
}

static error_t settings_option(int key, char *arg, struct argp_state *state)
{
    const struct place place = { NULL, 0 };
    struct parser *parser = state->input;

    switch (key) {
    case 'c':
        settings_set_text(&parser->config, arg);
        return 0;
    case KEY_STATUS:
        parser->settings->is_status = true;
        return 0;
    case ARGP_KEY_ARG:
        if (!parser->settings->mount) {
            parser->settings->mount = xstrdup(arg);
            return 0;
        }
        parser->arguments = xrealloc(parser->arguments, parser->n_arguments + 1, sizeof(char *));
        parser->arguments[parser->n_arguments++] = arg;
        return 0;
    default:
        return settings_set(&place, parser->settings, key, arg) ? 0 : ARGP_ERR_UNKNOWN;
    }
}

static const struct argp settings_argp = {
    .options = option_list,
    .parser = settings_option,
    .args_doc = "MOUNT [LINE...]",
    .doc = "Carries mailboxes and topics of an ipcfs mount over NATS JetStream.\v"
           "LINE is `export MAILBOX SUBJECT`, `import SUBJECT MAILBOX`, or `topic TOPIC SUBJECT`. "
           "See ipcfs-nats(8).",
};

static void settings_take_host(struct settings *settings)
{
    char name[HOST_NAME_MAX + 1] = "";

    if (gethostname(name, sizeof(name) - 1) < 0 || !*name)
        strcpy(name, "localhost");
    settings->host = xstrdup(name);
}

static void settings_take_default(int64_t *number, int64_t value)
{
    if (*number == UNSET)
        *number = value;
}

static void settings_take_defaults(struct settings *settings)
{
    settings_take_default(&settings->replicas, 1);
    settings_take_default(&settings->window, 256);
    settings_take_default(&settings->duplicates_s, 600);
    settings_take_default(&settings->max_age_s, 0);
    if (!settings->servers)
        settings->servers = xstrdup("nats://127.0.0.1:4222");
    if (!settings->host)
        settings_take_host(settings);
}

void settings_parse(struct settings *settings, int argc, char **argv)
{
    struct parser parser = { .settings = settings };

    *settings = (struct settings){
        .replicas = UNSET, .window = UNSET, .duplicates_s = UNSET, .max_age_s = UNSET
    };
    argp_err_exit_status = EXIT_STATUS_USAGE;
    argp_parse(&settings_argp, argc, argv, 0, NULL, &parser);
    if (parser.config)
        settings_file(settings, parser.config);
    settings_arguments(&parser);
    if (!settings->mount)
        log_die(EXIT_STATUS_USAGE,
                "say which mount: ipcfs-nats [-s URL] [-c FILE] MOUNT [LINE...]");
    if (!settings->n_mappings && !settings->is_status)
        log_die(EXIT_STATUS_USAGE, "nothing to carry: give a line, or a file of lines with -c");
    settings_take_defaults(settings);
    if (!settings->tls_cert != !settings->tls_key)
        log_die(EXIT_STATUS_USAGE, "tls-cert and tls-key go together");
    free(parser.config);
    free(parser.arguments);
}

void settings_deinit(struct settings *settings)
{
    char *texts[] = { settings->servers,  settings->mount,    settings->host,  settings->domain,
                      settings->user,     settings->password, settings->creds, settings->tls_ca,
                      settings->tls_cert, settings->tls_key };

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        free(texts[i]);
    for (size_t i = 0; i < settings->n_mappings; i++) {
        free(settings->mappings[i].name);
        free(settings->mappings[i].subject);
        free(settings->mappings[i].durable);
    }
    free(settings->mappings);
}
