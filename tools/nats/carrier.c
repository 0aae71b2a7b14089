/* Owns an epoll of two descriptors, the connection's socket and an event that other threads wake the loop's with, and the thread
 * that asks. The lock is for what belongs to the socket; it is taken with the library's own held, never the other way round.
 *
 * The library calls carrier_on_* in whatever thread makes or ends the connection, before it closes the socket: so what is watched
 * is always its socket, and never another file of the same number. */
#include "carrier.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "log.h"
#include "loop.h"

/* Read in one call, so messages that came together are dealt with together. */
#define READ_BYTES_MAX 131072
/* Published and not sent, before the loop has done all. */
#define UNSENT_BYTES_MAX 65536
/* In the library's buffer, while the server doesn't read. */
#define BUFFERED_BYTES_MAX 1048576

enum { EVENT_WAKE, EVENT_SOCKET, N_EVENTS };

static struct {
    pthread_t thread;   /* the loop's */
    struct source both; /* fd: the epoll */
    struct job send_job;
    struct job arrived_job;
    void (*arrived)(void);
    size_t n_unsent_bytes;
    int wake_fd;
    atomic_bool has_to_send; /* the library has bytes in its buffer */

    pthread_mutex_t lock; /* for what follows */
    natsConnection *connection;
    int socket_fd;    /* -1: none now */
    bool awaits_room; /* the socket takes no more now */
} carrier = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake_fd = -1, .socket_fd = -1 };

static struct {
    pthread_t thread;
    sem_t questions;
    void (*ask)(void *closure); /* NULL: no more will come */
    void *closure;
    atomic_bool is_answered;
} asker;

static void carrier_wake(void)
{
    eventfd_write(carrier.wake_fd, 1);
}

/* Context: the lock is held. Return: 0; -1 and errno. */
static int carrier_watch(int op, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.u32 = EVENT_SOCKET };

    return epoll_ctl(carrier.both.fd, op, carrier.socket_fd, &event);
}

/* --- called by the library, its lock held, in any thread --- */

static natsStatus carrier_on_attach(void **ret_user_data, void *loop, natsConnection *connection,
                                    natsSock fd)
{
    int r;

    (void)loop;
    *ret_user_data = &carrier;
    pthread_mutex_lock(&carrier.lock);
    carrier.connection = connection;
    carrier.socket_fd = fd;
    carrier.awaits_room = false;
    r = carrier_watch(EPOLL_CTL_ADD, EPOLLIN);
    pthread_mutex_unlock(&carrier.lock);
    return r < 0 ? NATS_ERR : NATS_OK;
}

/* It only ever ends so. */
static natsStatus carrier_on_read(void *user_data, bool is_begun)
{
    (void)user_data;
    if (is_begun)
        return NATS_OK;
    pthread_mutex_lock(&carrier.lock);
    if (carrier.socket_fd >= 0)
        carrier_watch(EPOLL_CTL_DEL, 0);
    carrier.socket_fd = -1;
    carrier.awaits_room = false;
    pthread_mutex_unlock(&carrier.lock);
    carrier_wake();
    return NATS_OK;
}

static natsStatus carrier_on_write(void *user_data, bool is_begun)
{
    (void)user_data;
    atomic_store(&carrier.has_to_send, is_begun);
    if (is_begun && pthread_equal(pthread_self(), carrier.thread))
        loop_queue(&carrier.send_job);
    else if (is_begun)
        carrier_wake();
    return NATS_OK;
}

static natsStatus carrier_on_detach(void *user_data)
{
    (void)user_data;
    return NATS_OK;
}

/* --- carrying --- */

static natsConnection *carrier_connection(void)
{
    natsConnection *connection;

    pthread_mutex_lock(&carrier.lock);
    connection = carrier.connection;
    pthread_mutex_unlock(&carrier.lock);
    return connection;
}

static void carrier_await_room(bool awaits_room)
{
    pthread_mutex_lock(&carrier.lock);
    if (carrier.socket_fd >= 0 && carrier.awaits_room != awaits_room) {
        carrier_watch(EPOLL_CTL_MOD, awaits_room ? EPOLLIN | EPOLLOUT : EPOLLIN);
        carrier.awaits_room = awaits_room;
    }
    pthread_mutex_unlock(&carrier.lock);
}

static bool carrier_awaits_room(void)
{
    bool awaits_room;

    pthread_mutex_lock(&carrier.lock);
    awaits_room = carrier.awaits_room;
    pthread_mutex_unlock(&carrier.lock);
    return awaits_room;
}

/* What the socket takes. The library says through carrier_on_write whether that was all. */
void carrier_send(void)
{
    carrier.n_unsent_bytes = 0;
    if (!atomic_load(&carrier.has_to_send))
        return;
    natsConnection_ProcessWriteEvent(carrier_connection());
    carrier_await_room(atomic_load(&carrier.has_to_send));
}

/* Both ways, what can be carried; waits for something if @is_waiting. */
static void carrier_turn(bool is_waiting)
{
    struct epoll_event events[N_EVENTS];
    int n = epoll_wait(carrier.both.fd, events, N_EVENTS, is_waiting ? -1 : 0);
    eventfd_t n_wakes;

    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 == EVENT_WAKE)
            eventfd_read(carrier.wake_fd, &n_wakes);
        else if (events[i].events & ~(uint32_t)EPOLLOUT)
            natsConnection_ProcessReadEvent(carrier_connection());
    }
    carrier_send();
}

static void carrier_ready(struct source *source)
{
    (void)source;
    carrier_turn(false);
    carrier.arrived();
}

static void carrier_run_send(struct job *job)
{
    (void)job;
    carrier_send();
}

static void carrier_run_arrived(struct job *job)
{
    (void)job;
    carrier.arrived();
}

void carrier_published(size_t n_bytes)
{
    carrier.n_unsent_bytes += n_bytes;
    if (carrier.n_unsent_bytes < UNSENT_BYTES_MAX)
        return;
    carrier_send();
    while (carrier_awaits_room() &&
           natsConnection_Buffered(carrier_connection()) > BUFFERED_BYTES_MAX) {
        carrier_turn(true);
        loop_queue(&carrier.arrived_job);
    }
}

/* --- asking --- */

static void *asker_run(void *unused)
{
    (void)unused;
    for (;;) {
        while (sem_wait(&asker.questions) < 0)
            ;
        if (!asker.ask)
            return NULL;
        asker.ask(asker.closure);
        /* The library keeps a text of the last failure for each thread. */
        nats_ReleaseThreadMemory();
        atomic_store(&asker.is_answered, true);
        carrier_wake();
    }
}

void carrier_aside(void (*ask)(void *closure), void *closure)
{
    asker.ask = ask;
    asker.closure = closure;
    atomic_store(&asker.is_answered, false);
    sem_post(&asker.questions);
    carrier_send();
    while (!atomic_load(&asker.is_answered))
        carrier_turn(true);
    loop_queue(&carrier.arrived_job);
}

/* --- life --- */

static void carrier_start_asker(void)
{
    if (sem_init(&asker.questions, 0, 0) < 0 ||
        pthread_create(&asker.thread, NULL, asker_run, NULL) != 0)
        log_die(EXIT_STATUS_FAILED, "a thread: %s", strerror(errno));
}

void carrier_init(natsOptions *options, void (*arrived)(void))
{
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = EVENT_WAKE };

    carrier.thread = pthread_self();
    carrier.arrived = arrived;
    carrier.send_job.run = carrier_run_send;
    carrier.arrived_job.run = carrier_run_arrived;
    carrier.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    carrier.both = (struct source){ .fd = epoll_create1(EPOLL_CLOEXEC), .ready = carrier_ready };
    if (carrier.wake_fd < 0 || carrier.both.fd < 0 ||
        epoll_ctl(carrier.both.fd, EPOLL_CTL_ADD, carrier.wake_fd, &event) < 0 ||
        loop_watch_always(&carrier.both, EPOLLIN) < 0)
        log_die(EXIT_STATUS_FAILED, "epoll: %s", strerror(errno));
    /* With an answer to each publish at once, which is then a call of carrier_on_write. */
    if (natsOptions_SetSendAsap(options, true) != NATS_OK ||
        natsOptions_SetIOBufSize(options, READ_BYTES_MAX) != NATS_OK ||
        natsOptions_SetEventLoop(options, &carrier, carrier_on_attach, carrier_on_read,
                                 carrier_on_write, carrier_on_detach) != NATS_OK)
        log_die(EXIT_STATUS_FAILED, "NATS: out of memory");
    carrier_start_asker();
}

void carrier_deinit(void)
{
    asker.ask = NULL;
    sem_post(&asker.questions);
    pthread_join(asker.thread, NULL);
    sem_destroy(&asker.questions);
    loop_unwatch(&carrier.both);
    close(carrier.both.fd);
    close(carrier.wake_fd);
}
