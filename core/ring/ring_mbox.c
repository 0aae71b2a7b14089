/* The backend's calls come under the mailbox's lock, so that one thread at a time uses the handle. They try
 * and never wait; who must wait is the mailbox's, until the waiter's thread finds that a word has
 * changed.
 *
 * A change of the ring is a message published (or skipped), one consumed, or a bell rung. Each makes the sum
 * of the three counters larger, which is therefore a change's id. */
#include "ring_mbox.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/lib/ipcring_daemon.h"
#include "core/lib/ring_os.h"
#include "ring_dead.h"

static struct ring_mbox *ring_mbox_of_backend(struct mbox_backend *backend)
{
    return (struct ring_mbox *)((char *)backend - offsetof(struct ring_mbox, backend));
}

static struct ring_mbox *of_bell_backend(struct mbox_backend *backend)
{
    return (struct ring_mbox *)((char *)backend - offsetof(struct ring_mbox, bell_backend));
}

/* --- The backend --- */

/* What the mount's users are told: a map that somebody has scribbled over is an error of the device. So is
 * one that somebody has marked as ended, for ours has not. */
static int error_of(int r)
{
    return r == -EPROTO || r == -EIDRM ? -EIO : r;
}

/* Whether nothing can be had of it, or put into it, any more. */
static bool is_spoilt(const struct ring_memory *memory)
{
    return ring_memory_is_truncated(memory) || ring_has_ended(memory->map);
}

/* Whether a producer that got -EAGAIN, and a consumer, has something to skip first: more of it than is done at
 * a time. */
static bool has_to_pass(struct ring_mbox *ring)
{
    struct ring_memory *memory = ring->memory;
    struct ipcring_stat stat;

    ipcring_get_stat(ring->handle, &stat);
    return !ring_is_full(memory->map, &memory->geometry, stat.head) ||
           ring_can_pass(memory->map, &memory->geometry);
}

static bool has_to_skip(struct ring_mbox *ring)
{
    struct ring_memory *memory = ring->memory;

    return ring_has_next(memory->map, &memory->geometry) &&
           !ring_is_blocked(memory->map, &memory->geometry);
}

static int ring_mbox_put(struct mbox_backend *backend, struct msg *msg, struct mbox_ready *ready)
{
    struct ring_mbox *ring = ring_mbox_of_backend(backend);
    unsigned int n_dead = 0;
    int r;

    (void)ready;
    do
        r = ipcring_try_produce(ring->handle, msg->data, msg->size_bytes);
    while ((r == -EAGAIN || r == -EBUSY) && n_dead++ < RING_DEAD_MAX && ring_mbox_bury(ring) > 0);
    ipcring_leave_roles(ring->handle);
    if (r == -EAGAIN && has_to_pass(ring))
        ring_wait_ask(&ring->space);
    /* It went nowhere. */
    if (is_spoilt(ring->memory))
        return -EIO;
    return error_of(r);
}

static struct msg_sender unknown_sender(const struct ring_mbox *ring)
{
    return (struct msg_sender){ .uid = ring->home.uid, .gid = ring->home.gid };
}

static int get(struct mbox_backend *backend, const struct mbox_op *op, struct msg **ret_msg)
{
    struct ring_mbox *ring = ring_mbox_of_backend(backend);
    size_t n_max = ipcring_message_bytes(ring->handle);
    unsigned int n_dead = 0;
    struct msg *msg;
    int r;

    if (is_spoilt(ring->memory))
        return -EIO;
    if (!ring_has_next(ring->memory->map, &ring->memory->geometry))
        return -EAGAIN;
    msg = msg_alloc(n_max < op->max_bytes ? n_max : op->max_bytes, 0, unknown_sender(ring));
    if (!msg)
        return -ENOMEM;
    do
        r = ipcring_try_consume(ring->handle, msg->data, msg->size_bytes);
    while ((r == -EAGAIN || r == -EBUSY) && n_dead++ < RING_DEAD_MAX && ring_mbox_bury(ring) > 0);
    ipcring_leave_roles(ring->handle);
    if (r == -EAGAIN && has_to_skip(ring))
        ring_wait_ask(&ring->data);
    if (r < 0) {
        msg_unref(msg);
        return error_of(r);
    }
    msg->size_bytes = (size_t)r;
    *ret_msg = msg;
    return 0;
}

/* What nobody could ever receive is no message: it does not keep the ring from being removed. What is not
 * known yet may be one. */
static bool has_messages(struct mbox_backend *backend)
{
    struct ring_mbox *ring = ring_mbox_of_backend(backend);
    enum ring_next next;

    if (is_spoilt(ring->memory))
        return false;
    next = ring_look(ring->memory->map, &ring->memory->geometry, &ring->skim);
    return next == RING_MESSAGE || next == RING_SKIPPED;
}

static bool ring_mbox_is_readable(struct ring_mbox *ring)
{
    enum ring_next next = ring_look(ring->memory->map, &ring->memory->geometry, &ring->skim);

    if (next == RING_SKIPPED)
        ring_wait_ask(&ring->data);
    return next == RING_MESSAGE || next == RING_DAMAGE;
}

static unsigned int readiness(struct mbox_backend *backend)
{
    struct ring_mbox *ring = ring_mbox_of_backend(backend);
    struct ring_memory *memory = ring->memory;
    unsigned int events = 0;
    struct ipcring_stat stat;

    /* An error is no wait. */
    if (is_spoilt(memory))
        return MBOX_READABLE | MBOX_WRITABLE;
    ipcring_get_stat(ring->handle, &stat);
    if (ring_mbox_is_readable(ring))
        events |= MBOX_READABLE;
    if (!ring_is_full(memory->map, &memory->geometry, stat.head) ||
        ring_can_pass(memory->map, &memory->geometry))
        events |= MBOX_WRITABLE;
    return events;
}

static void want(struct mbox_backend *backend, unsigned int events)
{
    struct ring_mbox *ring = ring_mbox_of_backend(backend);

    if (events & MBOX_READABLE)
        ring_wait_ask(&ring->data);
    if (events & MBOX_WRITABLE)
        ring_wait_ask(&ring->space);
}

/* Under lock. Return: the position up to which messages have been published; where those are more than it
 * can look at now, up to which they have been begun. */
static uint64_t head_of(struct ring_mbox *ring)
{
    struct ipcring_stat stat;
    bool more;

    ring_mbox_count_changes(ring, &more);
    if (!more)
        return ring->published;
    ipcring_get_stat(ring->handle, &stat);
    return stat.head - ring->published < stat.slots ? stat.head : ring->published;
}

/* Under lock: gives the memory back; who maps it is told. */
static void end_memory(struct ring_mbox *ring)
{
    ring_mbox_forget_suspects(ring);
    ring->last_seen = ring->base + head_of(ring) + ring->memory->geometry.slots;
    ring_end(ring->memory->map);
    ring_wait_disown(&ring->data, ring->memory);
    ring_memory_unlink(ring->memory);
    ipcring_close(ring->handle);
    ring->handle = NULL;
    ring_memory_let_go(ring->memory);
    ring->memory = NULL;
}

static void ring_mbox_end(struct mbox_backend *backend, struct mbox_ready *ready)
{
    struct ring_mbox *ring = ring_mbox_of_backend(backend);

    end_memory(ring);
    mbox_remove(&ring->bell, true, ready);
    mbox_unref(&ring->bell);
    ring_wait_leave(&ring->data);
    ring_wait_leave(&ring->space);
}

static const struct mbox_backend_ops ring_backend_ops = {
    .put = ring_mbox_put,
    .get = get,
    .readiness = readiness,
    .has_messages = has_messages,
    .want = want,
    .end = ring_mbox_end,
};

/* --- The backend, where each sees everything --- */

/* Of what mbox_op.seen says a memory that was there before is all before the first position. */
static uint64_t position_of(const struct ring_mbox *ring, uint64_t seen)
{
    return seen - ring->base < UINT64_MAX / 2 ? seen - ring->base : 0;
}

static bool each_has_for(struct mbox_backend *backend, uint64_t seen)
{
    struct ring_mbox *ring = ring_mbox_of_backend(backend);

    return is_spoilt(ring->memory) ||
           ring_has_after(ring->memory->map, &ring->memory->geometry, position_of(ring, seen));
}

static uint64_t each_begin(struct mbox_backend *backend)
{
    struct ring_mbox *ring = ring_mbox_of_backend(backend);

    return is_spoilt(ring->memory) ? ring->base : ring->base + ipcring_begin(ring->handle);
}

/* Takes what is next into @msg. What is missed on the way is counted in *@ret_missed. Return: its length; a negative errno. */
/* So often in a row one is overtaken before another has the lock. */
#define OVERTAKEN_MAX 16

static int take_for_each(struct ring_mbox *ring, struct msg *msg, uint64_t *ret_missed)
{
    uint64_t missed = ipcring_missed(ring->handle);
    unsigned int n_tries = 0;
    int r;

    do
        r = ipcring_try_consume(ring->handle, msg->data, msg->size_bytes);
    while ((r == -EOVERFLOW && n_tries++ < OVERTAKEN_MAX) ||
           (r == -EAGAIN && n_tries++ < RING_DEAD_MAX && ring_mbox_bury(ring) > 0));
    *ret_missed = ipcring_missed(ring->handle) - missed;
    return r == -EOVERFLOW ? -EAGAIN : r;
}

static int each_get(struct mbox_backend *backend, const struct mbox_op *op, struct msg **ret_msg)
{
    struct ring_mbox *ring = ring_mbox_of_backend(backend);
    size_t n_max = ipcring_message_bytes(ring->handle);
    uint64_t pos = position_of(ring, op->seen);
    uint64_t n_missed;
    struct msg *msg;
    int r;

    if (is_spoilt(ring->memory))
        return -EIO;
    if (!ring_has_after(ring->memory->map, &ring->memory->geometry, pos)) {
        /* Whoever claims it may be dead. */
        ring_mbox_bury(ring);
        return -EAGAIN;
    }
    msg = msg_alloc(n_max < op->max_bytes ? n_max : op->max_bytes, 0, unknown_sender(ring));
    if (!msg)
        return -ENOMEM;
    ipcring_seek(ring->handle, pos);
    r = take_for_each(ring, msg, &n_missed);
    if (r < 0) {
        msg_unref(msg);
        if (r == -EAGAIN && each_has_for(backend, op->seen))
            ring_wait_ask(&ring->data);
        return error_of(r);
    }
    msg->size_bytes = (size_t)r;
    msg->id = ring->base + ipcring_position(ring->handle);
    ring->n_missed += n_missed;
    *ret_msg = msg;
    return 0;
}

/* What there is to be received depends on the receiver. */
static unsigned int each_readiness(struct mbox_backend *backend)
{
    struct ring_mbox *ring = ring_mbox_of_backend(backend);
    struct ring_memory *memory = ring->memory;
    struct ipcring_stat stat;

    if (is_spoilt(memory))
        return MBOX_READABLE | MBOX_WRITABLE;
    ipcring_get_stat(ring->handle, &stat);
    return ring_is_full(memory->map, &memory->geometry, stat.head) ? 0 : MBOX_WRITABLE;
}

/* What it holds waits for nobody, and keeps nobody from removing it. */
static bool each_has_messages(struct mbox_backend *backend)
{
    (void)backend;
    return false;
}

static const struct mbox_backend_ops each_backend_ops = {
    .tells_each = true,
    .put = ring_mbox_put,
    .get = each_get,
    .has_for = each_has_for,
    .begin = each_begin,
    .readiness = each_readiness,
    .has_messages = each_has_messages,
    .want = want,
    .end = ring_mbox_end,
};

/* --- The bell --- */

static int bell_put(struct mbox_backend *backend, struct msg *msg, struct mbox_ready *ready)
{
    (void)backend;
    (void)msg;
    (void)ready;
    return -EOPNOTSUPP;
}

static int bell_get(struct mbox_backend *backend, const struct mbox_op *op, struct msg **ret_msg)
{
    struct ring_mbox *ring = of_bell_backend(backend);
    uint64_t id = atomic_load(&ring->n_changes);
    char text[24];
    struct msg *msg;
    int n;

    if (id == op->seen)
        return -EAGAIN;
    n = snprintf(text, sizeof(text), "%" PRIu64 "\n", id);
    if ((size_t)n > op->max_bytes)
        return -EMSGSIZE;
    msg = msg_new(text, (size_t)n, 0, (struct msg_sender){ 0 });
    if (!msg)
        return -ENOMEM;
    msg->id = id;
    *ret_msg = msg;
    return 0;
}

/* It depends on what its reader has seen, so that only the reader can tell. */
static unsigned int bell_readiness(struct mbox_backend *backend)
{
    (void)backend;
    return MBOX_WRITABLE;
}

static bool bell_has_messages(struct mbox_backend *backend)
{
    (void)backend;
    return false;
}

static void bell_want(struct mbox_backend *backend, unsigned int events)
{
    struct ring_mbox *ring = of_bell_backend(backend);

    (void)events;
    ring_wait_ask(&ring->data);
    ring_wait_ask(&ring->space);
}

static void bell_end(struct mbox_backend *backend, struct mbox_ready *ready)
{
    (void)backend;
    (void)ready;
}

static const struct mbox_backend_ops bell_backend_ops = {
    .tells_each = true,
    .put = bell_put,
    .get = bell_get,
    .readiness = bell_readiness,
    .has_messages = bell_has_messages,
    .want = bell_want,
    .end = bell_end,
};

/* --- Waiting --- */

static uint64_t lock_and_count_changes(struct ring_mbox *ring, bool *ret_more)
{
    uint64_t id;

    pthread_mutex_lock(&ring->mbox->lock);
    id = ring_mbox_count_changes(ring, ret_more);
    pthread_mutex_unlock(&ring->mbox->lock);
    return id;
}

static bool wakes_readers(struct ring_mbox *ring)
{
    bool wakes;

    pthread_mutex_lock(&ring->mbox->lock);
    wakes = ring->memory && ring_mbox_is_each(ring);
    pthread_mutex_unlock(&ring->mbox->lock);
    return wakes;
}

/* Serves all who can be served. Return: for which events somebody waits. *@ret_served: somebody was. */
static unsigned int ring_mbox_serve(struct ring_mbox *ring, bool *ret_served)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    unsigned int events;
    uint64_t id;
    bool changed;
    bool more;

    events = mbox_settle(ring->mbox, 0, &ready);
    id = lock_and_count_changes(ring, &more);
    changed = atomic_exchange(&ring->n_told, id) != id;
    /* Whoever watches for something to receive is told of each change. */
    if (changed && wakes_readers(ring))
        events |= mbox_settle(ring->mbox, MBOX_READABLE, &ready);
    if (mbox_settle(&ring->bell, changed ? MBOX_READABLE : 0, &ready) != 0)
        events |= MBOX_READABLE | MBOX_WRITABLE;
    if (more && events != 0)
        ring_wait_ask(&ring->data);
    *ret_served = !TAILQ_EMPTY(&ready);
    mbox_ready_run(&ready);
    return events;
}

static bool ring_mbox_look(struct ring_mbox *ring, struct ring_wait *wait, unsigned int event,
                           struct ring_memory **ret_memory)
{
    bool served;
    bool is_awaited = ring_mbox_serve(ring, &served) & event;

    wait->served |= served;
    if (!is_awaited)
        return false;
    *ret_memory = ring_mbox_memory(ring);
    return *ret_memory;
}

static struct ring_mbox *of_data(struct ring_wait *wait)
{
    return (struct ring_mbox *)((char *)wait - offsetof(struct ring_mbox, data));
}

static struct ring_mbox *of_space(struct ring_wait *wait)
{
    return (struct ring_mbox *)((char *)wait - offsetof(struct ring_mbox, space));
}

static bool look_for_data(struct ring_wait *wait, struct ring_memory **ret_memory)
{
    return ring_mbox_look(of_data(wait), wait, MBOX_READABLE, ret_memory);
}

static bool look_for_space(struct ring_wait *wait, struct ring_memory **ret_memory)
{
    return ring_mbox_look(of_space(wait), wait, MBOX_WRITABLE, ret_memory);
}

static void lock_and_bury(struct ring_mbox *ring, const struct ring_memory *memory)
{
    unsigned int n_dead = 0;

    pthread_mutex_lock(&ring->mbox->lock);
    while (ring->memory == memory && n_dead++ < RING_DEAD_MAX && ring_mbox_bury(ring) > 0)
        ;
    pthread_mutex_unlock(&ring->mbox->lock);
}

static void judge_for_data(struct ring_wait *wait, struct ring_memory *memory)
{
    lock_and_bury(of_data(wait), memory);
}

static void judge_for_space(struct ring_wait *wait, struct ring_memory *memory)
{
    lock_and_bury(of_space(wait), memory);
}

static void left_data(struct ring_wait *wait)
{
    mbox_unref(of_data(wait)->mbox);
}

static void left_space(struct ring_wait *wait)
{
    mbox_unref(of_space(wait)->mbox);
}

/* --- Making, changing --- */

/* Under lock, or before others see it. */
static void ring_mbox_set_memory(struct ring_mbox *ring, struct ring_memory *memory,
                                 struct ipcring *handle)
{
    ring->memory = memory;
    ring->handle = handle;
    ring->base = ring->last_seen + 1;
    ring->backend.ops = ring_mbox_is_each(ring) ? &each_backend_ops : &ring_backend_ops;
    ring_wait_own(&ring->data, memory);
    ring->mbox->limits = (struct mbox_limits){
        .messages = MBOX_MESSAGES_UNBOUNDED,
        .bytes = UINT64_MAX,
        .message_bytes = ipcring_message_bytes(handle),
    };
    /* Changes go on being counted upwards, though positions begin anew. */
    ring->n_rung = atomic_load(&ring->n_changes) + 1;
    ring->published = 0;
    ring->skim = (struct ring_skim){ 0 };
}

/* Return: 0 with memory, held by the caller, and a handle on it. */
static int make_memory(struct ring_mbox *ring, const struct ring_geometry *geometry,
                       struct ring_memory **ret_memory, struct ipcring **ret_handle)
{
    struct ring_memory *memory;
    int r = ring_memory_new(geometry, &ring->home, &ring->mbox->domain->quota, &memory);

    if (r < 0)
        return r;
    r = ipcring_attach(memory->map, memory->n_bytes, ret_handle);
    if (r < 0) {
        ring_memory_let_go(memory);
        return r;
    }
    ipcring_be_brief(*ret_handle);
    *ret_memory = memory;
    return 0;
}

static void release_bell(struct mbox *bell)
{
    mbox_unref(ring_mbox_of_bell(bell)->mbox);
}

static int add_waits(struct ring_mbox *ring, struct ring_waiters *waiters)
{
    int r;

    ring->data = (struct ring_wait){ .look = look_for_data,
                                     .judge = judge_for_data,
                                     .left = left_data,
                                     .at = IPCRING_AT_WAIT_DATA };
    ring->space = (struct ring_wait){ .look = look_for_space,
                                      .judge = judge_for_space,
                                      .left = left_space,
                                      .at = IPCRING_AT_WAIT_SPACE };
    r = ring_waiters_add(waiters, ring->home.uid, &ring->data, &ring->space);
    if (r == 0) {
        mbox_ref(ring->mbox);
        mbox_ref(ring->mbox);
    }
    return r;
}

static void init_backends(struct ring_mbox *ring)
{
    mbox_init(&ring->bell, ring->mbox->domain, release_bell);
    mbox_ref(ring->mbox);
    ring->bell_backend.ops = &bell_backend_ops;
    ring->mbox->backend = &ring->backend;
    ring->bell.backend = &ring->bell_backend;
}

int ring_mbox_init(struct ring_mbox *ring, struct mbox *mbox, struct ring_waiters *waiters,
                   const struct ring_home *home)
{
    const struct ring_geometry geometry = RING_GEOMETRY_DEFAULT;
    struct ring_memory *memory;
    struct ipcring *handle;
    int r;

    *ring = (struct ring_mbox){ .mbox = mbox, .home = *home, .judges = waiters->judges };
    r = make_memory(ring, &geometry, &memory, &handle);
    if (r < 0)
        return r;
    r = add_waits(ring, waiters);
    if (r < 0) {
        ipcring_close(handle);
        ring_memory_let_go(memory);
        return r;
    }
    ring_mbox_set_memory(ring, memory, handle);
    init_backends(ring);
    return 0;
}

void ring_mbox_deinit(struct ring_mbox *ring)
{
    mbox_deinit(&ring->bell);
}

struct ring_memory *ring_mbox_memory(struct ring_mbox *ring)
{
    struct ring_memory *memory;

    pthread_mutex_lock(&ring->mbox->lock);
    memory = ring->memory ? ring_memory_ref(ring->memory) : NULL;
    pthread_mutex_unlock(&ring->mbox->lock);
    return memory;
}

/* --- Settings --- */

/* Under lock. A producer that is at work has claimed a slot; of a sole one it can't be seen, and what it
 * publishes at this very moment is gone with the memory. */
static bool is_in_use(struct ring_mbox *ring)
{
    if (is_spoilt(ring->memory))
        return ring->mbox->queue.occupied;
    ring_mbox_bury(ring);
    return ring->mbox->queue.occupied || ring->backend.ops->has_messages(&ring->backend) ||
           ring_is_blocked(ring->memory->map, &ring->memory->geometry);
}

/* Under lock. Return: 0; a negative errno, and nothing has changed. */
static int ring_mbox_replace(struct ring_mbox *ring, const struct ring_geometry *geometry)
{
    struct ring_memory *memory;
    struct ipcring *handle;
    int r;

    ring_memory_lend(ring->memory);
    r = make_memory(ring, geometry, &memory, &handle);
    if (r == 0) {
        r = ring_memory_inherit(memory, ring->memory);
        if (r < 0) {
            ipcring_close(handle);
            ring_memory_let_go(memory);
        }
    }
    if (r < 0) {
        ring_memory_take_back(ring->memory);
        return r;
    }
    end_memory(ring);
    ring_mbox_set_memory(ring, memory, handle);
    return 0;
}

static bool is_same(const struct ring_geometry *a, const struct ring_geometry *b)
{
    return a->slots == b->slots && a->slot_bytes == b->slot_bytes && a->flags == b->flags;
}

/* Under lock. Return: 0; a negative errno, and nothing has changed. */
static int ring_mbox_try_configure(struct ring_mbox *ring, const char *text, size_t n)
{
    struct ring_geometry geometry;
    int r;

    if (!ring->memory)
        return -EIDRM;
    geometry = ring->memory->geometry;
    r = ring_geometry_parse(&geometry, text, n);
    if (r == 0)
        r = ring_geometry_check(&geometry);
    if (r < 0 || is_same(&geometry, &ring->memory->geometry))
        return r;
    return is_in_use(ring) ? -EBUSY : ring_mbox_replace(ring, &geometry);
}

int ring_mbox_configure(struct ring_mbox *ring, const char *text, size_t n,
                        struct mbox_ready *ready)
{
    int r;

    pthread_mutex_lock(&ring->mbox->lock);
    r = ring_mbox_try_configure(ring, text, n);
    pthread_mutex_unlock(&ring->mbox->lock);
    /* Those who wait here go on with the new memory. */
    return r < 0 ? r : ring_mbox_wake(ring, ready);
}

int ring_mbox_get_config(struct ring_mbox *ring, char text[RING_CONFIG_MAX])
{
    struct ring_memory *memory = ring_mbox_memory(ring);

    if (!memory)
        return -EIDRM;
    ring_geometry_format(&memory->geometry, text);
    ring_memory_unref(memory);
    return 0;
}

/* Under lock. Return: 0; a negative errno, and nothing has changed. */
static int hand_over(struct ring_mbox *ring, uid_t uid, gid_t gid)
{
    struct ring_memory *memory = ring->memory;
    bool has_name = ring->home.dir_fd >= 0;
    int r;

    if (has_name && fchown(memory->fd, uid, gid) < 0)
        return -errno;
    r = ring_memory_charge_to(memory, uid);
    /* Who may give it away may take it back. */
    if (r < 0 && has_name && fchown(memory->fd, ring->home.uid, ring->home.gid) < 0)
        return -errno;
    return r;
}

int ring_mbox_set_owner(struct ring_mbox *ring, uid_t uid, gid_t gid)
{
    int r;

    pthread_mutex_lock(&ring->mbox->lock);
    r = ring->memory ? hand_over(ring, uid, gid) : 0;
    if (r == 0) {
        ring->home.uid = uid;
        ring->home.gid = gid;
    }
    pthread_mutex_unlock(&ring->mbox->lock);
    return r;
}

/* --- What can be seen --- */

static pid_t role_pid(struct ring_memory *memory, size_t at)
{
    uint32_t id = atomic_load_explicit(ring_u32(memory->map, at), memory_order_relaxed);

    return id & IPCRING_ID_FOREIGN ? 0 : (pid_t)(id & IPCRING_ID_PID);
}

int ring_mbox_get_stat(struct ring_mbox *ring, struct ring_mbox_stat *ret_stat)
{
    struct ring_memory *memory;

    pthread_mutex_lock(&ring->mbox->lock);
    memory = ring->memory;
    if (memory) {
        uint64_t tail = ring_tail(memory->map);
        uint64_t head = head_of(ring);

        bool each = ring_mbox_is_each(ring);
        uint64_t n_held = head < memory->geometry.slots ? head : memory->geometry.slots;

        *ret_stat = (struct ring_mbox_stat){
            .n_messages = each ? n_held : head - tail + ring->mbox->queue.n_messages,
            .head = head,
            .tail = each ? ring->mbox->stat.n_received : tail,
            .each = each,
            .n_missed = ring->n_missed,
            .n_senders_waiting = ring->mbox->stat.n_senders_waiting,
            .n_receivers_waiting = ring->mbox->stat.n_receivers_waiting,
            .n_bytes = memory->n_bytes,
            .producer = role_pid(memory, IPCRING_AT_PRODUCER),
            .consumer = role_pid(memory, IPCRING_AT_CONSUMER),
        };
    }
    pthread_mutex_unlock(&ring->mbox->lock);
    return memory ? 0 : -EIDRM;
}

uint64_t ring_mbox_last_change(struct ring_mbox *ring)
{
    bool more;

    return lock_and_count_changes(ring, &more);
}

int ring_mbox_wake(struct ring_mbox *ring, struct mbox_ready *ready)
{
    int r = -EIDRM;
    bool more;

    pthread_mutex_lock(&ring->mbox->lock);
    if (ring->memory) {
        ipcring_wake(ring->handle);
        ring->n_rung++;
        ring_mbox_count_changes(ring, &more);
        r = 0;
    }
    pthread_mutex_unlock(&ring->mbox->lock);
    if (r < 0)
        return r;
    mbox_settle(ring->mbox, 0, ready);
    mbox_settle(&ring->bell, MBOX_READABLE, ready);
    ring_wait_ask(&ring->data);
    ring_wait_ask(&ring->space);
    return 0;
}
