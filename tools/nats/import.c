/* Owns the descriptor of send.json, what was delivered and is not in the mailbox yet (in the stream's order), and the sequences
 * that the mailbox has, until the server has confirmed that it knows.
 *
 * One request for a batch is out at a time. It ends when all of it came, when the server says so (a status), with the
 * connection, or after a while in which nothing is heard of it. */
#include "import.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <uthash.h>
#include <utlist.h>

#include "log.h"
#include "loop.h"
#include "missing.h"
#include "place.h"
#include "server.h"
#include "status.h"
#include "stream.h"

#define NS_PER_S INT64_C(1000000000)
#define PULL_S 30
/* Past it, the request's end was lost. */
#define PULL_LOST_NS ((PULL_S + 5) * NS_PER_S)
/* How often the server is told of what waits here, in one ack_wait. */
#define PROGRESSES 3
#define RETRY_MIN_NS INT64_C(10000000)
#define RETRY_MAX_NS INT64_C(1000000000)
#define SETUP_NS INT64_C(500000000)
/* How long the confirmation of what the mailbox has may take after a connection came, before it is left open. */
#define CONFIRM_NS INT64_C(2000000000)
/* An inbox of the NATS library, and a number. */
#define REPLY_BYTES_MAX 128
/* In one write to send.json, if the mailbox has room. */
#define LINES_BYTES_MAX 131072
/* Sequences that are remembered after the server has confirmed: a new leader may not have heard of the last of them. And as
 * many Nats-Msg-Ids. */
#define CONFIRMED_MAX 65536
/* A message that the mailbox can't take is given out again after this. */
#define REFUSED_NS "60000000000"

struct delivery {
    uint64_t sequence;
    natsMsg *msg;
    size_t end; /* of its line in what is being written; 0: it isn't */
    struct delivery *prev;
    struct delivery *next;
};

/* Nats-Msg-Ids of what was delivered, the oldest first. A stream that removes what was acknowledged forgets its id when its
 * server starts anew, and may then store a message a second time. */
struct known {
    char *msg_id;
    uint64_t sequence;
    UT_hash_handle hh;
};

/* What the mailbox has. In the order of the hash's list, the oldest first. */
struct written {
    uint64_t sequence;
    char *ack; /* where to acknowledge; NULL: confirmed */
    UT_hash_handle hh;
};

struct import {
    const struct mapping *mapping;
    const struct settings *settings;
    const struct envelope_source *source;
    struct place place;
    struct source writer; /* fd: send.json, -1: none */
    char *durable;
    struct consumer consumer;
    char *stream;
    struct listener listener;
    struct inbox pull;
    struct inbox acks;
    struct job job;
    struct timer setup_timer;
    struct timer pull_timer;
    struct timer progress_timer;
    struct timer retry_timer; /* a mailbox without room that poll doesn't tell of */
    int64_t retry_ns;
    struct delivery *waiting;
    unsigned n_waiting;
    struct written *written;
    unsigned n_confirmed;
    struct known *known;
    uint64_t n_asked; /* of the request that is out, not come yet */
    struct missing missing;
    char *what;               /* kind and name, for the log */
    struct envelope_text out; /* that are being written */
    size_t n_out_done;
    char *told;
    bool is_ready; /* stream and consumer are there, and what is missing is counted */
    bool
        is_confirming; /* what is missing is to be counted once what the mailbox has is confirmed */
    bool is_polled;
    bool is_gone;
    struct import_stat stat;
};

static void import_write(struct import *m);

static const char *import_kind(const struct import *m)
{
    return m->mapping->kind == MAPPING_TOPIC ? "topic" : "import";
}

static void import_tell(struct import *m, const char *why)
{
    if (m->told && strcmp(m->told, why) == 0)
        return;
    free(m->told);
    m->told = xstrdup(why);
    log_line("%s %s: %s", import_kind(m), m->mapping->name, why);
    status_changed();
}

static void import_works(struct import *m)
{
    m->retry_ns = RETRY_MIN_NS;
    if (!m->told)
        return;
    free(m->told);
    m->told = NULL;
    log_line("%s %s: works again", import_kind(m), m->mapping->name);
}

/* --- acknowledging --- */

static void written_acknowledge(struct import *m, const struct written *written)
{
    char reply[REPLY_BYTES_MAX];

    snprintf(reply, sizeof(reply), "%s.%" PRIu64, m->acks.subject, written->sequence);
    /* What doesn't go out now goes out when there is a server again. */
    server_ask(written->ack, reply, "+ACK", 4);
}

static struct written *written_find(struct import *m, uint64_t sequence)
{
    struct written *written;

    HASH_FIND(hh, m->written, &sequence, sizeof(sequence), written);
    return written;
}

static void written_free(struct import *m, struct written *written)
{
    HASH_DEL(m->written, written);
    free(written->ack);
    free(written);
}

static void written_confirm(struct import *m, struct written *written)
{
    struct written *oldest = m->written;

    if (!written->ack)
        return;
    free(written->ack);
    written->ack = NULL;
    if (++m->n_confirmed > CONFIRMED_MAX && !oldest->ack) {
        written_free(m, oldest);
        m->n_confirmed--;
    }
}

static unsigned import_unconfirmed(const struct import *m)
{
    return HASH_COUNT(m->written) - m->n_confirmed;
}

static void import_confirmed(struct inbox *inbox, const char *part, natsMsg *msg)
{
    struct import *m = container_of(inbox, struct import, acks);
    struct written *written = written_find(m, strtoull(part, NULL, 10));

    if (written)
        written_confirm(m, written);
    server_release(msg);
    if (m->is_confirming && import_unconfirmed(m) == 0)
        timer_set(&m->setup_timer, 1);
}

/* Acknowledges what the mailbox has, or is not to have. */
static void import_has(struct import *m, uint64_t sequence, natsMsg *msg)
{
    struct written *written = xzalloc(sizeof(*written));

    *written = (struct written){ .sequence = sequence, .ack = xstrdup(natsMsg_GetReply(msg)) };
    HASH_ADD(hh, m->written, sequence, sizeof(written->sequence), written);
    written_acknowledge(m, written);
}

static void import_took(struct import *m, struct delivery *delivery)
{
    import_has(m, delivery->sequence, delivery->msg);
    DL_DELETE(m->waiting, delivery);
    m->n_waiting--;
    server_release(delivery->msg);
    free(delivery);
    status_counted();
}

/* Back to the server: @how is -NAK, with a delay perhaps. */
static void import_returns(struct import *m, struct delivery *delivery, const char *how)
{
    server_ask(natsMsg_GetReply(delivery->msg), NULL, how, strlen(how));
    DL_DELETE(m->waiting, delivery);
    m->n_waiting--;
    server_release(delivery->msg);
    free(delivery);
}

/* The server gives nothing out twice that is worked on. */
static void import_progress(struct timer *timer)
{
    struct import *m = container_of(timer, struct import, progress_timer);
    struct delivery *delivery;

    DL_FOREACH(m->waiting, delivery)
    server_ask(natsMsg_GetReply(delivery->msg), NULL, "+WPI", 4);
    if (m->waiting)
        timer_set(timer, m->consumer.ack_wait_ns / PROGRESSES);
}

/* --- pulling --- */

static void import_pull(struct import *m)
{
    unsigned window = (unsigned)m->settings->window;
    char *subject;
    char *request;
    unsigned n;
    int r;

    if (!m->is_ready || m->n_asked || m->is_gone || !server_is_connected() ||
        (m->n_waiting > window / 2 && !m->missing.n))
        return;
    /* What all wait for can't come without being asked for. */
    n = m->n_waiting < window ? window - m->n_waiting : (unsigned)m->missing.n;
    subject = xasprintf("%s.CONSUMER.MSG.NEXT.%s.%s", server_api(), m->stream, m->durable);
    request = xasprintf("{\"batch\":%u,\"expires\":%" PRId64 "}", n, PULL_S * NS_PER_S);
    r = server_ask(subject, m->pull.subject, request, strlen(request));
    if (r == 0) {
        m->n_asked = n;
        timer_set(&m->pull_timer, PULL_LOST_NS);
    }
    free(request);
    free(subject);
}

static void import_pull_lost(struct timer *timer)
{
    struct import *m = container_of(timer, struct import, pull_timer);

    m->n_asked = 0;
    import_pull(m);
}

static void import_setup_later(struct import *m)
{
    m->is_ready = m->is_confirming = false;
    m->n_asked = 0;
    free(m->stream);
    m->stream = NULL;
    timer_stop(&m->pull_timer);
    timer_set(&m->setup_timer, SETUP_NS);
}

static void import_status(struct import *m, const char *code)
{
    if (strcmp(code, "100") == 0)
        return;
    m->n_asked = 0;
    if (strcmp(code, "408") == 0 || strcmp(code, "404") == 0) {
        import_pull(m);
        return;
    }
    /* 409: the consumer was deleted or its leader has changed; 503: nobody answers for it. */
    import_setup_later(m);
}

/* In the stream's order; a second copy of one replaces the first, whose acknowledgement may go nowhere.
 * Return: is it the first copy? */
static bool import_insert(struct import *m, uint64_t sequence, natsMsg *msg)
{
    struct delivery *place = m->waiting ? m->waiting->prev : NULL;
    struct delivery *delivery;
    struct delivery *next;

    while (place && place->sequence > sequence)
        place = place == m->waiting ? NULL : place->prev;
    if (place && place->sequence == sequence) {
        server_release(place->msg);
        place->msg = msg;
        return false;
    }
    for (next = place ? place->next : m->waiting; next && next->end; next = next->next)
        place = next; /* what is being written stays where it is */
    delivery = xzalloc(sizeof(*delivery));
    *delivery = (struct delivery){ .sequence = sequence, .msg = msg };
    if (!m->waiting)
        timer_set(&m->progress_timer, m->consumer.ack_wait_ns / PROGRESSES);
    if (place)
        DL_APPEND_ELEM(m->waiting, place, delivery);
    else
        DL_PREPEND(m->waiting, delivery);
    m->n_waiting++;
    return true;
}

static void known_free(struct import *m, struct known *known)
{
    HASH_DEL(m->known, known);
    free(known->msg_id);
    free(known);
}

/* Return: did this message come before, at another place of the stream? */
static bool known_came(struct import *m, uint64_t sequence, natsMsg *msg)
{
    const char *msg_id;
    struct known *known;

    if (natsMsgHeader_Get(msg, "Nats-Msg-Id", &msg_id) != NATS_OK)
        return false;
    HASH_FIND_STR(m->known, msg_id, known);
    if (known)
        return known->sequence != sequence;
    known = xzalloc(sizeof(*known));
    *known = (struct known){ .msg_id = xstrdup(msg_id), .sequence = sequence };
    HASH_ADD_KEYPTR(hh, m->known, known->msg_id, strlen(known->msg_id), known);
    if (HASH_COUNT(m->known) > CONFIRMED_MAX + (unsigned)m->settings->window)
        known_free(m, m->known);
    return false;
}

static void import_deliver(struct import *m, natsMsg *msg)
{
    jsMsgMetaData *meta = NULL;
    struct written *written;
    bool is_new = true;

    if (natsMsg_GetMetaData(&meta, msg) != NATS_OK) {
        server_release(msg);
        return;
    }
    missing_watch(&m->missing, meta->Sequence.Consumer);
    m->stat.lag = meta->NumPending;
    if (meta->NumDelivered > 1)
        m->stat.redelivered++;
    written = written_find(m, meta->Sequence.Stream);
    if (written) {
        if (!written->ack)
            m->n_confirmed--;
        free(written->ack);
        written->ack = xstrdup(natsMsg_GetReply(msg));
        written_acknowledge(m, written);
        server_release(msg);
        is_new = false;
    } else if (known_came(m, meta->Sequence.Stream, msg)) {
        import_has(m, meta->Sequence.Stream, msg);
        server_release(msg);
    } else {
        is_new = import_insert(m, meta->Sequence.Stream, msg);
    }
    /* Given out again, or on its way while they were counted. What the mailbox has was not lost. */
    if (is_new)
        missing_found(&m->missing, meta->Sequence.Consumer, meta->NumDelivered > 1);
    jsMsgMetaData_Destroy(meta);
}

static void import_unanswered(struct inbox *inbox)
{
    import_status(container_of(inbox, struct import, pull), "503");
}

static void import_arrived(struct inbox *inbox, const char *part, natsMsg *msg)
{
    struct import *m = container_of(inbox, struct import, pull);
    const char *code = NULL;

    (void)part;
    if (natsMsgHeader_Get(msg, "Status", &code) == NATS_OK && natsMsg_GetDataLength(msg) == 0) {
        import_status(m, code);
        server_release(msg);
        return;
    }
    if (m->n_asked && --m->n_asked == 0)
        timer_stop(&m->pull_timer);
    import_deliver(m, msg);
    /* Those that came with it first: then they go in one write. */
    loop_queue(&m->job);
}

/* --- the mailbox --- */

static void import_close(struct import *m)
{
    if (m->writer.fd >= 0) {
        loop_unwatch(&m->writer);
        close(m->writer.fd);
    }
    m->writer.fd = -1;
    m->is_polled = false;
}

/* Lines that were begun are given up: of none of them a part was sent. */
static void import_forget_lines(struct import *m)
{
    struct delivery *delivery;

    DL_FOREACH(m->waiting, delivery)
    delivery->end = 0;
    m->out.n = m->n_out_done = 0;
}

static int import_open(struct import *m)
{
    int fd = place_open(&m->place, "send.json", O_WRONLY | O_NONBLOCK);

    if (fd < 0)
        return fd;
    m->writer.fd = fd;
    return 0;
}

static void import_gone(struct import *m)
{
    log_line("%s %s: %s is gone; waiting for it", import_kind(m), m->mapping->name, m->place.dir);
    import_close(m);
    import_forget_lines(m);
    m->is_gone = true;
    place_wait(&m->place);
    status_changed();
    m->place.returned(&m->place);
}

static void import_returned(struct place *place)
{
    struct import *m = container_of(place, struct import, place);
    int r = import_open(m);

    if (r < 0) {
        if (!place_is_gone(place, -r))
            place_die(place, "send.json", -r);
        return;
    }
    place_wait_no_more(place);
    m->is_gone = false;
    log_line("%s %s: %s is there again", import_kind(m), m->mapping->name, place->dir);
    status_changed();
    loop_queue(&m->job);
}

static void import_full(struct import *m, bool is_polled)
{
    if (!m->stat.is_full)
        status_changed();
    m->stat.is_full = true;
    if (is_polled && loop_watch(&m->writer, EPOLLOUT) == 0) {
        m->is_polled = true;
        return;
    }
    timer_set(&m->retry_timer, m->retry_ns);
    m->retry_ns = m->retry_ns * 2 < RETRY_MAX_NS ? m->retry_ns * 2 : RETRY_MAX_NS;
}

static void import_writable(struct source *source)
{
    struct import *m = container_of(source, struct import, writer);

    uint64_t n_received = m->stat.received;

    m->is_polled = false;
    import_write(m);
    /* There was room for the smallest message, and not for this one: poll would say so for ever. */
    if (m->is_polled && m->stat.received == n_received) {
        loop_unwatch(&m->writer);
        m->is_polled = false;
        import_full(m, false);
    }
}

static void import_retry(struct timer *timer)
{
    import_write(container_of(timer, struct import, retry_timer));
}

static int drop_write(int fd, const char *data, size_t n)
{
    while (n) {
        ssize_t written = write(fd, data, n);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        data += written;
        n -= (size_t)written;
    }
    return 0;
}

/* One that is longer than send.json takes: whole through drop/, where headers can't go. An unfinished one is closed with its
 * name taken away, which sends nothing. */
static int import_drop(struct import *m, const struct delivery *delivery)
{
    char *file = xasprintf("drop/%" PRIu64, delivery->sequence);
    int fd = place_open(&m->place, file, O_WRONLY | O_CREAT | O_EXCL | O_NONBLOCK);
    int r;

    if (fd < 0) {
        free(file);
        return fd;
    }
    r = drop_write(fd, natsMsg_GetData(delivery->msg),
                   (size_t)natsMsg_GetDataLength(delivery->msg));
    if (r < 0 && ftruncate(fd, 0) < 0)
        log_line("%s/%s: %s", m->place.dir, file, strerror(errno));
    free(file);
    if (close(fd) < 0 && r == 0)
        r = -errno;
    return r;
}

/* The first that waits can't go through send.json. Return: 0: it is dealt with; a negative errno: not now. */
static int import_large(struct import *m)
{
    struct delivery *delivery = m->waiting;
    int r;

    import_close(m);
    r = import_open(m);
    if (r == 0)
        r = import_drop(m, delivery);
    if (r == 0) {
        m->stat.received++;
        import_took(m, delivery);
        return 0;
    }
    if (r == -EAGAIN || r == -EDQUOT || r == -ENOSPC || r == -EINTR || place_is_gone(&m->place, -r))
        return r;
    log_line("%s %s: message %" PRIu64 " of %s: %s; it stays there", import_kind(m),
             m->mapping->name, delivery->sequence, m->stream, strerror(-r));
    m->stat.refused++;
    import_returns(m, delivery, "-NAK {\"delay\":" REFUSED_NS "}");
    status_changed();
    return 0;
}

static bool import_is_own(const struct import *m, natsMsg *msg)
{
    return m->mapping->kind == MAPPING_TOPIC && envelope_is_from(msg, m->source->mount_id);
}

/* Of a topic: what this mount published is there already. */
static void import_skip_own(struct import *m)
{
    struct delivery *delivery;
    struct delivery *next;

    DL_FOREACH_SAFE(m->waiting, delivery, next)
    {
        if (!delivery->end && import_is_own(m, delivery->msg)) {
            m->stat.skipped++;
            import_took(m, delivery);
        }
    }
}

static void import_make_lines(struct import *m)
{
    struct delivery *delivery;

    m->out.n = m->n_out_done = 0;
    DL_FOREACH(m->waiting, delivery)
    {
        if (m->out.n && m->out.n + (size_t)natsMsg_GetDataLength(delivery->msg) > LINES_BYTES_MAX)
            return;
        envelope_add_line(&m->out, delivery->msg);
        delivery->end = m->out.n;
    }
}

/* Acknowledges those whose lines are taken. */
static void import_count(struct import *m)
{
    while (m->waiting && m->waiting->end && m->waiting->end <= m->n_out_done) {
        m->stat.received++;
        import_took(m, m->waiting);
    }
    if (m->n_out_done == m->out.n)
        m->out.n = m->n_out_done = 0;
}

/* Return: 0: go on; a negative errno. */
static int import_write_lines(struct import *m)
{
    ssize_t n;

    if (!m->out.n)
        import_make_lines(m);
    n = write(m->writer.fd, m->out.data + m->n_out_done, m->out.n - m->n_out_done);
    if (n < 0)
        return -errno;
    m->n_out_done += (size_t)n;
    import_count(m);
    return 0;
}

static void import_failed(struct import *m, int r)
{
    if (place_is_gone(&m->place, -r))
        import_gone(m);
    else if (r == -EAGAIN)
        import_full(m, true);
    else {
        import_tell(m, strerror(-r));
        import_full(m, false);
    }
}

static void import_write(struct import *m)
{
    if (m->missing.n)
        import_pull(m);
    if (m->is_gone || m->is_polled || m->missing.n || (server_is_connected() && !m->is_ready))
        return;
    import_skip_own(m);
    while (m->waiting) {
        int r = import_write_lines(m);

        if (r == -EMSGSIZE || r == -EINVAL) {
            import_forget_lines(m);
            r = import_large(m);
        }
        if (r < 0 && r != -EINTR) {
            import_failed(m, r);
            return;
        }
        if (r == 0)
            import_works(m);
    }
    if (m->stat.is_full)
        status_changed();
    m->stat.is_full = false;
    import_pull(m);
}

static void import_run(struct job *job)
{
    import_write(container_of(job, struct import, job));
}

/* --- the server --- */

static int import_look(struct missing *missing, struct consumer_state *ret, uint64_t *ret_n_known,
                       bool *ret_is_sure)
{
    struct import *m = container_of(missing, struct import, missing);

    if (!m->stream || !server_is_connected())
        return -ENOTCONN;
    *ret_is_sure = import_unconfirmed(m) == 0;
    *ret_n_known = m->n_waiting + import_unconfirmed(m);
    return consumer_look(m->stream, m->durable, ret);
}

static void import_misses_nothing(struct missing *missing)
{
    loop_queue(&container_of(missing, struct import, missing)->job);
}

static void import_begin(struct import *m)
{
    m->is_confirming = false;
    if (missing_begin(&m->missing, m->durable, &m->consumer) < 0) {
        import_setup_later(m);
        return;
    }
    m->is_ready = true;
    import_write(m);
    import_pull(m);
}

/* Acknowledges again: the server that knew may be gone. What it doesn't know of yet could be counted as lost or not. */
static void import_confirm(struct import *m)
{
    struct written *written;
    struct written *next;

    HASH_ITER(hh, m->written, written, next) {
        if (written->ack)
            written_acknowledge(m, written);
    }
    m->is_confirming = true;
    timer_set(&m->setup_timer, CONFIRM_NS);
}

static void import_setup(struct timer *timer)
{
    struct import *m = container_of(timer, struct import, setup_timer);
    const struct stream_want want = { m->mapping->subject, m->mapping->kind, m->settings };
    char *why = NULL;
    int r = 0;

    if (!server_is_connected())
        return;
    if (!m->stream)
        r = stream_open(&want, &m->stream, &why);
    if (r == 0)
        r = consumer_open(m->stream, m->durable, &want, &m->consumer, &why);
    if (r == -EINVAL)
        log_die(EXIT_STATUS_FAILED, "%s %s: %s", import_kind(m), m->mapping->name, why);
    if (r < 0) {
        import_tell(m, why);
        import_setup_later(m);
    } else if (import_unconfirmed(m) && !m->is_confirming) {
        import_confirm(m);
    } else {
        import_begin(m);
    }
    free(why);
}

static void import_connection(struct listener *listener, bool is_connected)
{
    struct import *m = container_of(listener, struct import, listener);

    m->is_ready = false;
    m->is_confirming = false;
    m->n_asked = 0;
    timer_stop(&m->pull_timer);
    if (!is_connected)
        return;
    missing_forget(&m->missing);
    import_setup(&m->setup_timer);
}

/* --- life --- */

static char *import_durable(const struct mapping *mapping, const struct envelope_source *source)
{
    char *name;
    char *durable;

    if (mapping->durable)
        return xstrdup(mapping->durable);
    if (mapping->kind == MAPPING_IMPORT)
        return stream_encode("ipcfs-", mapping->name);
    /* Each host has a topic's messages. */
    name = stream_encode("", mapping->name);
    durable = xasprintf("ipcfs-%s-%s", name, source->mount_id);
    free(name);
    return durable;
}

static void import_init_timers(struct import *m)
{
    if (timer_init(&m->setup_timer, import_setup) < 0 ||
        timer_init(&m->pull_timer, import_pull_lost) < 0 ||
        timer_init(&m->progress_timer, import_progress) < 0 ||
        timer_init(&m->retry_timer, import_retry) < 0)
        log_die(EXIT_STATUS_FAILED, "timer: %s", strerror(errno));
}

struct import *import_new(const struct mapping *mapping, const struct settings *settings,
                          const struct envelope_source *source)
{
    struct import *m = xzalloc(sizeof(*m));
    int r;

    *m = (struct import){ .mapping = mapping,
                          .settings = settings,
                          .source = source,
                          .writer = { .fd = -1, .ready = import_writable },
                          .durable = import_durable(mapping, source),
                          .listener = { .changed = import_connection },
                          .job = { .run = import_run },
                          .missing = { .look = import_look, .over = import_misses_nothing },
                          .retry_ns = RETRY_MIN_NS };
    m->what = xasprintf("%s %s", import_kind(m), mapping->name);
    m->missing.what = m->what;
    place_init(&m->place, settings->mount, mapping->kind == MAPPING_TOPIC ? "topic" : "mbox",
               mapping->name, import_returned);
    r = import_open(m);
    if (r < 0)
        place_die(&m->place, "send.json", -r);
    import_init_timers(m);
    if (inbox_open(&m->pull, false, import_arrived, import_unanswered) < 0 ||
        inbox_open(&m->acks, true, import_confirmed, NULL) < 0 || missing_init(&m->missing) < 0)
        log_die(EXIT_STATUS_FAILED, "%s %s: no inbox", import_kind(m), mapping->name);
    server_listen(&m->listener);
    return m;
}

void import_free(struct import *m)
{
    /* First: or the server would give what goes back to the request that is out. */
    inbox_close(&m->pull);
    while (m->waiting)
        import_returns(m, m->waiting, "-NAK");
    while (m->written)
        written_free(m, m->written);
    while (m->known)
        known_free(m, m->known);
    import_close(m);
    inbox_close(&m->acks);
    timer_deinit(&m->setup_timer);
    timer_deinit(&m->pull_timer);
    timer_deinit(&m->progress_timer);
    timer_deinit(&m->retry_timer);
    missing_deinit(&m->missing);
    place_deinit(&m->place);
    free(m->durable);
    free(m->what);
    free(m->stream);
    free(m->out.data);
    free(m->told);
    free(m);
}

void import_get_stat(const struct import *m, struct import_stat *ret)
{
    *ret = m->stat;
    ret->waiting = m->n_waiting;
    ret->missing = m->missing.n;
    ret->is_gone = m->is_gone;
}
