/* ipcfs-nats: carries mailboxes and topics of a mount over NATS JetStream (ipcfs-nats(8)).
 *
 *   export   work (a lease) -> publish -> acknowledged by the stream -> done
 *   import   pull -> send.json, or drop/ -> acknowledged to the consumer
 *   topic    both: a subscription is exported, a consumer of this host's own is imported
 *
 * It uses the mount's files alone, so it can be any user's, and the daemon never waits for a network. One thread does all
 * (loop.h); the NATS library's threads hand over to it (server.h). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <json-c/json.h>

#include "envelope.h"
#include "export.h"
#include "import.h"
#include "log.h"
#include "loop.h"
#include "server.h"
#include "settings.h"
#include "status.h"

/* How long what is in flight at SIGTERM may take; then it goes back to its mailbox. */
#define STOP_NS INT64_C(3000000000)
#define STOP_STEP_NS INT64_C(20000000)
#define MOUNT_ID_BYTES_MAX 64

static struct {
    struct settings settings;
    struct envelope_source source;
    char mount_id[MOUNT_ID_BYTES_MAX + 1];
    struct export **exports; /* one for each mapping; NULL: it only imports */
    struct import **imports;
    struct source version; /* .ipcfs/version, open for as long as it runs: its end is the mount's */
    struct source signals;
    struct timer stop_timer;
    int64_t stopping_ns;
} bridge;

static void bridge_mount_ended(struct source *source)
{
    (void)source;
    log_die(EXIT_STATUS_FAILED, "%s: the mount is gone", bridge.settings.mount);
}

/* A mailbox where nothing comes or goes does not tell. */
static void bridge_watch_mount(void)
{
    int r = loop_watch(&bridge.version, 0); /* errors are told unasked */

    if (r < 0)
        log_die(EXIT_STATUS_FAILED, "%s/.ipcfs/version: %s", bridge.settings.mount, strerror(-r));
}

/* From .ipcfs/version: a mount with a store keeps it, another makes a new one at each start. */
static void bridge_read_mount_id(void)
{
    char *path = xasprintf("%s/.ipcfs/version", bridge.settings.mount);
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t n_allocated = 0;

    if (!file)
        log_die(EXIT_STATUS_FAILED, "%s is no mount of ipcfs: %s: %s", bridge.settings.mount, path,
                strerror(errno));
    while (getline(&line, &n_allocated, file) > 0)
        sscanf(line, "mount_id=%64[0-9a-f]", bridge.mount_id);
    if (ferror(file))
        log_die(EXIT_STATUS_FAILED, "%s is no mount of ipcfs: %s: %s", bridge.settings.mount, path,
                strerror(errno));
    free(line);
    bridge.version = (struct source){ .fd = fcntl(fileno(file), F_DUPFD_CLOEXEC, 0),
                                      .ready = bridge_mount_ended };
    fclose(file);
    if (!bridge.mount_id[0])
        log_die(EXIT_STATUS_FAILED, "%s: no mount_id: the mount is of an older ipcfs", path);
    free(path);
    bridge.source = (struct envelope_source){ bridge.settings.host, bridge.mount_id };
}

/* --- status --- */

/* Without memory a number is missing. */
static void bridge_tell_number(struct json_object *object, const char *name, uint64_t n)
{
    json_object_object_add(object, name, json_object_new_uint64(n));
}

static void bridge_tell_flag(struct json_object *object, const char *name, bool is_set)
{
    json_object_object_add(object, name, json_object_new_boolean(is_set));
}

static void bridge_tell_text(struct json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, json_object_new_string(text));
}

static void bridge_describe_export(struct json_object *object, const struct export *export)
{
    struct export_stat stat;

    export_get_stat(export, &stat);
    bridge_tell_number(object, "sent", stat.sent);
    bridge_tell_number(object, "repeated", stat.repeated);
    bridge_tell_number(object, "skipped", stat.skipped);
    bridge_tell_number(object, "dead", stat.dead);
    bridge_tell_number(object, "in_flight", stat.in_flight);
    bridge_tell_number(object, "held", stat.held);
    bridge_tell_flag(object, "gone", stat.is_gone);
}

static void bridge_describe_import(struct json_object *object, const struct import *import)
{
    struct import_stat stat;

    import_get_stat(import, &stat);
    bridge_tell_number(object, "received", stat.received);
    bridge_tell_number(object, "redelivered", stat.redelivered);
    bridge_tell_number(object, "own", stat.skipped);
    bridge_tell_number(object, "refused", stat.refused);
    bridge_tell_number(object, "lag", stat.lag);
    bridge_tell_number(object, "waiting", stat.waiting);
    bridge_tell_number(object, "missing", stat.missing);
    bridge_tell_flag(object, "full", stat.is_full);
    bridge_tell_flag(object, "gone", stat.is_gone);
}

/* Return: the object of one more line. */
static struct json_object *bridge_add_line(struct json_object *lines, const struct mapping *mapping)
{
    static const char *const kinds[] = { "export", "import", "topic" };
    bool is_import = mapping->kind == MAPPING_IMPORT;
    struct json_object *object = json_object_new_object();
    char *line = xasprintf("%s %s %s", kinds[mapping->kind],
                           is_import ? mapping->subject : mapping->name,
                           is_import ? mapping->name : mapping->subject);

    bridge_tell_text(object, "line", line);
    json_object_array_add(lines, object);
    free(line);
    return object;
}

static struct json_object *bridge_describe(void)
{
    struct json_object *object = json_object_new_object();
    struct json_object *lines = json_object_new_array();

    for (size_t i = 0; i < bridge.settings.n_mappings; i++) {
        const struct mapping *mapping = &bridge.settings.mappings[i];

        if (bridge.exports[i])
            bridge_describe_export(bridge_add_line(lines, mapping), bridge.exports[i]);
        if (bridge.imports[i])
            bridge_describe_import(bridge_add_line(lines, mapping), bridge.imports[i]);
    }
    bridge_tell_number(object, "pid", (uint64_t)getpid());
    bridge_tell_text(object, "server", server_url());
    bridge_tell_flag(object, "connected", server_is_connected());
    bridge_tell_text(object, "host", bridge.source.host);
    bridge_tell_text(object, "mount_id", bridge.source.mount_id);
    json_object_object_add(object, "lines", lines);
    return object;
}

static void bridge_connection(struct listener *listener, bool is_connected)
{
    (void)listener;
    (void)is_connected;
    status_changed();
}

/* --- stopping --- */

static bool bridge_is_idle(void)
{
    for (size_t i = 0; i < bridge.settings.n_mappings; i++) {
        if (bridge.exports[i] && !export_is_idle(bridge.exports[i]))
            return false;
    }
    return true;
}

static void bridge_stop_step(struct timer *timer)
{
    bridge.stopping_ns += STOP_STEP_NS;
    if (bridge_is_idle() || bridge.stopping_ns > STOP_NS)
        loop_end();
    else
        timer_set(timer, STOP_STEP_NS);
}

static void bridge_signalled(struct source *source)
{
    struct signalfd_siginfo info;

    if (read(source->fd, &info, sizeof(info)) < 0)
        return;
    for (size_t i = 0; i < bridge.settings.n_mappings; i++) {
        if (bridge.exports[i])
            export_stop(bridge.exports[i]);
    }
    timer_set(&bridge.stop_timer, 1);
}

/* Before any other thread is there: they all are to leave the signals to the loop. */
static void bridge_take_signals(void)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    bridge.signals = (struct source){ .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
                                      .ready = bridge_signalled };
    if (bridge.signals.fd < 0 || loop_watch(&bridge.signals, EPOLLIN) < 0 ||
        timer_init(&bridge.stop_timer, bridge_stop_step) < 0)
        log_die(EXIT_STATUS_FAILED, "signals: %s", strerror(errno));
}

/* --- life --- */

static void bridge_make(void)
{
    size_t n = bridge.settings.n_mappings;

    bridge.exports = xzalloc((n + 1) * sizeof(*bridge.exports));
    bridge.imports = xzalloc((n + 1) * sizeof(*bridge.imports));
    for (size_t i = 0; i < n; i++) {
        const struct mapping *mapping = &bridge.settings.mappings[i];

        if (mapping->kind != MAPPING_IMPORT)
            bridge.exports[i] = export_new(mapping, &bridge.settings, &bridge.source);
        if (mapping->kind != MAPPING_EXPORT)
            bridge.imports[i] = import_new(mapping, &bridge.settings, &bridge.source);
    }
}

static void bridge_free(void)
{
    for (size_t i = 0; i < bridge.settings.n_mappings; i++) {
        if (bridge.exports[i])
            export_free(bridge.exports[i]);
        if (bridge.imports[i])
            import_free(bridge.imports[i]);
    }
    free(bridge.exports);
    free(bridge.imports);
}

static int bridge_show_status(void)
{
    int n = status_show(bridge.settings.mount);

    if (n < 0)
        log_die(EXIT_STATUS_FAILED, "%s/shm: %s", bridge.settings.mount, strerror(-n));
    if (n == 0)
        log_die(EXIT_STATUS_FAILED, "no bridge runs on %s", bridge.settings.mount);
    return EXIT_STATUS_OK;
}

int main(int argc, char **argv)
{
    static struct listener listener = { .changed = bridge_connection };

    settings_parse(&bridge.settings, argc, argv);
    if (bridge.settings.is_status)
        return bridge_show_status();
    bridge_read_mount_id();
    loop_init();
    bridge_watch_mount();
    bridge_take_signals();
    server_open(&bridge.settings);
    bridge_make();
    status_open(bridge.settings.mount, bridge_describe);
    server_listen(&listener);
    loop_run();
    bridge_free();
    server_flush();
    server_close();
    status_close();
    loop_unwatch(&bridge.version);
    close(bridge.version.fd);
    settings_deinit(&bridge.settings);
    return EXIT_STATUS_OK;
}
