/* Owns the connection, the queue of what the NATS library's threads handed over, and the list of listeners. The queue has a
 * lock; all else is of the loop's thread.
 *
 * What a callback queues: the news that the connection came or went, and what the server forbids. Messages stay with their
 * subscription until the loop takes them, which it does whenever something came in (carrier.h). */
#include "server.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <utlist.h>

#include "carrier.h"
#include "log.h"
#include "loop.h"

#define CONNECT_MS 2000
#define RECONNECT_WAIT_MS 250
#define PING_MS 2000
#define PINGS_OUT_MAX 2
#define API_WAIT_MS 3000
#define FLUSH_MS 1000
/* Of one inbox, before the loop looks at the others. */
#define MESSAGES_AT_ONCE 256

enum event_kind {
    EVENT_CONNECTED,
    EVENT_DISCONNECTED,
    EVENT_CLOSED,
    EVENT_FORBIDDEN,
};

struct event {
    struct event *next;
    enum event_kind kind;
    char *text; /* what the server said */
};

static struct {
    natsOptions *options;
    natsConnection *connection;
    jsCtx *jetstream;
    char *api;
    char url[256];
    bool is_connected;
    bool is_told_of_others;
    uint64_t generation;
    struct listener *listeners;
    struct inbox *inboxes;
    struct job arrived_job;
    struct job release_job;
    natsMsg **released; /* to be freed */
    size_t n_released;
    size_t n_released_max;
    struct source wake;
    pthread_mutex_t lock; /* for what follows */
    bool is_closing;
    struct event *first;
    struct event **last;
} server = { .lock = PTHREAD_MUTEX_INITIALIZER, .last = &server.first };

static void event_free(struct event *event)
{
    free(event->text);
    free(event);
}

static void server_hand_over(struct event contents)
{
    struct event *event = xzalloc(sizeof(*event));
    bool was_empty;
    bool is_closing;

    *event = contents;
    pthread_mutex_lock(&server.lock);
    is_closing = server.is_closing;
    was_empty = !server.first;
    if (!is_closing) {
        *server.last = event;
        server.last = &event->next;
    }
    pthread_mutex_unlock(&server.lock);
    if (is_closing)
        event_free(event);
    else if (was_empty)
        eventfd_write(server.wake.fd, 1);
}

static struct event *server_next_event(void)
{
    struct event *event;

    pthread_mutex_lock(&server.lock);
    event = server.first;
    if (event) {
        server.first = event->next;
        if (!server.first)
            server.last = &server.first;
    }
    pthread_mutex_unlock(&server.lock);
    return event;
}

static void server_tell(bool is_connected)
{
    for (struct listener *l = server.listeners; l; l = l->next)
        l->changed(l, is_connected);
}

static void server_now_connected(void)
{
    server.is_connected = true;
    server.generation++;
    if (natsConnection_GetConnectedUrl(server.connection, server.url, sizeof(server.url)) !=
        NATS_OK)
        strcpy(server.url, "a server");
    log_line("connected to %s", server.url);
    server_tell(true);
}

static void server_now_disconnected(void)
{
    if (!server.is_connected)
        return;
    server.is_connected = false;
    log_line("lost %s: messages wait here until there is a server again", server.url);
    server_tell(false);
}

/* A mapping would wait for ever; what is optional is told of once. */
static void server_now_forbidden(const char *text)
{
    if (!strstr(text, "\"" SERVER_OPTIONAL))
        log_die(EXIT_STATUS_FAILED, "%s: %s", server.url, text);
    if (!server.is_told_of_others)
        log_line("%s: %s: importers that share may wait for each other", server.url, text);
    server.is_told_of_others = true;
}

static void server_handle(struct event *event)
{
    const char *why;

    switch (event->kind) {
    case EVENT_CONNECTED:
        server_now_connected();
        break;
    case EVENT_DISCONNECTED:
        server_now_disconnected();
        break;
    case EVENT_CLOSED:
        why = NULL;
        natsConnection_GetLastError(server.connection, &why);
        log_die(EXIT_STATUS_FAILED, "the connection to NATS is closed for good: %s",
                why && *why ? why : "no reason was given");
    case EVENT_FORBIDDEN:
        server_now_forbidden(event->text);
        break;
    }
}

static void server_ready(struct source *source)
{
    struct event *event;
    eventfd_t n;

    eventfd_read(source->fd, &n);
    while ((event = server_next_event())) {
        server_handle(event);
        event_free(event);
    }
    loop_watch(source, EPOLLIN);
}

/* --- messages --- */

/* Return: is it to be asked again? */
static bool inbox_take(struct inbox *inbox)
{
    natsMsg *msg = NULL;
    natsStatus status = natsSubscription_NextMsg(&msg, inbox->subscription, 0);
    const char *subject;
    const char *part;

    if (status == NATS_NO_RESPONDERS) {
        if (inbox->unanswered)
            inbox->unanswered(inbox);
        return true;
    }
    if (status != NATS_OK)
        return false;
    subject = natsMsg_GetSubject(msg);
    part = strrchr(subject, '.');
    inbox->arrived(inbox, part ? part + 1 : subject, msg);
    return true;
}

static void inbox_take_all(struct inbox *inbox)
{
    int n = 0;

    natsSubscription_GetPending(inbox->subscription, &n, NULL);
    if (n > MESSAGES_AT_ONCE) {
        n = MESSAGES_AT_ONCE;
        loop_queue(&server.arrived_job);
    }
    while (n-- > 0 && inbox_take(inbox))
        ;
}

static void server_arrived(void)
{
    for (struct inbox *inbox = server.inboxes; inbox; inbox = inbox->next)
        inbox_take_all(inbox);
}

static void server_run_arrived(struct job *job)
{
    (void)job;
    server_arrived();
}

void server_release(natsMsg *msg)
{
    if (!msg)
        return;
    if (server.n_released == server.n_released_max) {
        server.n_released_max = server.n_released_max ? 2 * server.n_released_max : 64;
        server.released = xrealloc(server.released, server.n_released_max,
                                   sizeof(*server.released));
    }
    server.released[server.n_released++] = msg;
    loop_queue(&server.release_job);
}

static void server_run_release(struct job *job)
{
    (void)job;
    while (server.n_released)
        natsMsg_Destroy(server.released[--server.n_released]);
}

/* --- callbacks, in the library's threads --- */

static void server_on_connected(natsConnection *connection, void *closure)
{
    (void)connection;
    (void)closure;
    server_hand_over((struct event){ .kind = EVENT_CONNECTED });
}

static void server_on_disconnected(natsConnection *connection, void *closure)
{
    (void)connection;
    (void)closure;
    server_hand_over((struct event){ .kind = EVENT_DISCONNECTED });
}

static void server_on_closed(natsConnection *connection, void *closure)
{
    (void)connection;
    (void)closure;
    server_hand_over((struct event){ .kind = EVENT_CLOSED });
}

/* One of the library's own would write to the log whatever comes. */
static void server_on_error(natsConnection *connection, natsSubscription *subscription,
                            natsStatus status, void *closure)
{
    const char *text = NULL;

    (void)subscription;
    (void)closure;
    natsConnection_GetLastError(connection, &text);
    if (status == NATS_NOT_PERMITTED)
        server_hand_over((struct event){
            .kind = EVENT_FORBIDDEN, .text = xstrdup(text ? text : natsStatus_GetText(status)) });
}

/* --- connecting --- */

static void server_must(natsStatus status, const char *what)
{
    if (status != NATS_OK)
        log_die(EXIT_STATUS_FAILED, "%s: %s", what, natsStatus_GetText(status));
}

static void server_set_servers(const char *servers)
{
    char *copy = xstrdup(servers);
    char *rest = copy;
    const char **urls = NULL;
    int n_urls = 0;
    char *url;

    while ((url = strsep(&rest, ","))) {
        urls = xrealloc(urls, (size_t)n_urls + 1, sizeof(*urls));
        urls[n_urls++] = url;
    }
    if (natsOptions_SetServers(server.options, urls, n_urls) != NATS_OK)
        log_die(EXIT_STATUS_USAGE, "\"%s\" is no list of servers", servers);
    free(urls);
    free(copy);
}

static void server_set_secrets(const struct settings *settings)
{
    bool is_tls = settings->tls_ca || settings->tls_cert || strstr(settings->servers, "tls://");

    if (settings->user)
        server_must(natsOptions_SetUserInfo(server.options, settings->user,
                                            settings->password ? settings->password : ""),
                    "user");
    if (settings->creds)
        server_must(natsOptions_SetUserCredentialsFromFiles(server.options, settings->creds, NULL),
                    settings->creds);
    if (is_tls)
        server_must(natsOptions_SetSecure(server.options, true), "TLS");
    if (settings->tls_ca)
        server_must(natsOptions_LoadCATrustedCertificates(server.options, settings->tls_ca),
                    settings->tls_ca);
    if (settings->tls_cert)
        server_must(natsOptions_LoadCertificatesChain(server.options, settings->tls_cert,
                                                      settings->tls_key),
                    settings->tls_cert);
}

static void server_set_options(const struct settings *settings)
{
    natsOptions *o;

    server_must(natsOptions_Create(&server.options), "NATS");
    o = server.options;
    server_set_servers(settings->servers);
    server_set_secrets(settings);
    server_must(natsOptions_SetName(o, "ipcfs-nats"), "NATS");
    server_must(natsOptions_SetTimeout(o, CONNECT_MS), "NATS");
    server_must(natsOptions_SetAllowReconnect(o, true), "NATS");
    server_must(natsOptions_SetMaxReconnect(o, -1), "NATS");
    server_must(natsOptions_SetReconnectWait(o, RECONNECT_WAIT_MS), "NATS");
    server_must(natsOptions_SetPingInterval(o, PING_MS), "NATS");
    server_must(natsOptions_SetMaxPingsOut(o, PINGS_OUT_MAX), "NATS");
    server_must(natsOptions_SetDisconnectedCB(o, server_on_disconnected, NULL), "NATS");
    server_must(natsOptions_SetReconnectedCB(o, server_on_connected, NULL), "NATS");
    server_must(natsOptions_SetErrorHandler(o, server_on_error, NULL), "NATS");
    server_must(natsOptions_SetClosedCB(o, server_on_closed, NULL), "NATS");
    carrier_init(o, server_arrived);
}

/* Return: does a server that isn't there now explain it? All else is told and ends the program. */
static bool server_may_come(natsStatus status)
{
    return status == NATS_NO_SERVER || status == NATS_TIMEOUT || status == NATS_IO_ERROR ||
           status == NATS_CONNECTION_CLOSED || status == NATS_STALE_CONNECTION;
}

static void server_fail(const struct settings *settings, natsStatus status)
{
    const char *detail = nats_GetLastError(NULL);
    bool is_usage = status == NATS_INVALID_ARG || status == NATS_ADDRESS_MISSING;

    log_die(is_usage ? EXIT_STATUS_USAGE : EXIT_STATUS_FAILED, "%s: %s%s%s", settings->servers,
            natsStatus_GetText(status), detail && *detail ? ": " : "", detail ? detail : "");
}

static void server_connect(const struct settings *settings)
{
    natsStatus status = natsConnection_Connect(&server.connection, server.options);

    if (status == NATS_OK) {
        server_hand_over((struct event){ .kind = EVENT_CONNECTED });
        return;
    }
    if (!server_may_come(status))
        server_fail(settings, status);
    log_line("no server at %s yet: messages wait here until there is one", settings->servers);
    server_must(
        natsOptions_SetRetryOnFailedConnect(server.options, true, server_on_connected, NULL),
        "NATS");
    status = natsConnection_Connect(&server.connection, server.options);
    if (status == NATS_OK)
        server_hand_over((struct event){ .kind = EVENT_CONNECTED });
    else if (status != NATS_NOT_YET_CONNECTED)
        server_fail(settings, status);
}

void server_open(const struct settings *settings)
{
    jsOptions js;

    server.wake = (struct source){ .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                                   .ready = server_ready };
    if (server.wake.fd < 0)
        log_die(EXIT_STATUS_FAILED, "eventfd: %s", strerror(errno));
    loop_watch(&server.wake, EPOLLIN);
    server.arrived_job.run = server_run_arrived;
    server.release_job.run = server_run_release;
    server_set_options(settings);
    server_connect(settings);
    jsOptions_Init(&js);
    js.Wait = API_WAIT_MS;
    js.Domain = settings->domain;
    server_must(natsConnection_JetStream(&server.jetstream, server.connection, &js), "JetStream");
    server.api = settings->domain ? xasprintf("$JS.%s.API", settings->domain) : xstrdup("$JS.API");
}

static void server_flush_aside(void *unused)
{
    (void)unused;
    natsConnection_FlushTimeout(server.connection, FLUSH_MS);
}

void server_flush(void)
{
    if (server.is_connected)
        carrier_aside(server_flush_aside, NULL);
}

static void server_drop_events(void)
{
    struct event *event;

    pthread_mutex_lock(&server.lock);
    server.is_closing = true;
    pthread_mutex_unlock(&server.lock);
    while ((event = server_next_event()))
        event_free(event);
}

void server_close(void)
{
    server_drop_events();
    server_run_release(&server.release_job);
    free(server.released);
    jsCtx_Destroy(server.jetstream);
    natsConnection_Destroy(server.connection);
    natsOptions_Destroy(server.options);
    nats_CloseAndWait(CONNECT_MS);
    carrier_deinit();
    loop_unwatch(&server.wake);
    close(server.wake.fd);
    free(server.api);
}

bool server_is_connected(void)
{
    return server.is_connected;
}

const char *server_url(void)
{
    return server.url;
}

size_t server_max_payload(void)
{
    int64_t n = natsConnection_GetMaxPayload(server.connection);

    return n > 0 ? (size_t)n : 0;
}

uint64_t server_generation(void)
{
    return server.generation;
}

jsCtx *server_jetstream(void)
{
    return server.jetstream;
}

const char *server_api(void)
{
    return server.api;
}

void server_listen(struct listener *listener)
{
    listener->next = server.listeners;
    server.listeners = listener;
}

static int inbox_subscribe(struct inbox *inbox, const char *filter)
{
    natsStatus status = natsConnection_SubscribeSync(&inbox->subscription, server.connection,
                                                     filter);

    if (status != NATS_OK)
        return -EIO;
    /* As many as are asked for come, and no more are asked for than the window; none may be dropped. */
    natsSubscription_SetPendingLimits(inbox->subscription, -1, -1);
    /* The last is looked at first: what came is delivered before it is said what went. */
    DL_PREPEND(server.inboxes, inbox);
    return 0;
}

int inbox_open(struct inbox *inbox, bool has_parts,
               void (*arrived)(struct inbox *inbox, const char *part, natsMsg *msg),
               void (*unanswered)(struct inbox *inbox))
{
    natsInbox *subject;
    char *filter;
    int r;

    if (natsInbox_Create(&subject) != NATS_OK)
        return -EIO;
    *inbox = (struct inbox){ .subject = xstrdup(subject),
                             .has_parts = has_parts,
                             .arrived = arrived,
                             .unanswered = unanswered };
    natsInbox_Destroy(subject);
    filter = xasprintf(has_parts ? "%s.*" : "%s", inbox->subject);
    r = inbox_subscribe(inbox, filter);
    free(filter);
    return r;
}

int inbox_open_at(struct inbox *inbox, char *subject,
                  void (*arrived)(struct inbox *inbox, const char *part, natsMsg *msg))
{
    *inbox = (struct inbox){ .subject = subject, .arrived = arrived };
    return inbox_subscribe(inbox, subject);
}

void inbox_close(struct inbox *inbox)
{
    if (inbox->subscription)
        DL_DELETE(server.inboxes, inbox);
    natsSubscription_Destroy(inbox->subscription);
    inbox->subscription = NULL;
    free(inbox->subject);
    inbox->subject = NULL;
}

static int server_status(natsStatus status)
{
    switch (status) {
    case NATS_OK:
        return 0;
    case NATS_MAX_PAYLOAD:
        return -EMSGSIZE;
    case NATS_CONNECTION_CLOSED:
    case NATS_CONNECTION_DISCONNECTED:
        return -ENOTCONN;
    default:
        return -EIO;
    }
}

int server_publish(natsMsg *msg)
{
    natsStatus status;

    if (!server.is_connected)
        return -ENOTCONN;
    status = natsConnection_PublishMsg(server.connection, msg);
    carrier_published((size_t)natsMsg_GetDataLength(msg));
    return server_status(status);
}

int server_ask(const char *subject, const char *reply, const void *data, size_t n_bytes)
{
    if (!server.is_connected)
        return -ENOTCONN;
    return server_status(
        reply ? natsConnection_PublishRequest(server.connection, subject, reply, data, (int)n_bytes)
              : natsConnection_Publish(server.connection, subject, data, (int)n_bytes));
}
