/* Once a worker has requests it goes round: it handles those that the kernel has brought, takes what others have
 * answered, and submits the answers while it waits for more, in one system call.
 *
 * An answer must go through the ring of the entry's worker: whoever submits it is whom the kernel gives the next
 * request to, and that should be the thread on the caller's processor. A worker that answers what it is handling
 * puts the answer into its ring. Any other thread writes the answer into the entry, hands the entry to its worker
 * and wakes that by a message to its ring.
 *
 * A request that finds no free entry waits in the kernel's queue, and an entry that is put in later does not get
 * it: only an answer makes the kernel look there. So after we put in entries we make the kernel send a request of
 * our own, and answer that, until an answer brings nothing that has waited (a kick). It comes to the queue of the
 * processor that we run on: so the shared worker, for processors where we may not run, keeps many free instead. */
#include "uring_worker.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Submissions that fit into a ring before it is submitted early; more completions than this are kept by the kernel. */
#define RING_N_ENTRIES 64

/* A queue gets more entries when fewer than the first are free, and then so many. */
#define N_FREE_MIN 4
#define N_ADDED 8

/* The same of a queue that can't be kicked, because we may not run on its processor. */
#define N_FREE_MIN_ELSEWHERE 16
#define N_ADDED_ELSEWHERE 32

/* What the request is called that we make the kernel send. */
#define KICK_UNIQUE (UINT64_C(1) << 62)

/* A worker's free entries keep the memory of the last ones used, so many of them and so many bytes. */
#define N_DIRTY_MAX 16
#define N_DIRTY_BYTES_MAX (2 << 20)

static __thread struct uring_worker *this_worker;
static __thread struct entry
    *this_entry; /* whose request this worker is handling; NULL: it is answered */

/* --- Telling workers --- */

void worker_wake(struct uring_worker *worker)
{
    struct io_uring_sqe sqe = { .opcode = IORING_OP_MSG_RING, .fd = worker->ring.ring_fd };
    long r;

    /* Only for want of memory, for a moment. */
    do
        r = syscall(SYS_io_uring_register, -1, URING_REGISTER_SEND_MSG_RING, &sqe, 1);
    while (r < 0 && (errno == ENOMEM || errno == EINTR || errno == EAGAIN));
}

/* Gives @entry, which is answered, to its worker. */
static void hand(struct entry *entry)
{
    struct uring_worker *worker = entry->worker;
    bool was_empty;

    pthread_mutex_lock(&worker->lock);
    was_empty = STAILQ_EMPTY(&worker->handed);
    STAILQ_INSERT_TAIL(&worker->handed, entry, link);
    pthread_mutex_unlock(&worker->lock);
    if (was_empty)
        worker_wake(worker);
}

/* --- The ring --- */

static struct io_uring_sqe *get_sqe(struct uring_worker *worker, unsigned int command,
                                    struct entry *entry, uint64_t commit_id, uint16_t queue_id)
{
    struct uring_cmd cmd = { .commit_id = commit_id, .queue_id = queue_id };
    struct io_uring_sqe *sqe = io_uring_get_sqe(&worker->ring);

    while (!sqe) {
        io_uring_submit(&worker->ring);
        sqe = io_uring_get_sqe(&worker->ring);
    }
    memset(sqe, 0, 2 * sizeof(*sqe));
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->flags = IOSQE_FIXED_FILE;
    sqe->cmd_op = command;
    sqe->user_data = (uintptr_t)entry;
    memcpy(sqe->cmd, &cmd, sizeof(cmd));
    return sqe;
}

/* The answer in @entry goes out with the next submission, or through its queue's worker if that has changed, and
 * then the entry is that one's. */
static void commit(struct uring_worker *worker, struct entry *entry)
{
    struct uring_queue *queue = entry->queue;

    if (queue->worker != worker) {
        entry->worker = queue->worker;
        hand(entry);
        return;
    }
    entry->state = ENTRY_FREE;
    queue->n_free++;
    TAILQ_INSERT_HEAD(&worker->dirty, entry, dirty_link);
    worker->n_dirty++;
    worker->n_dirty_bytes += entry->n_dirty_bytes;
    get_sqe(worker, URING_CMD_COMMIT_AND_FETCH, entry, entry->commit_id, queue->id);
}

static void leave_dirty(struct uring_worker *worker, struct entry *entry)
{
    TAILQ_REMOVE(&worker->dirty, entry, dirty_link);
    worker->n_dirty--;
    worker->n_dirty_bytes -= entry->n_dirty_bytes;
}

static bool is_dirty(const struct uring_worker *worker)
{
    return worker->n_dirty > N_DIRTY_MAX ||
           (worker->n_dirty > 1 && worker->n_dirty_bytes > N_DIRTY_BYTES_MAX);
}

/* Gives back the memory of free entries, but for the last used, which the kernel takes first. It reads answers and
 * writes requests in system calls of ours alone: so there is nothing in a free entry once all is submitted and
 * nothing has completed. */
static void trim(struct uring_worker *worker)
{
    if (!is_dirty(worker))
        return;
    io_uring_submit(&worker->ring);
    if (io_uring_sq_ready(&worker->ring) || io_uring_cq_ready(&worker->ring) ||
        io_uring_cq_has_overflow(&worker->ring))
        return;
    while (is_dirty(worker)) {
        struct entry *entry = TAILQ_LAST(&worker->dirty, entry_stack);

        leave_dirty(worker, entry);
        entry_drop(entry);
    }
}

/* Puts @n more entries into @queue, with the next submission. Return: how many there was memory for. */
static unsigned int add_entries(struct uring_worker *worker, struct uring_queue *queue,
                                unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        struct entry *entry = entries_get(&worker->entries);
        struct io_uring_sqe *sqe;

        if (!entry)
            return i;
        entry->queue = queue;
        entry->worker = worker;
        entry->state = ENTRY_FREE;
        queue->n_free++;
        sqe = get_sqe(worker, URING_CMD_REGISTER, entry, 0, queue->id);
        sqe->addr = (uintptr_t)entry->iov;
        sqe->len = 2;
    }
    return n;
}

/* --- Requests --- */

/* Under its worker's lock: @entry is not answered when its handler has returned. */
static void park(struct uring_worker *worker, struct entry *entry)
{
    entry->state = ENTRY_PARKED;
    entry->is_fresh = true;
    LIST_INSERT_HEAD(&worker->fresh, entry, fresh_link);
    if (entry->file_node)
        LIST_INSERT_HEAD(&worker->parked_files, entry, file_link);
    HASH_ADD(hh, worker->parked, unique, sizeof(entry->unique), entry);
}

/* Under its worker's lock. */
static void unpark(struct uring_worker *worker, struct entry *entry)
{
    if (entry->is_fresh)
        LIST_REMOVE(entry, fresh_link);
    entry->is_fresh = false;
    if (entry->file_node)
        LIST_REMOVE(entry, file_link);
    if (hash_added(entry, hh))
        HASH_DEL(worker->parked, entry);
    entry->hh.tbl = NULL;
}

/* Lets interrupts find @entry, whose handler has returned, if it is not answered yet. */
static void park_unanswered(struct uring_worker *worker, struct entry *entry)
{
    uint64_t file_node = entry->file_node;
    bool is_parked;

    pthread_mutex_lock(&worker->lock);
    is_parked = entry->state == ENTRY_BUSY;
    if (is_parked)
        park(worker, entry);
    pthread_mutex_unlock(&worker->lock);
    if (is_parked && file_node)
        atomic_store(&worker->uring->file_node, file_node);
    if (is_parked && !atomic_exchange(&worker->uring->has_fresh, true))
        watcher_wake(worker->uring);
}

/* Answers a request that we have made the kernel send, and sees to it that the kernel looks at what waits. */
static void take_kick(struct uring_worker *worker, struct entry *entry)
{
    struct fuse_out_header out = { .len = sizeof(out), .unique = entry->unique };
    struct iovec iov = { &out, sizeof(out) };

    entry->state = ENTRY_ANSWERED;
    entry_write_answer(entry, &iov, 1);
    commit(worker, entry);
    entry->queue->kick = entry;
    worker->wants_kicks = true;
    io_uring_submit(&worker->ring);
}

static void worker_handle(struct uring_worker *worker, struct entry *entry)
{
    struct fuse_in_header *in = entry_request(entry);
    struct fuse_buf buf = { .mem = in, .size = in->len };

    if (entry->unique == KICK_UNIQUE) {
        take_kick(worker, entry);
        return;
    }
    this_entry = entry;
    fuse_session_process_buf(worker->uring->session, &buf);
    if (this_entry)
        park_unanswered(worker, entry);
    this_entry = NULL;
}

void worker_answer(struct entry *entry, const struct iovec *iov, int count)
{
    struct uring_worker *worker = entry->worker;

    if (entry == this_entry) {
        this_entry = NULL;
        entry->state = ENTRY_ANSWERED;
    } else {
        pthread_mutex_lock(&worker->lock);
        if (entry->state == ENTRY_PARKED)
            unpark(worker, entry);
        entry->state = ENTRY_ANSWERED;
        pthread_mutex_unlock(&worker->lock);
    }
    entry_write_answer(entry, iov, count);
    if (worker == this_worker)
        commit(worker, entry);
    else
        hand(entry);
}

/* --- Workers --- */

static void set_progress(struct uring_worker *worker, enum worker_progress progress, int error)
{
    struct uring *uring = worker->uring;

    pthread_mutex_lock(&uring->lock);
    worker->progress = progress;
    worker->error = error;
    pthread_cond_broadcast(&uring->progressed);
    pthread_mutex_unlock(&uring->lock);
}

int worker_wait_for(struct uring_worker *worker, enum worker_progress progress)
{
    struct uring *uring = worker->uring;
    int r;

    pthread_mutex_lock(&uring->lock);
    while (worker->progress < progress)
        pthread_cond_wait(&uring->progressed, &uring->lock);
    r = worker->progress == WORKER_FAILED ? worker->error : 0;
    pthread_mutex_unlock(&uring->lock);
    return r;
}

/* Return: 0: there is a ring that /dev/fuse is known to; a negative errno. */
static int make_ring(struct uring_worker *worker)
{
    struct io_uring_params params = {
        /* Requests are brought when the worker waits, and to it alone: no interrupt of what it does. */
        .flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        .cq_entries = 4 * RING_N_ENTRIES,
    };
    int r = io_uring_queue_init_params(RING_N_ENTRIES, &worker->ring, &params);

    if (r < 0)
        return r;
    r = io_uring_register_files(&worker->ring, &worker->uring->fd, 1);
    if (r < 0) {
        io_uring_queue_exit(&worker->ring);
        return r;
    }
    /* Only saves the kernel looking the descriptor up; where it can't be, it does. */
    io_uring_register_ring_fd(&worker->ring);
    return 0;
}

static void worker_free_parts(struct uring_worker *worker)
{
    entries_deinit(&worker->entries);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
}

void worker_free(struct uring_worker *worker)
{
    pthread_join(worker->thread, NULL);
    worker_free_parts(worker);
}

static void *run_worker(void *arg);

/* Return: one without a thread; NULL when memory is short. */
static struct uring_worker *make_worker(struct uring *uring, int cpu)
{
    struct uring_worker *worker = calloc(1, sizeof(*worker));

    if (!worker)
        return NULL;
    worker->uring = uring;
    worker->cpu = cpu;
    pthread_mutex_init(&worker->lock, NULL);
    STAILQ_INIT(&worker->handed);
    TAILQ_INIT(&worker->dirty);
    LIST_INIT(&worker->fresh);
    LIST_INIT(&worker->aged);
    LIST_INIT(&worker->parked_files);
    entries_init(&worker->entries, uring->payload_bytes);
    return worker;
}

int worker_start(struct uring *uring, int cpu, struct uring_worker **ret_worker)
{
    struct uring_worker *worker = make_worker(uring, cpu);
    int r;

    if (!worker)
        return -ENOMEM;
    r = -pthread_create(&worker->thread, NULL, run_worker, worker);
    if (r < 0) {
        worker_free_parts(worker);
        return r;
    }
    r = worker_wait_for(worker, cpu < 0 ? WORKER_HAS_RING : WORKER_RUNS);
    if (r < 0) {
        worker_free(worker);
        return r;
    }
    pthread_mutex_lock(&uring->lock);
    worker->next = uring->workers;
    uring->workers = worker;
    pthread_mutex_unlock(&uring->lock);
    *ret_worker = worker;
    return 0;
}

/* Return: whether a worker may run on processor @cpu. */
static bool may_run_on(const struct uring *uring, unsigned int cpu)
{
    return CPU_ISSET_S(cpu, uring->cpus_bytes, uring->cpus);
}

/* The queue's first request has come: its processor is in use. */
static void give_own_worker(struct uring *uring, struct uring_queue *queue)
{
    struct uring_worker *worker;

    queue->is_settled = true;
    /* It may have been added since. */
    sched_getaffinity(0, uring->cpus_bytes, uring->cpus);
    if (may_run_on(uring, queue->id))
        worker_start(uring, queue->id, &worker);
}

/* Return: 0: all that was put in is there; a negative errno: the kernel refuses it. */
static int submit_entries(struct uring_worker *worker)
{
    struct io_uring_cqe *cqe;
    int r = io_uring_submit(&worker->ring);

    /* What is refused is told at once; what is taken, when a request comes. */
    if (r >= 0 && io_uring_peek_cqe(&worker->ring, &cqe) == 0)
        r = cqe->res;
    return r < 0 ? r : 0;
}

/* An entry that can't be: the kernel gives up waiting for all queues to have one, and uses /dev/fuse. */
static void worker_refuse(struct uring_worker *worker)
{
    get_sqe(worker, URING_CMD_REGISTER, NULL, 0, UINT16_MAX);
    io_uring_submit(&worker->ring);
}

static void want_kick(struct uring_worker *worker, struct uring_queue *queue)
{
    queue->wants_kick = true;
    worker->wants_kicks = true;
}

/* Return: how many entries the shared worker puts into a queue before there is a request. */
static unsigned int n_first_entries(const struct uring *uring, unsigned int queue)
{
    return may_run_on(uring, queue) ? 1 : N_FREE_MIN_ELSEWHERE;
}

/* The shared worker: puts entries into each queue. Return: 0; a negative errno. */
static int begin_all(struct uring_worker *worker)
{
    struct uring *uring = worker->uring;
    bool may_start;
    int r = 0;

    pthread_mutex_lock(&uring->lock);
    while (!uring->may_start && !uring->is_ended)
        pthread_cond_wait(&uring->progressed, &uring->lock);
    may_start = uring->may_start;
    pthread_mutex_unlock(&uring->lock);
    if (!may_start)
        return -ECANCELED;
    entries_init(&worker->entries, uring->payload_bytes);
    for (unsigned int i = 0; i < uring->n_queues && r == 0; i++)
        r = add_entries(worker, &uring->queues[i], n_first_entries(uring, i)) ? 0 : -ENOMEM;
    if (r == 0)
        r = submit_entries(worker);
    if (r < 0)
        worker_refuse(worker);
    return r;
}

/* Another: puts entries into its processor's queue, which is its own then. The shared worker waits meanwhile.
 * Return: 0; a negative errno. */
static int begin_one(struct uring_worker *worker)
{
    struct uring_queue *queue = &worker->uring->queues[worker->cpu];
    struct uring_worker *shared = queue->worker;
    int r;

    queue->n_free = 0;
    queue->worker = worker;
    want_kick(worker, queue);
    r = add_entries(worker, queue, N_ADDED) ? submit_entries(worker) : -ENOMEM;
    if (r < 0)
        queue->worker = shared;
    return r;
}

static void take_handed(struct uring_worker *worker)
{
    struct entry_list handed = STAILQ_HEAD_INITIALIZER(handed);
    struct entry *entry;

    pthread_mutex_lock(&worker->lock);
    STAILQ_CONCAT(&handed, &worker->handed);
    pthread_mutex_unlock(&worker->lock);
    while ((entry = STAILQ_FIRST(&handed))) {
        STAILQ_REMOVE_HEAD(&handed, link);
        commit(worker, entry);
    }
}

/* Keeps some entries of @queue free. */
static void replenish(struct uring_worker *worker, struct uring_queue *queue)
{
    bool is_elsewhere = worker->cpu < 0;

    if (queue->n_free >= (is_elsewhere ? N_FREE_MIN_ELSEWHERE : N_FREE_MIN))
        return;
    want_kick(worker, queue);
    add_entries(worker, queue, is_elsewhere ? N_ADDED_ELSEWHERE : N_ADDED);
}

/* No entry of @queue is free and there is no memory for another: were @entry to wait, all who call from that
 * processor would. Its wait ends as by a signal. */
static void worker_end_wait(struct uring_worker *worker, struct entry *entry)
{
    uint64_t id = 0;

    pthread_mutex_lock(&worker->lock);
    if (entry->state == ENTRY_PARKED)
        id = entry_id(entry);
    pthread_mutex_unlock(&worker->lock);
    if (id)
        uring_interrupt(worker->uring, id);
}

/* The kernel has filled @entry, or given it up with @error. */
static void take_entry(struct uring_worker *worker, struct entry *entry, int error)
{
    struct uring_queue *queue = entry->queue;

    if (queue->worker == worker)
        queue->n_free--;
    if (entry->n_dirty_bytes)
        leave_dirty(worker, entry);
    if (error < 0)
        return;
    entry->state = ENTRY_BUSY;
    if (queue->kick == entry) {
        queue->kick = NULL;
        want_kick(worker, queue);
    }
    if (!queue->is_settled && worker->cpu < 0)
        give_own_worker(worker->uring, queue);
    if (queue->worker == worker)
        replenish(worker, queue);
    if (atomic_load_explicit(&worker->uring->is_quiesced, memory_order_acquire))
        return;
    worker_handle(worker, entry);
    if (queue->worker == worker && queue->n_free == 0)
        worker_end_wait(worker, entry);
    /* It may have wanted to kick for those that came with this one, and known no file. */
    if (queue->worker != worker)
        worker_wake(queue->worker);
}

static bool pin(struct uring *uring, int cpu)
{
    cpu_set_t *cpus = CPU_ALLOC(uring->n_queues);
    size_t n_bytes = CPU_ALLOC_SIZE(uring->n_queues);
    bool is_pinned;

    if (!cpus)
        return false;
    CPU_ZERO_S(n_bytes, cpus);
    CPU_SET_S((size_t)cpu, n_bytes, cpus);
    is_pinned = pthread_setaffinity_np(pthread_self(), n_bytes, cpus) == 0;
    CPU_FREE(cpus);
    return is_pinned;
}

/* Asks the kernel for nothing of what it has of file @node. Return: whether it will answer. */
static bool retrieve_nothing(struct uring *uring, uint64_t node)
{
    struct {
        struct fuse_out_header header;
        struct fuse_notify_retrieve_out out;
    } message = {
        .header = { .len = sizeof(message), .error = FUSE_NOTIFY_RETRIEVE },
        .out = { .notify_unique = KICK_UNIQUE, .nodeid = node },
    };

    return write(uring->fd, &message, sizeof(message)) == sizeof(message);
}

/* Has the kernel send a request that nobody waits for to the queue of the processor that this thread runs on: an
 * answer of its own. It must be about a file that it knows, as it knows one in which somebody waits.
 * Return: whether it does; else nobody waits in a file, and so requests will be answered before long. */
static bool kick(struct uring_worker *worker)
{
    const struct entry *entry;
    uint64_t node = 0;

    pthread_mutex_lock(&worker->lock);
    entry = LIST_FIRST(&worker->parked_files);
    if (entry)
        node = entry->file_node;
    pthread_mutex_unlock(&worker->lock);
    if (node && retrieve_nothing(worker->uring, node))
        return true;
    node = atomic_load(&worker->uring->file_node);
    return node && retrieve_nothing(worker->uring, node);
}

/* The shared worker goes there for a moment, if it may. Return: as kick. */
static bool kick_elsewhere(struct uring_worker *worker, const struct uring_queue *queue)
{
    struct uring *uring = worker->uring;
    bool is_done;

    if (!pin(uring, queue->id))
        return true;
    is_done = kick(worker);
    pthread_setaffinity_np(pthread_self(), uring->cpus_bytes, uring->cpus);
    return is_done;
}

/* Sees to requests that found no entry in @queue, whose worker this is. */
static void kick_if_wanted(struct uring_worker *worker, struct uring_queue *queue)
{
    queue->kick = NULL;
    if (!queue->wants_kick)
        return;
    queue->wants_kick = false;
    io_uring_submit(&worker->ring);
    if (!(worker->cpu == queue->id ? kick(worker) : kick_elsewhere(worker, queue)))
        want_kick(worker, queue);
}

static void kick_all_wanted(struct uring_worker *worker)
{
    struct uring *uring = worker->uring;

    if (!worker->wants_kicks)
        return;
    worker->wants_kicks = false;
    if (worker->cpu >= 0) {
        kick_if_wanted(worker, &uring->queues[worker->cpu]);
        return;
    }
    /* Only the shared worker looks at others' queues: their workers change while it waits. */
    for (unsigned int i = 0; i < uring->n_queues; i++) {
        if (uring->queues[i].worker == worker)
            kick_if_wanted(worker, &uring->queues[i]);
    }
}

static void take_completions(struct uring_worker *worker)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&worker->ring, &cqe) == 0) {
        struct entry *entry = (struct entry *)(uintptr_t)cqe->user_data;
        int result = cqe->res;

        io_uring_cqe_seen(&worker->ring, cqe);
        if (entry)
            take_entry(worker, entry, result);
        else
            take_handed(worker);
    }
}

/* Tells who waits for it that no handler runs here, nor will. */
static void notice_quiescence(struct uring_worker *worker)
{
    struct uring *uring = worker->uring;

    if (worker->is_quiet || !atomic_load_explicit(&uring->is_quiesced, memory_order_acquire))
        return;
    pthread_mutex_lock(&uring->lock);
    worker->is_quiet = true;
    pthread_cond_broadcast(&uring->progressed);
    pthread_mutex_unlock(&uring->lock);
}

static void serve(struct uring_worker *worker)
{
    struct uring *uring = worker->uring;

    while (!atomic_load_explicit(&uring->is_ended, memory_order_acquire)) {
        take_completions(worker);
        trim(worker);
        notice_quiescence(worker);
        kick_all_wanted(worker);
        io_uring_submit_and_wait(&worker->ring, 1);
    }
    take_completions(worker);
    take_handed(worker);
    io_uring_submit(&worker->ring);
}

static void *run_worker(void *arg)
{
    struct uring_worker *worker = arg;
    int r = worker->cpu < 0 || pin(worker->uring, worker->cpu) ? make_ring(worker) : -EINVAL;

    if (r < 0) {
        set_progress(worker, WORKER_FAILED, r);
        return NULL;
    }
    this_worker = worker;
    if (worker->cpu < 0)
        set_progress(worker, WORKER_HAS_RING, 0);
    r = worker->cpu < 0 ? begin_all(worker) : begin_one(worker);
    set_progress(worker, r < 0 ? WORKER_FAILED : WORKER_RUNS, r);
    if (r == 0)
        serve(worker);
    io_uring_queue_exit(&worker->ring);
    return NULL;
}
