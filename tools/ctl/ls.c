#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "entry.h"
#include "human.h"
#include "kept.h"
#include "mount.h"
#include "process.h"
#include "quote.h"
#include "why.h"

struct options {
    struct common common;
    bool is_long;
    bool json;
    bool null;
    char **args;
    int n_args;
};

enum { KEY_JSON = 0x100 };

static const struct argp_option option_list[] = {
    { "long", 'l', NULL, 0,
      "A table: mode, owner, messages, bytes, what is durable, who waits, last send" },
    { "json", KEY_JSON, NULL, 0, "A JSON array, with all that -l tells" },
    { "null", '0', NULL, 0, "End each name with a NUL byte, not a newline" },
    { 0 },
};

static error_t ls_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 'l':
        options->is_long = true;
        return 0;
    case KEY_JSON:
        options->json = true;
        return 0;
    case '0':
        options->null = true;
        return 0;
    case ARGP_KEY_END:
        if (options->json + options->is_long + options->null > 1)
            argp_error(state, "choose one of --long, --json and --null");
        return 0;
    default:
        return ctl_parse_list(key, state, &options->common, &options->args, &options->n_args, NULL);
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = ls_parse,
    .args_doc = "[NAME...]",
    .doc =
        "List mailboxes, topics (topic/NAME), rings (ring/NAME), regions (shm/NAME) and processes with messages "
        "(proc/PID): all, those named, or those of a room (mbox/ topic/ ring/ shm/ proc/)."
        "\vOn a terminal, names that a shell would not take as they are stand in quotes, and sizes are "
        "rounded. Elsewhere names without -l are bare, a line each, and numbers exact.",
    .children = COMMON_CHILDREN,
};

/* --- the table --- */

/* What can't be known. */
#define UNKNOWN "-"

enum column { MODE, OWNER, MESSAGES, BYTES, DURABLE, WAITING, LAST, NAME, N_COLUMNS };

static const char *const titles[N_COLUMNS] = { "MODE",    "OWNER",   "MESSAGES",  "BYTES",
                                               "DURABLE", "WAITING", "LAST SEND", "NAME" };
static const bool is_right[N_COLUMNS] = { [MESSAGES] = true, [BYTES] = true, [WAITING] = true };

struct row {
    char *cells[N_COLUMNS];
};

static char *show_mode(const struct entry *entry)
{
    char text[HUMAN_MODE_MAX];

    human_mode(entry->attr.st_mode, text);
    return xstrdup(text);
}

static char *show_owner(const struct entry *entry)
{
    AUTO_FREE char *user = process_user(entry->attr.st_uid);
    AUTO_FREE char *group = process_group(entry->attr.st_gid);

    return xasprintf("%s:%s", user, group);
}

static char *show_number(double n, unsigned int base, bool human)
{
    char text[HUMAN_MAX];

    if (!human)
        return xasprintf("%.0f", n);
    human_number(n, base, text);
    return xstrdup(text);
}

/* "3/1024", "3" where there is no limit. */
static char *ls_show_of(bool is_known, uint64_t n, const char *max, unsigned int base, bool human)
{
    AUTO_FREE char *first = NULL;
    AUTO_FREE char *second = NULL;

    if (!is_known)
        return xstrdup(UNKNOWN);
    first = show_number((double)n, base, human);
    if (!max)
        return xstrdup(first);
    second = *max >= '0' && *max <= '9' ? show_number(strtod(max, NULL), base, human)
                                        : xstrdup(max);
    return xasprintf("%s/%s", first, second);
}

static char *show_waiting(const struct entry *entry)
{
    const char *senders = settings_get(&entry->stat, "senders_waiting");
    const char *receivers = settings_get(&entry->stat, "receivers_waiting");
    AUTO_FREE char *given_out = NULL;

    /* Those who have subscribed to a topic wait for what comes. */
    if (!receivers)
        receivers = settings_get(&entry->stat, "subscriptions");

    if (!senders || !receivers)
        return xstrdup(UNKNOWN);
    given_out = entry_given_out(entry);
    return xasprintf("%s+%s%s%s%s", senders, receivers, *given_out ? " (" : "", given_out,
                     *given_out ? ")" : "");
}

/* When, and where the message still waits, by whom. */
static char *show_last(const struct entry *entry, bool human)
{
    const char *when = settings_get(&entry->stat, "last_send");
    AUTO_FREE char *age = NULL;
    AUTO_FREE char *user = NULL;
    pid_t pid;
    uid_t uid;

    if (!when || !*when)
        return xstrdup(UNKNOWN);
    age = human ? human_age(when) : xstrdup(when);
    if (!entry_last_sender(entry, &pid, &uid))
        return xstrdup(age);
    user = process_user(uid);
    return human ? xasprintf("%s, %s %d", age, user, (int)pid)
                 : xasprintf("%s,%s,%d", age, user, (int)pid);
}

static bool ls_is_durable(const struct entry *entry)
{
    const char *durable = settings_get(&entry->config, "durable");

    return durable && strcmp(durable, "no") != 0;
}

/* What its messages survive, and how many of those that wait are in the store, where that is not all. */
static char *show_durable(const struct entry *entry)
{
    const char *durable = settings_get(&entry->config, "durable");
    const char *kept = settings_get(&entry->stat, "kept");
    const char *messages = settings_get(&entry->stat, "messages");

    if (!durable)
        return xstrdup(UNKNOWN);
    if (!kept || !messages || strcmp(kept, ls_is_durable(entry) ? messages : "0") == 0)
        return xstrdup(durable);
    return xasprintf("%s,%s", durable, kept);
}

static struct row ls_make_row(const struct entry *entry, bool human)
{
    AUTO_FREE char *arg = object_arg(&entry->object);
    uint64_t n_messages;
    uint64_t n_bytes;
    bool has_messages = entry_messages(entry, &n_messages);
    bool has_bytes = entry_bytes(entry, &n_bytes);

    return (struct row){ {
        [MODE] = show_mode(entry),
        [OWNER] = show_owner(entry),
        [MESSAGES] = ls_show_of(has_messages, n_messages, entry_max_messages(entry), 1000, human),
        [BYTES] = ls_show_of(has_bytes, n_bytes, entry_max_bytes(entry), 1024, human),
        [DURABLE] = show_durable(entry),
        [WAITING] = show_waiting(entry),
        [LAST] = show_last(entry, human),
        [NAME] = quote(arg, false),
    } };
}

static void print_cell(const char *text, size_t width, bool right, bool last)
{
    int padding = (int)(width - quote_width(text));

    if (last)
        printf("%s\n", text);
    else
        printf("%*s%s%*s  ", right ? padding : 0, "", text, right ? 0 : padding, "");
}

/* Where nothing is durable nobody asks. */
static bool shows_durable(const struct entries *entries)
{
    for (size_t i = 0; i < entries->n; i++) {
        if (ls_is_durable(&entries->list[i]))
            return true;
    }
    return false;
}

static void ls_print_row(const struct row *row, bool shows_durable, const size_t widths[N_COLUMNS])
{
    for (int c = 0; c < N_COLUMNS; c++) {
        if (c != DURABLE || shows_durable)
            print_cell(row->cells[c], widths[c], is_right[c], c == N_COLUMNS - 1);
    }
}

static void ls_print_table(const struct entries *entries, bool human)
{
    struct row *rows = xrealloc(NULL, entries->n + 1, sizeof(*rows));
    size_t widths[N_COLUMNS] = { 0 };
    bool is_any_durable = shows_durable(entries);

    for (int c = 0; c < N_COLUMNS; c++)
        rows[0].cells[c] = xstrdup(titles[c]);
    for (size_t i = 0; i < entries->n; i++)
        rows[i + 1] = ls_make_row(&entries->list[i], human);
    for (size_t i = 0; i <= entries->n; i++) {
        for (int c = 0; c < N_COLUMNS; c++) {
            size_t width = quote_width(rows[i].cells[c]);

            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    for (size_t i = 0; i <= entries->n; i++) {
        ls_print_row(&rows[i], is_any_durable, widths);
        for (int c = 0; c < N_COLUMNS; c++)
            free(rows[i].cells[c]);
    }
    free(rows);
}

/* --- names --- */

static void print_names(const struct entries *entries, bool null)
{
    bool quoted = !null && isatty(STDOUT_FILENO);

    for (size_t i = 0; i < entries->n; i++) {
        AUTO_FREE char *arg = object_arg(&entries->list[i].object);
        AUTO_FREE char *shown = quoted ? quote(arg, false) : xstrdup(arg);

        printf("%s%c", shown, null ? '\0' : '\n');
    }
}

/* --- JSON --- */

static json_t *text_or_null(const char *text)
{
    return text && *text ? json_string(text) : json_null();
}

/* "max" and what else is no number is a string. */
static json_t *number_or_text(const char *text)
{
    if (text && *text && !text[strspn(text, "0123456789")])
        return json_integer((json_int_t)strtoull(text, NULL, 10));
    return text_or_null(text);
}

static json_t *known_number(bool is_known, uint64_t n)
{
    return is_known ? json_integer((json_int_t)n) : json_null();
}

static json_t *last_sender(const struct entry *entry)
{
    AUTO_FREE char *user = NULL;
    pid_t pid;
    uid_t uid;

    if (!entry_last_sender(entry, &pid, &uid))
        return json_null();
    user = process_user(uid);
    return json_pack("{s:i, s:i, s:s}", "pid", (int)pid, "uid", (int)uid, "user", user);
}

static void set_counts(json_t *json, const struct entry *entry)
{
    static const char *const keys[] = { "senders_waiting", "receivers_waiting", "sent",
                                        "received",        "dropped",           "rejected" };
    /* Of those that have them. */
    static const char *const own_keys[] = { "published", "subscriptions", "delivered", "leased",
                                            "expired",   "dead",          "kept",      "storing" };
    static const char *const roles[] = { "owner_pid", "producer_pid", "consumer_pid" };
    uint64_t n_messages;
    uint64_t n_bytes;
    bool has_messages = entry_messages(entry, &n_messages);
    bool has_bytes = entry_bytes(entry, &n_bytes);

    json_object_set_new(json, "messages", known_number(has_messages, n_messages));
    json_object_set_new(json, "max_messages", number_or_text(entry_max_messages(entry)));
    json_object_set_new(json, "bytes", known_number(has_bytes, n_bytes));
    json_object_set_new(json, "max_bytes", number_or_text(entry_max_bytes(entry)));
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        json_object_set_new(json, keys[i], number_or_text(settings_get(&entry->stat, keys[i])));
    for (size_t i = 0; i < sizeof(own_keys) / sizeof(own_keys[0]); i++) {
        const char *count = settings_get(&entry->stat, own_keys[i]);

        if (count)
            json_object_set_new(json, own_keys[i], number_or_text(count));
    }
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        const char *pid = settings_get(&entry->stat, roles[i]);

        if (pid)
            json_object_set_new(json, roles[i],
                                strcmp(pid, "0") ? number_or_text(pid) : json_null());
    }
    if (settings_get(&entry->stat, "kept"))
        json_object_set_new(json, "durable", json_string(settings_get(&entry->config, "durable")));
    json_object_set_new(json, "last_send", text_or_null(settings_get(&entry->stat, "last_send")));
    json_object_set_new(json, "last_receive",
                        text_or_null(settings_get(&entry->stat, "last_receive")));
    json_object_set_new(json, "last_sender", last_sender(entry));
}

static json_t *ls_make_json(const struct entry *entry)
{
    AUTO_FREE char *user = process_user(entry->attr.st_uid);
    AUTO_FREE char *group = process_group(entry->attr.st_gid);
    json_t *json = json_object();
    char mode[8];

    snprintf(mode, sizeof(mode), "%04o", (unsigned int)(entry->attr.st_mode & 07777));
    json_object_set_new(json, "kind", json_string(rooms[entry->object.room].noun));
    quote_json_name(json, "name", "name_base64", entry->object.name);
    quote_json_name(json, "path", "path_base64", entry->object.path);
    json_object_set_new(json, "mode", json_string(mode));
    json_object_set_new(json, "uid", json_integer(entry->attr.st_uid));
    json_object_set_new(json, "user", json_string(user));
    json_object_set_new(json, "gid", json_integer(entry->attr.st_gid));
    json_object_set_new(json, "group", json_string(group));
    set_counts(json, entry);
    return json;
}

static void ls_print_json(const struct entries *entries)
{
    json_t *array = json_array();

    for (size_t i = 0; i < entries->n; i++)
        json_array_append_new(array, ls_make_json(&entries->list[i]));
    json_dumpf(array, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(array);
}

static void print_store(const char *mount)
{
    AUTO_FREE char *line = kept_line(mount);

    if (line)
        printf("%s\n", line);
}

/* --- the verb --- */

static int add_room(struct entries *entries, const char *mount, enum room room)
{
    AUTO_FREE char *shown = quote(mount, false);
    int r = entries_add_room(entries, mount, room);

    if (r < 0 && mount_is_gone(-r))
        say("can't list %s/ of %s: the ipcfs has ended", rooms[room].dir, shown);
    else if (r < 0)
        say("can't list %s/ of %s: %s", rooms[room].dir, shown, strerror(-r));
    return r;
}

/* N_ROOMS: all. */
static int add_rooms(struct entries *entries, const char *mount, enum room room)
{
    int r = 0;

    if (room < N_ROOMS)
        return add_room(entries, mount, room);
    for (room = 0; room < N_ROOMS; room++) {
        if (add_room(entries, mount, room) < 0)
            r = -1;
    }
    return r;
}

static bool is_room(const char *arg)
{
    for (enum room room = 0; room < N_ROOMS; room++) {
        if (strcmp(arg, rooms[room].dir) == 0)
            return true;
    }
    return false;
}

static int add_arg(struct entries *entries, const char *mount, const char *arg)
{
    AUTO_FREE char *mount_of_room = NULL;
    struct object object;
    enum room room;
    int r;

    if (object_is_room(arg, mount, &room, &mount_of_room))
        return add_rooms(entries, mount_of_room, room);
    object_init(&object, mount, arg, ROOM_MBOX);
    r = entries_add_object(entries, &object);
    if (r < 0) {
        if (r == -ENOENT && is_room(arg))
            say("there is no %s; to list the room: ipcctl ls %s/", object.shown, arg);
        else
            why_say(&object, "list", NULL, -r);
        object_deinit(&object);
    }
    return r;
}

static int collect(struct entries *entries, const char *mount, const struct options *options)
{
    int r = 0;

    for (int i = 0; i < options->n_args; i++) {
        if (add_arg(entries, mount, options->args[i]) < 0)
            r = -1;
    }
    return options->n_args == 0 ? add_rooms(entries, mount, N_ROOMS) : r;
}

static enum exit_status ls_run(const char *mount, int argc, char **argv)
{
    struct options options = { 0 };
    struct entries entries = { 0 };
    int r;

    mount = ctl_parse(&argp, mount, argc, argv, &options.common);
    if (options.n_args == 0)
        mount = ctl_mount(&options.common);
    entries.names_only = !options.is_long && !options.json;
    r = collect(&entries, mount, &options);
    if (options.json)
        ls_print_json(&entries);
    else if (options.is_long)
        ls_print_table(&entries, isatty(STDOUT_FILENO));
    else
        print_names(&entries, options.null);
    entries_deinit(&entries);
    if (options.is_long && options.n_args == 0 && isatty(STDOUT_FILENO))
        print_store(mount);
    return r < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_OK;
}

const struct verb verb_ls = { "ls", "List what there is", &argp, ls_run };
