/* Owns its open `work.json` (work.h), the list of what is in flight, in the order in which
 * it was taken, and its inbox of acknowledgements. The stream's name is asked for again after a failure: somebody may have made
 * another one.
 *
 * A lease is idle (no message), sent, unsent (to be sent again) or held (too large for now). What is acknowledged is said in one
 * write for all that came together; until then it counts in the window, for a bridge that is killed sends it again. */
#include "export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>
#include <utlist.h>

#include "carrier.h"
#include "log.h"
#include "loop.h"
#include "place.h"
#include "server.h"
#include "status.h"
#include "stream.h"
#include "work.h"

/* No acknowledgement in this time: the message is sent again. */
#define ACK_TIMEOUT_NS INT64_C(5000000000)
#define RETRY_MIN_NS INT64_C(100000000)
#define RETRY_MAX_NS INT64_C(5000000000)
/* Taken before the loop looks at the others. */
#define TAKEN_AT_ONCE 256
#define SETTLE_NS INT64_C(20000000)
#define SETTLES_MAX 100
/* An inbox of the NATS library, and two numbers. */
#define REPLY_BYTES_MAX 128
/* More than the headers of a message can be as they go out: 4 KiB, of which a byte may take three, 4,096 names at most with what
 * stands before and behind each, and our own. */
#define HEADERS_OUT_BYTES_MAX 131072
/* Messages in a row with nobody else's between, before more are in flight. */
#define ALONE_MIN 16

enum lease_state { LEASE_IDLE, LEASE_SENT, LEASE_UNSENT, LEASE_HELD };

struct lease {
    struct export *export;
    enum lease_state state;
    unsigned index;   /* in the export's table */
    uint64_t id;      /* of its message, which is on lease */
    uint64_t n_taken; /* tells an acknowledgement of this message from one of the message before */
    char *msg_id;
    natsMsg *msg;
    int64_t sent_ns;
    struct lease *prev; /* in idle, flight or held */
    struct lease *next;
};

struct export
{
    const struct mapping *mapping;
    const struct settings *settings;
    const struct envelope_source *source;
    struct place place;
    char *file;    /* below the place: "work.json", or a subscription's */
    char *mailbox; /* the directory that it is in */
    char *stream;
    struct listener listener;
    struct inbox acks;
    struct job job;
    struct timer ack_timer;
    struct timer retry_timer;
    struct timer settle_timer;
    int64_t retry_ns;
    struct lease **table;
    unsigned n_table;
    struct work work;
    struct json_tokener *tokener;
    struct envelope_text headers; /* of the message that is being made */
    struct lease *idle;
    struct lease *flight;
    struct lease *held;
    unsigned n_flight;
    unsigned n_unsent;    /* the last of the flight */
    unsigned window;      /* how many may be sent and not acknowledged */
    unsigned n_alone;     /* that followed each other since the window changed */
    uint64_t last_number; /* in the stream, of what was acknowledged last */
    char *last_dead;      /* msg_id: if it comes again, the dead-letter mailbox didn't take it */
    char *told;           /* the last failure that was logged */
    size_t max_payload;
    unsigned n_settles;
    bool is_waiting; /* for the next message */
    bool is_settling;
    bool is_mending; /* nothing new until what is in flight is known */
    bool is_stopping;
    bool is_gone;
    struct export_stat stat;
};

static void export_pump(struct export *e);

static int64_t export_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Each failure once, until something else fails or it works again. */
static void export_tell(struct export *e, const char *why)
{
    if (e->told && strcmp(e->told, why) == 0)
        return;
    free(e->told);
    e->told = xstrdup(why);
    log_line("export %s: %s", e->mapping->name, why);
    status_changed();
}

static void export_works(struct export *e)
{
    e->retry_ns = RETRY_MIN_NS;
    if (!e->told)
        return;
    free(e->told);
    e->told = NULL;
    log_line("export %s: works again", e->mapping->name);
}

/* --- leases --- */

static void export_readable(struct source *source)
{
    struct export *e = container_of(source, struct export, work.source);

    e->is_waiting = false;
    export_pump(e);
}

/* An idle lease, in no list. */
static struct lease *lease_new(struct export *e)
{
    struct lease *lease = e->idle;

    if (lease) {
        DL_DELETE(e->idle, lease);
        return lease;
    }
    lease = xzalloc(sizeof(*lease));
    *lease = (struct lease){ .export = e, .index = e->n_table };
    e->table = xrealloc(e->table, e->n_table + 1, sizeof(*e->table));
    e->table[e->n_table++] = lease;
    return lease;
}

static void lease_forget_message(struct lease *lease)
{
    server_release(lease->msg);
    lease->msg = NULL;
    free(lease->msg_id);
    lease->msg_id = NULL;
}

/* It has no message any more. */
static void lease_rest(struct lease *lease)
{
    struct export *e = lease->export;

    lease_forget_message(lease);
    lease->state = LEASE_IDLE;
    DL_PREPEND(e->idle, lease);
}

/* It is done, which is said with others that come. */
static void lease_done(struct lease *lease)
{
    work_note_done(&lease->export->work, lease->id);
    loop_queue(&lease->export->job);
}

static void lease_free(struct lease *lease)
{
    lease_forget_message(lease);
    free(lease);
}

/* --- the mailbox goes and comes --- */

static void export_close_all(struct export *e)
{
    for (unsigned i = 0; i < e->n_table; i++)
        lease_free(e->table[i]);
    free(e->table);
    e->table = NULL;
    e->n_table = 0;
    e->idle = e->flight = e->held = NULL;
    e->n_flight = e->n_unsent = 0;
    work_close(&e->work);
    e->is_waiting = false;
}

static void export_gone(struct export *e)
{
    if (e->is_gone)
        return;
    log_line("export %s: %s is gone; waiting for it", e->mapping->name, e->place.dir);
    export_close_all(e);
    e->is_gone = true;
    e->is_mending = false;
    place_wait(&e->place);
    status_changed();
    e->place.returned(&e->place);
}

/* Called with what a call on a `work` has failed with: the mailbox has gone, or nothing helps. */
static void export_failed(struct export *e, int r)
{
    if (!place_is_gone(&e->place, -r))
        place_die(&e->place, e->file, -r);
    export_gone(e);
}

static int export_subscribe(struct export *e)
{
    static const char limits[] = "messages=max\nbytes=67108864\noverflow=block\n";
    char *config = xasprintf("%s/config", e->mailbox);
    int r = mkdir(e->mailbox, 0700) < 0 ? -errno : 0;
    int fd;

    if (r == 0) {
        /* Nothing is lost while no server is there: who publishes waits once it is full. */
        fd = open(config, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, limits, sizeof(limits) - 1) < 0)
            log_line("%s: %s", config, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    free(config);
    return r == -EEXIST ? 0 : r;
}

static int export_open(struct export *e)
{
    int r = 0;

    if (e->mapping->kind == MAPPING_TOPIC)
        r = export_subscribe(e);
    if (r < 0)
        return r;
    r = place_open(&e->place, e->file, O_RDWR | O_NONBLOCK);
    if (r < 0)
        return r;
    e->work.source.fd = r;
    return 0;
}

static void export_returned(struct place *place)
{
    struct export *e = container_of(place, struct export, place);
    int r = export_open(e);

    if (r < 0) {
        if (!place_is_gone(place, -r))
            place_die(place, e->file, -r);
        return;
    }
    place_wait_no_more(place);
    e->is_gone = false;
    log_line("export %s: %s is there again", e->mapping->name, place->dir);
    status_changed();
    loop_queue(&e->job);
}

/* --- failing and sending again --- */

static void lease_unsend(struct lease *lease)
{
    if (lease->state != LEASE_SENT)
        return;
    lease->state = LEASE_UNSENT;
    lease->export->n_unsent++;
}

static void export_retry_later(struct export *e)
{
    timer_set(&e->retry_timer, e->retry_ns);
    e->retry_ns = e->retry_ns * 2 < RETRY_MAX_NS ? e->retry_ns * 2 : RETRY_MAX_NS;
}

/* The state of the message is known again, or another time-out comes. Sends when all is known. */
static void export_mend(struct export *e, bool is_at_once)
{
    e->is_mending = true;
    if (e->n_unsent < e->n_flight || !server_is_connected())
        return;
    if (is_at_once)
        timer_set(&e->retry_timer, 1);
    else
        export_retry_later(e);
}

/* Finds the stream, or makes it. Return: is it there? If not, it is tried again. */
static bool export_has_stream(struct export *e)
{
    const struct stream_want want = { e->mapping->subject, e->mapping->kind, e->settings };
    char *why = NULL;
    int r = e->stream ? 0 : stream_open(&want, &e->stream, &why);

    if (r == -EINVAL)
        log_die(EXIT_STATUS_FAILED, "export %s: %s", e->mapping->name, why);
    if (r < 0) {
        export_tell(e, why);
        export_retry_later(e);
    }
    free(why);
    return r == 0;
}

static int lease_publish(struct lease *lease, const char *after)
{
    int r;

    if (after)
        natsMsgHeader_Set(lease->msg, "Nats-Expected-Last-Msg-Id", after);
    else
        natsMsgHeader_Delete(lease->msg, "Nats-Expected-Last-Msg-Id");
    r = server_publish(lease->msg);
    lease->sent_ns = export_now_ns();
    if (r == 0 && lease->state != LEASE_SENT) {
        if (lease->state == LEASE_UNSENT)
            lease->export->n_unsent--;
        lease->state = LEASE_SENT;
    } else if (r < 0 && lease->state != LEASE_UNSENT) {
        lease->state = LEASE_UNSENT;
        lease->export->n_unsent++;
    }
    return r;
}

/* Those that are to be sent again, as the window lets them; each after the one before it. Return: 0; -EAGAIN: not all. */
static int export_send_again(struct export *e)
{
    struct lease *lease;

    DL_FOREACH(e->flight, lease)
    {
        if (lease->state != LEASE_UNSENT)
            continue;
        if (e->n_flight - e->n_unsent >= e->window)
            return -EAGAIN;
        if (lease_publish(lease, lease == e->flight ? NULL : lease->prev->msg_id) < 0) {
            export_mend(e, false);
            return -EAGAIN;
        }
        e->stat.repeated++;
    }
    return 0;
}

static void export_resend(struct timer *timer)
{
    struct export *e = container_of(timer, struct export, retry_timer);

    if (!server_is_connected() || !export_has_stream(e))
        return;
    e->is_mending = false;
    if (e->flight)
        timer_set(&e->ack_timer, ACK_TIMEOUT_NS);
    loop_queue(&e->job);
}

/* Where others publish to the same subject they come in between, and what was sent after them is refused. One alone is never
 * refused; it is found by the numbers of its messages in the stream, which follow each other. So the window opens only after
 * many of those, and shuts at once: what a server refuses costs more than a wait. */
static void export_shut_window(struct export *e)
{
    e->window = 1;
    e->n_alone = 0;
}

static void export_number(struct export *e, const struct json_object *answer)
{
    struct json_object *seq = NULL;
    uint64_t number;
    bool is_alone;

    if (json_object_object_get_ex(answer, "duplicate", NULL))
        return;
    json_object_object_get_ex(answer, "seq", &seq);
    number = json_object_get_uint64(seq);
    is_alone = number == e->last_number + 1;
    e->last_number = number;
    if (!is_alone) {
        export_shut_window(e);
    } else if (++e->n_alone >= (e->window > ALONE_MIN ? e->window : ALONE_MIN)) {
        e->window = e->window * 2 < (unsigned)e->settings->window ? e->window * 2
                                                                  : (unsigned)e->settings->window;
        e->n_alone = 0;
    }
}

static void export_overdue(struct timer *timer)
{
    struct export *e = container_of(timer, struct export, ack_timer);
    int64_t limit_ns = export_now_ns() - ACK_TIMEOUT_NS;
    struct lease *lease;
    bool is_overdue = false;

    DL_FOREACH(e->flight, lease)
    {
        if (lease->state == LEASE_SENT && lease->sent_ns <= limit_ns) {
            lease_unsend(lease);
            is_overdue = true;
        }
    }
    if (is_overdue) {
        export_tell(e, "the server does not acknowledge; sending again");
        export_mend(e, false);
    }
    if (e->n_unsent < e->n_flight)
        timer_set(timer, ACK_TIMEOUT_NS);
}

/* --- too large --- */

static bool export_has_dead(const struct export *e)
{
    char *dead = place_read(e->mailbox, "config", "dead");
    bool has = dead && *dead;

    free(dead);
    return has;
}

/* The lease is in no list. */
static void export_too_large(struct export *e, struct lease *lease, const char *of)
{
    bool came_again = e->last_dead && strcmp(e->last_dead, lease->msg_id) == 0;
    bool is_dead = !came_again && export_has_dead(e) && work_say(&e->work, "dead", lease->id) == 0;

    log_line("export %s: message %" PRIu64 " is larger than %s: %s", e->mapping->name, lease->id,
             of, is_dead ? "to the dead-letter mailbox" : "it stays here, on lease");
    if (is_dead) {
        free(e->last_dead);
        e->last_dead = xstrdup(lease->msg_id);
        e->stat.dead++;
        lease_rest(lease);
    } else {
        lease->state = LEASE_HELD;
        DL_APPEND(e->held, lease);
    }
    status_changed();
}

/* Another server may take more: what was held goes back to its place, and comes again. */
static void export_let_go(struct export *e)
{
    struct lease *lease;
    struct lease *next;

    DL_FOREACH_SAFE(e->held, lease, next)
    {
        if (work_say(&e->work, "again", lease->id) < 0)
            return;
        DL_DELETE(e->held, lease);
        lease_rest(lease);
    }
}

/* Return: the object that the @n bytes at @text are; NULL: they are none. */
static struct json_object *export_parse(const struct export *e, const char *text, int n)
{
    struct json_object *object;

    json_tokener_reset(e->tokener);
    object = json_tokener_parse_ex(e->tokener, text, n);
    if (json_object_is_type(object, json_type_object))
        return object;
    json_object_put(object);
    return NULL;
}

/* --- acknowledgements --- */

static void export_done(struct export *e, struct lease *lease)
{
    lease_done(lease);
    if (lease->state == LEASE_UNSENT)
        e->n_unsent--;
    DL_DELETE(e->flight, lease);
    e->n_flight--;
    lease_rest(lease);
    e->stat.sent++;
    status_counted();
}

static void export_refused(struct export *e, struct lease *lease, int64_t code, const char *why)
{
    /* The one before it was taken: somebody else's came between. */
    bool is_between = lease == e->flight && !e->is_mending;

    if (code == JSStreamMessageExceedsMaximumErr) {
        if (lease->state == LEASE_UNSENT)
            e->n_unsent--;
        DL_DELETE(e->flight, lease);
        e->n_flight--;
        export_too_large(e, lease, "the stream takes");
        export_mend(e, true);
        return;
    }
    lease_unsend(lease);
    if (code != JSStreamWrongLastMsgIDErr)
        export_tell(e, why);
    else if (is_between)
        export_shut_window(e);
    export_mend(e, code == JSStreamWrongLastMsgIDErr);
}

static struct lease *export_find(struct export *e, const char *part)
{
    unsigned index;
    uint64_t n_taken;
    struct lease *lease;

    if (sscanf(part, "%u-%" SCNu64, &index, &n_taken) != 2 || index >= e->n_table)
        return NULL;
    lease = e->table[index];
    return lease->n_taken == n_taken && (lease->state == LEASE_SENT || lease->state == LEASE_UNSENT)
               ? lease
               : NULL;
}

/* What is no JSON has no members. */
static void export_answered(struct export *e, struct lease *lease, const char *text, int n)
{
    struct json_object *answer = export_parse(e, text, n);
    struct json_object *stream = NULL;
    struct json_object *error = NULL;
    struct json_object *code = NULL;
    struct json_object *why = NULL;

    json_object_object_get_ex(answer, "stream", &stream);
    json_object_object_get_ex(answer, "error", &error);
    if (json_object_is_type(stream, json_type_string) && !error) {
        export_number(e, answer);
        export_done(e, lease);
        export_works(e);
        if (e->is_mending)
            export_mend(e, true);
    } else {
        json_object_object_get_ex(error, "description", &why);
        json_object_object_get_ex(error, "err_code", &code);
        export_refused(e, lease, json_object_get_int64(code),
                       json_object_is_type(why, json_type_string)
                           ? json_object_get_string(why)
                           : "an answer that is none of JetStream");
    }
    json_object_put(answer);
}

static void export_acknowledged(struct inbox *inbox, const char *part, natsMsg *msg)
{
    struct export *e = container_of(inbox, struct export, acks);
    struct lease *lease = export_find(e, part);

    if (lease)
        export_answered(e, lease, natsMsg_GetData(msg), natsMsg_GetDataLength(msg));
    server_release(msg);
    /* With the others that came. */
    loop_queue(&e->job);
}

/* No stream has one of the messages, so all that are out go again: the stream tells those that it has. */
static void export_unanswered(struct inbox *inbox)
{
    struct export *e = container_of(inbox, struct export, acks);
    struct lease *lease;

    if (e->n_unsent == e->n_flight)
        return;
    free(e->stream);
    e->stream = NULL;
    DL_FOREACH(e->flight, lease)
    lease_unsend(lease);
    export_tell(e, "no stream takes its messages now");
    export_mend(e, false);
}

/* --- taking --- */

static int lease_make_msg(struct lease *lease, struct json_object *envelope)
{
    struct export *e = lease->export;
    char reply[REPLY_BYTES_MAX];
    char *decoded = NULL;
    size_t n;
    const char *body = envelope_body(envelope, &n, &decoded);
    natsStatus status = NATS_ERR;

    snprintf(reply, sizeof(reply), "%s.%u-%" PRIu64, e->acks.subject, lease->index,
             ++lease->n_taken);
    if (body)
        status = natsMsg_Create(&lease->msg, e->mapping->subject, reply, body, (int)n);
    free(decoded);
    if (status != NATS_OK)
        return -EIO;
    return envelope_to_nats(envelope, e->source, lease->msg_id, &e->headers, lease->msg);
}

static bool lease_is_too_large(const struct lease *lease)
{
    size_t n = (size_t)natsMsg_GetDataLength(lease->msg);
    size_t max_payload = lease->export->max_payload;

    return n + HEADERS_OUT_BYTES_MAX > max_payload &&
           n + envelope_headers_bytes(lease->msg) > max_payload;
}

/* Another host's, or too large: known before it goes out. Return: is that all that is to do? */
static bool export_sorts_out(struct export *e, struct lease *lease, struct json_object *envelope)
{
    struct json_object *size = NULL;

    if (e->mapping->kind == MAPPING_TOPIC &&
        envelope_is_foreign(envelope, e->source->mount_id, geteuid())) {
        lease_done(lease);
        lease_rest(lease);
        e->stat.skipped++;
        return true;
    }
    json_object_object_get_ex(envelope, "size", &size);
    if (json_object_get_uint64(size) <= e->max_payload)
        return false;
    export_too_large(e, lease, "the server takes");
    return true;
}

/* The lease is in no list. */
static int export_send(struct export *e, struct lease *lease, struct json_object *envelope)
{
    const char *after = e->flight ? e->flight->prev->msg_id : NULL;
    int r;

    if (export_sorts_out(e, lease, envelope))
        return 0;
    r = lease_make_msg(lease, envelope);
    if (r < 0)
        return r;
    if (lease_is_too_large(lease)) {
        export_too_large(e, lease, "the server takes, with its headers");
        return 0;
    }
    if (!e->flight)
        timer_set(&e->ack_timer, ACK_TIMEOUT_NS);
    DL_APPEND(e->flight, lease);
    e->n_flight++;
    if (lease_publish(lease, after) < 0)
        export_mend(e, false);
    return 0;
}

/* Takes the message of a line, and sends it. Return: 0; a negative errno. */
static int export_take_line(struct export *e, const char *line, size_t n)
{
    struct json_object *envelope = n > INT_MAX ? NULL : export_parse(e, line, (int)n);
    struct json_object *id = NULL;
    struct lease *lease;
    int r;

    if (!envelope)
        return -EIO;
    lease = lease_new(e);
    json_object_object_get_ex(envelope, "id", &id);
    lease->id = json_object_get_uint64(id);
    lease->msg_id = envelope_msg_id(lease->id, e->source->mount_id);
    r = export_send(e, lease, envelope);
    json_object_put(envelope);
    if (r < 0)
        lease_rest(lease);
    return r;
}

static void export_take_skipped(struct export *e, uint64_t id)
{
    struct lease *lease = lease_new(e);

    lease->id = id;
    lease->msg_id = envelope_msg_id(lease->id, e->source->mount_id);
    export_too_large(e, lease, "the server takes");
}

/* Takes one message and sends it. Return: 0; -EAGAIN: there is none; another negative errno. */
static int export_take(struct export *e)
{
    char *line;
    size_t n;
    uint64_t skipped_id;
    int r;

    /* What the last read brought goes out before the daemon is asked for more. */
    if (!work_has_line(&e->work))
        carrier_send();
    r = work_next_line(&e->work, e->max_payload, &line, &n, &skipped_id);
    if (r < 0)
        return r;
    if (!skipped_id)
        return export_take_line(e, line, n);
    export_take_skipped(e, skipped_id);
    return 0;
}

static bool export_may_take(const struct export *e)
{
    return server_is_connected() && e->stream && !e->is_settling && !e->is_mending &&
           !e->is_stopping && !e->is_gone && e->n_unsent == 0 &&
           e->n_flight + e->work.n_words < e->window;
}

static void export_wait(struct export *e)
{
    int r = loop_watch(&e->work.source, EPOLLIN);

    if (r < 0)
        log_die(EXIT_STATUS_FAILED, "%s: %s", e->place.dir, strerror(-r));
    e->is_waiting = true;
}

static void export_pump(struct export *e)
{
    if (!e->is_mending && server_is_connected() && e->n_unsent && export_send_again(e) < 0)
        return;
    if (e->is_waiting)
        return;
    for (int i = 0; i < TAKEN_AT_ONCE && export_may_take(e); i++) {
        int r = export_take(e);

        if (r == -EAGAIN) {
            export_wait(e);
            return;
        }
        if (r < 0 && r != -EINTR) {
            export_failed(e, r);
            return;
        }
    }
    if (export_may_take(e))
        loop_queue(&e->job);
}

static void export_run(struct job *job)
{
    struct export *e = container_of(job, struct export, job);
    int r = work_say_all(&e->work);

    if (r < 0) {
        export_failed(e, r);
        return;
    }
    if (server_is_connected() && !export_has_stream(e))
        return;
    export_pump(e);
}

static void export_connection(struct listener *listener, bool is_connected)
{
    struct export *e = container_of(listener, struct export, listener);
    struct lease *lease;

    if (!is_connected) {
        timer_stop(&e->retry_timer);
        DL_FOREACH(e->flight, lease)
        lease_unsend(lease);
        e->is_mending = e->flight != NULL;
        return;
    }
    if (server_max_payload() > e->max_payload)
        export_let_go(e);
    e->max_payload = server_max_payload();
    e->retry_ns = RETRY_MIN_NS;
    if (e->flight)
        export_mend(e, true);
    loop_queue(&e->job);
}

/* --- life --- */

/* What a bridge before this one had on lease when it was killed comes back a moment after its end, one by one: taken before all
 * have, it would go out of its order. Leases of other workers, that stay, are not waited for for long. */
static void export_settle(struct timer *timer)
{
    struct export *e = container_of(timer, struct export, settle_timer);
    char *leased = place_read(e->mailbox, "stat", "leased");

    e->is_settling = leased && strcmp(leased, "0") != 0 && e->n_settles++ < SETTLES_MAX;
    free(leased);
    if (e->is_settling)
        timer_set(timer, SETTLE_NS);
    else
        loop_queue(&e->job);
}

struct export *export_new(const struct mapping *mapping, const struct settings *settings,
                          const struct envelope_source *source)
{
    struct export *e = xzalloc(sizeof(*e));
    char *sub;
    int r;

    *e = (struct export){ .mapping = mapping,
                          .settings = settings,
                          .source = source,
                          .listener = { .changed = export_connection },
                          .job = { .run = export_run },
                          .retry_ns = RETRY_MIN_NS,
                          .window = 1 };
    e->tokener = json_tokener_new();
    if (!e->tokener)
        log_die(EXIT_STATUS_FAILED, "out of memory");
    work_init(&e->work, export_readable);
    place_init(&e->place, settings->mount, mapping->kind == MAPPING_TOPIC ? "topic" : "mbox",
               mapping->name, export_returned);
    if (mapping->kind == MAPPING_TOPIC) {
        sub = stream_encode("ipcfs-nats-", mapping->subject);
        e->file = xasprintf("sub/%s/work.json", sub);
        e->mailbox = xasprintf("%s/sub/%s", e->place.dir, sub);
        free(sub);
    } else {
        e->file = xstrdup("work.json");
        e->mailbox = xstrdup(e->place.dir);
    }
    r = export_open(e);
    if (r < 0)
        place_die(&e->place, e->file, -r);
    if (inbox_open(&e->acks, true, export_acknowledged, export_unanswered) < 0 ||
        timer_init(&e->ack_timer, export_overdue) < 0 ||
        timer_init(&e->retry_timer, export_resend) < 0 ||
        timer_init(&e->settle_timer, export_settle) < 0)
        log_die(EXIT_STATUS_FAILED, "export %s: %s", mapping->name, strerror(errno));
    export_settle(&e->settle_timer);
    server_listen(&e->listener);
    return e;
}

void export_free(struct export *e)
{
    if (e->work.source.fd >= 0 && work_say_all(&e->work) < 0)
        log_line("export %s: what the server has last comes again", e->mapping->name);
    export_close_all(e);
    work_deinit(&e->work);
    json_tokener_free(e->tokener);
    inbox_close(&e->acks);
    timer_deinit(&e->ack_timer);
    timer_deinit(&e->retry_timer);
    timer_deinit(&e->settle_timer);
    place_deinit(&e->place);
    free(e->file);
    free(e->mailbox);
    free(e->headers.data);
    free(e->stream);
    free(e->last_dead);
    free(e->told);
    free(e);
}

void export_stop(struct export *e)
{
    e->is_stopping = true;
}

bool export_is_idle(const struct export *e)
{
    return (!e->flight && !e->work.n_words) || !server_is_connected();
}

void export_get_stat(const struct export *e, struct export_stat *ret)
{
    *ret = e->stat;
    ret->in_flight = e->n_flight;
    ret->is_gone = e->is_gone;
    ret->held = 0;
    for (const struct lease *l = e->held; l; l = l->next)
        ret->held++;
}
