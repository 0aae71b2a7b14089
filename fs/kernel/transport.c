/* Who reads the first request, FUSE_INIT, sees whether the kernel offers io_uring; who writes its answer, libfuse
 * through our writev, says there that we take it. From then on the kernel keeps all callers waiting until every
 * queue has an entry, or one is refused: then it goes on over /dev/fuse, and so do we.
 *
 * Through our writev goes whatever libfuse writes: answers to requests of both ways, and what the kernel is told
 * without having asked, for which /dev/fuse is the only way. */
#include "transport.h"

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "transport_dev.h"
#include "transport_uring.h"
#include "uring_abi.h"

struct transport {
    struct fuse_session *session;
    enum transport_choice choice;
    struct transport_events events;
    struct dev_loop dev;
    bool has_custom_io;
    /* Of the first request's thread: */
    bool is_init_seen;
    uint64_t init_unique;
    const char *reason;   /* why it is not io_uring; NULL: there is no reason */
    struct uring *uring;  /* NULL: not used */
    size_t payload_bytes; /* the kernel knows that we use it; 0: no */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    /* Under lock: */
    bool is_ended;
    int result;
};

/* libfuse gives the custom io its own userdata. */
static struct transport *the_transport;

static _Atomic bool is_over_uring;

const char *transport_name(void)
{
    return atomic_load_explicit(&is_over_uring, memory_order_relaxed) ? "uring" : "dev";
}

/* --- What libfuse calls --- */

/* The answer to FUSE_INIT, as libfuse has it: adds that we use io_uring. */
static void accept_uring(struct transport *transport, struct fuse_init_out *out)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    size_t n_bytes = out->max_pages * page_bytes;

    out->flags |= FUSE_INIT_EXT;
    out->flags2 |= URING_INIT_FLAGS2;
    if (n_bytes < out->max_write)
        n_bytes = out->max_write;
    transport->payload_bytes = n_bytes < FUSE_MIN_READ_BUFFER ? FUSE_MIN_READ_BUFFER : n_bytes;
}

static ssize_t write_answer(int fd, struct iovec *iov, int count, void *userdata)
{
    struct transport *transport = the_transport;
    const struct fuse_out_header *out = iov[0].iov_base;

    (void)userdata;
    if (uring_has(out->unique))
        return uring_answer(iov, count);
    if (transport->uring && !transport->payload_bytes && out->unique == transport->init_unique &&
        out->error == 0 && count == 2 && iov[1].iov_len == sizeof(struct fuse_init_out))
        accept_uring(transport, iov[1].iov_base);
    return writev(fd, iov, count);
}

static ssize_t read_request(int fd, void *buf, size_t n_bytes, void *userdata)
{
    (void)userdata;
    return read(fd, buf, n_bytes);
}

static const struct fuse_custom_io custom_io = {
    .writev = write_answer,
    .read = read_request,
};

/* --- Requests over /dev/fuse --- */

/* Return: whether the kernel offers io_uring in this FUSE_INIT. */
static bool is_offered(const struct fuse_buf *request)
{
    const struct fuse_in_header *in = request->mem;
    const struct fuse_init_in *init = (const struct fuse_init_in *)(in + 1);

    return request->size >= sizeof(*in) + sizeof(*init) && (init->flags & FUSE_INIT_EXT) &&
           (init->flags2 & URING_INIT_FLAGS2);
}

static void inspect_init(struct transport *transport, const struct fuse_buf *request)
{
    const struct fuse_in_header *in = request->mem;

    transport->is_init_seen = true;
    transport->init_unique = in->unique;
    if (!is_offered(request)) {
        if (transport->choice == TRANSPORT_URING)
            transport->reason = "the kernel does not offer it; with Linux 6.14 or newer, as root: "
                                "echo Y >/sys/module/fuse/parameters/enable_uring";
    } else if (!transport->has_custom_io) {
        transport->reason = "this libfuse is built without custom io";
    } else {
        uring_new(transport->session, &transport->uring, &transport->reason);
    }
}

static void inspect(void *arg, struct fuse_buf *request)
{
    const struct fuse_in_header *in = request->mem;
    struct transport *transport = arg;

    if (transport->uring)
        uring_name_interrupted(transport->uring, request);
    else if (in->opcode == FUSE_INIT && !transport->is_init_seen &&
             transport->choice != TRANSPORT_DEV)
        inspect_init(transport, request);
}

/* --- Life --- */

/* Also called when the reading of /dev/fuse has ended by itself. */
static void end_with(void *arg, int result)
{
    struct transport *transport = arg;

    pthread_mutex_lock(&transport->lock);
    if (!transport->is_ended)
        transport->result = result;
    transport->is_ended = true;
    pthread_cond_broadcast(&transport->ended);
    pthread_mutex_unlock(&transport->lock);
}

void transport_end(struct transport *transport)
{
    end_with(transport, 0);
}

int transport_new(struct fuse_session *session, enum transport_choice choice,
                  const struct transport_events *events, struct transport **ret_transport)
{
    struct transport *transport = calloc(1, sizeof(*transport));

    if (!transport)
        return -ENOMEM;
    transport->session = session;
    transport->choice = choice;
    transport->events = *events;
    transport->dev = (struct dev_loop){
        .session = session,
        .inspect = inspect,
        .ended = end_with,
        .arg = transport,
    };
    dev_init(&transport->dev);
    pthread_mutex_init(&transport->lock, NULL);
    pthread_cond_init(&transport->ended, NULL);
    the_transport = transport;
    if (choice != TRANSPORT_DEV)
        transport->has_custom_io = fuse_session_custom_io(session, &custom_io, sizeof(custom_io),
                                                          fuse_session_fd(session)) == 0;
    *ret_transport = transport;
    return 0;
}

/* Return: a positive number: the first request is answered; 0: the connection has ended; a negative errno. */
static int transport_begin(struct transport *transport)
{
    struct fuse_buf buf = { 0 };
    int r;

    do
        r = dev_serve_one(&transport->dev, &buf);
    while (r == -EINTR || r == -EAGAIN);
    free(buf.mem);
    return r;
}

/* The kernel knows. Return: whether it is used; else there is a reason. */
static bool start_uring(struct transport *transport)
{
    int r = uring_start(transport->uring, transport->payload_bytes);

    if (r == 0)
        return true;
    transport->reason = r == -ENOMEM ? "out of memory" : "the kernel refuses its queues";
    return false;
}

/* Return: 0: requests go on over either; -EPROTONOSUPPORT. */
static int decide(struct transport *transport)
{
    char line[256];

    if (transport->uring && transport->payload_bytes && start_uring(transport)) {
        atomic_store_explicit(&is_over_uring, true, memory_order_relaxed);
        return 0;
    }
    uring_free(transport->uring);
    transport->uring = NULL;
    if (!transport->reason)
        return 0;
    snprintf(line, sizeof(line),
             transport->choice == TRANSPORT_URING ? "can't use io_uring: %s"
                                                  : "goes on over /dev/fuse, without io_uring: %s",
             transport->reason);
    transport->events.notice(transport->events.arg, line);
    return transport->choice == TRANSPORT_URING ? -EPROTONOSUPPORT : 0;
}

static unsigned int n_dev_threads(const struct transport *transport)
{
    long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);

    /* Beside io_uring: what nobody waits for. */
    if (transport->uring)
        return 1;
    /* No handler waits, so more threads than processors have nothing to do. */
    return n_cpus < 2 ? 2 : (unsigned int)n_cpus;
}

static int wait_for_end(struct transport *transport)
{
    int r;

    pthread_mutex_lock(&transport->lock);
    while (!transport->is_ended)
        pthread_cond_wait(&transport->ended, &transport->lock);
    r = transport->result;
    pthread_mutex_unlock(&transport->lock);
    return r;
}

int transport_run(struct transport *transport)
{
    int r = transport_begin(transport);

    if (r <= 0)
        return r;
    r = decide(transport);
    if (r < 0)
        return r;
    r = dev_start(&transport->dev, n_dev_threads(transport));
    if (r < 0)
        return r;
    transport->events.ready(transport->events.arg);
    r = wait_for_end(transport);
    dev_stop(&transport->dev);
    if (transport->uring)
        uring_quiesce(transport->uring);
    return r;
}

void transport_free(struct transport *transport)
{
    if (!transport)
        return;
    uring_free(transport->uring);
    dev_deinit(&transport->dev);
    atomic_store_explicit(&is_over_uring, false, memory_order_relaxed);
    pthread_cond_destroy(&transport->ended);
    pthread_mutex_destroy(&transport->lock);
    the_transport = NULL;
    free(transport);
}
