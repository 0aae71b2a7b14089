/* The workers from their first to their last, and what others want of them. */
#include "transport_uring.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>

#include "uring_worker.h"

bool uring_has(uint64_t unique)
{
    return entry_is_id(unique);
}

ssize_t uring_answer(const struct iovec *iov, int count)
{
    const struct fuse_out_header *out = iov[0].iov_base;
    ssize_t n_bytes = out->len;

    /* Of an interrupt that the watcher has made up, libfuse says that it came too late. */
    if (!(out->unique & 1))
        worker_answer(entry_of_id(out->unique), iov, count);
    return n_bytes;
}

/* Return: what libfuse calls request @unique; 0: it is not parked here. */
static uint64_t find_parked(struct uring_worker *worker, uint64_t unique)
{
    struct entry *entry;
    uint64_t id;

    pthread_mutex_lock(&worker->lock);
    HASH_FIND(hh, worker->parked, &unique, sizeof(unique), entry);
    id = entry ? entry_id(entry) : 0;
    pthread_mutex_unlock(&worker->lock);
    return id;
}

void uring_name_interrupted(struct uring *uring, struct fuse_buf *request)
{
    struct fuse_in_header *in = request->mem;
    struct fuse_interrupt_in *arg = (struct fuse_interrupt_in *)(in + 1);
    struct uring_worker *worker;
    uint64_t id = 0;

    if (in->opcode != FUSE_INTERRUPT)
        return;
    pthread_mutex_lock(&uring->lock);
    for (worker = uring->workers; worker && !id; worker = worker->next)
        id = find_parked(worker, arg->unique);
    pthread_mutex_unlock(&uring->lock);
    if (id)
        arg->unique = id;
}

/* --- All together --- */

/* Return: how many processors the kernel has a queue for; 0: it does not tell. */
static unsigned int count_queues(void)
{
    FILE *possible = fopen("/sys/devices/system/cpu/possible", "re");
    unsigned int n = 0;
    unsigned int last;

    if (!possible)
        return 0;
    /* 0-3, or 0-1,4-5: the last number counts. */
    while (fscanf(possible, "%u%*[-,]", &last) == 1)
        n = last + 1;
    fclose(possible);
    return n;
}

static void uring_free_parts(struct uring *uring)
{
    pthread_cond_destroy(&uring->watch);
    pthread_cond_destroy(&uring->progressed);
    pthread_mutex_destroy(&uring->lock);
    if (uring->cpus)
        CPU_FREE(uring->cpus);
    free(uring->queues);
    free(uring);
}

/* Return: one without workers; NULL when memory is short. */
static struct uring *uring_make(struct fuse_session *session, unsigned int n_queues)
{
    struct uring *uring = calloc(1, sizeof(*uring));

    if (!uring)
        return NULL;
    uring->session = session;
    uring->fd = fuse_session_fd(session);
    uring->n_queues = n_queues;
    pthread_mutex_init(&uring->lock, NULL);
    pthread_cond_init(&uring->progressed, NULL);
    pthread_cond_init(&uring->watch, NULL);
    uring->queues = calloc(n_queues, sizeof(*uring->queues));
    uring->cpus = CPU_ALLOC(n_queues);
    uring->cpus_bytes = CPU_ALLOC_SIZE(n_queues);
    if (!uring->queues || !uring->cpus) {
        uring_free_parts(uring);
        return NULL;
    }
    /* Where it can't be told, the shared worker has all. */
    CPU_ZERO_S(uring->cpus_bytes, uring->cpus);
    sched_getaffinity(0, uring->cpus_bytes, uring->cpus);
    return uring;
}

/* Return: what to do about io_uring's refusal with @error. */
static const char *advise(int error)
{
    FILE *sysctl = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    int is_disabled = 0;

    if (sysctl) {
        if (fscanf(sysctl, "%d", &is_disabled) != 1)
            is_disabled = 0;
        fclose(sysctl);
    }
    if (is_disabled)
        return "io_uring is switched off; as root: sysctl kernel.io_uring_disabled=0";
    switch (error) {
    case -EPERM:
    case -EACCES:
    case -ENOSYS:
        return "io_uring is forbidden here; let a container's seccomp profile allow io_uring_setup, "
               "io_uring_enter and io_uring_register";
    case -ENOMEM:
        return "too little memory may be locked or is free; raise RLIMIT_MEMLOCK (ulimit -l)";
    default:
        return "this kernel's io_uring can't do it; Linux 6.14 or newer can";
    }
}

int uring_new(struct fuse_session *session, struct uring **ret_uring, const char **ret_reason)
{
    unsigned int n_queues = count_queues();
    struct uring *uring = n_queues > 0 && n_queues <= UINT16_MAX ? uring_make(session, n_queues)
                                                                 : NULL;
    int r;

    if (!uring) {
        *ret_reason = n_queues ? "out of memory"
                               : "/sys does not tell how many processors there may be";
        return -ENOMEM;
    }
    r = worker_start(uring, -1, &uring->shared);
    if (r < 0) {
        *ret_reason = advise(r);
        uring_free_parts(uring);
        return r;
    }
    r = watcher_start(uring);
    if (r < 0) {
        *ret_reason = "can't start a thread";
        uring_free(uring);
        return r;
    }
    for (unsigned int i = 0; i < n_queues; i++)
        uring->queues[i] = (struct uring_queue){ .id = (uint16_t)i, .worker = uring->shared };
    *ret_uring = uring;
    return 0;
}

int uring_start(struct uring *uring, size_t payload_bytes)
{
    pthread_mutex_lock(&uring->lock);
    uring->payload_bytes = payload_bytes;
    uring->may_start = true;
    pthread_cond_broadcast(&uring->progressed);
    pthread_mutex_unlock(&uring->lock);
    return worker_wait_for(uring->shared, WORKER_RUNS);
}

/* Under lock. Return: a worker that may still run a handler; NULL: there is none. */
static struct uring_worker *find_loud(struct uring *uring)
{
    struct uring_worker *worker;

    for (worker = uring->workers; worker; worker = worker->next) {
        if (worker->progress == WORKER_RUNS && !worker->is_quiet)
            return worker;
    }
    return NULL;
}

/* Has all workers look at what has changed. They may become more meanwhile, until the shared one is quiet. */
static void wake_all(struct uring *uring)
{
    struct uring_worker *worker;

    pthread_mutex_lock(&uring->lock);
    for (worker = uring->workers; worker; worker = worker->next)
        if (worker->progress == WORKER_RUNS)
            worker_wake(worker);
    pthread_mutex_unlock(&uring->lock);
}

void uring_quiesce(struct uring *uring)
{
    atomic_store_explicit(&uring->is_quiesced, true, memory_order_release);
    wake_all(uring);
    pthread_mutex_lock(&uring->lock);
    while (find_loud(uring))
        pthread_cond_wait(&uring->progressed, &uring->lock);
    pthread_mutex_unlock(&uring->lock);
}

void uring_free(struct uring *uring)
{
    struct uring_worker *worker;

    if (!uring)
        return;
    pthread_mutex_lock(&uring->lock);
    atomic_store_explicit(&uring->is_ended, true, memory_order_release);
    pthread_cond_broadcast(&uring->progressed);
    pthread_mutex_unlock(&uring->lock);
    watcher_stop(uring);
    wake_all(uring);
    while ((worker = uring->workers)) {
        uring->workers = worker->next;
        worker_free(worker);
    }
    uring_free_parts(uring);
}
