/* The watcher looks once at each request that stays parked.
 *
 * Of a signal that reaches a caller before its request has got into an entry, Linux (up to 6.18 at least) tells
 * us nothing: it notes that the request is interrupted, asks whether it was sent, it was not, and nobody asks
 * again. The caller then waits deaf to all signals until it is answered. It can be seen that it does, once we have
 * the request: an interrupt after that comes as it should. So for a caller that was interrupted before, we do what
 * the kernel has not done.
 *
 * And what is parked for long needs no memory: who waits has nothing in the entry until it is answered.
 *
 * Most of what is parked is answered soon. So nothing is looked at before it has been there for a while; then all
 * is looked at that was there when the watcher came by the last time. Nothing parked, nothing to do. */
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "uring_worker.h"

/* From one round to the next, while there is something to look at. */
#define ROUND_NS 5000000

/* Return: whether thread @tid waits deaf to signals, other than to SIGKILL perhaps. Not /proc/TID/stat, which
 * waits for a process in execve. */
static bool is_deaf(pid_t tid)
{
    char path[64];
    char line[256];
    char state = '\0';
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
    file = fopen(path, "re");
    if (!file)
        return false;
    while (!state && fgets(line, sizeof(line), file))
        sscanf(line, "State: %c", &state);
    fclose(file);
    return state == 'D';
}

void uring_interrupt(struct uring *uring, uint64_t id)
{
    struct {
        struct fuse_in_header in;
        struct fuse_interrupt_in arg;
    } request = {
        .in = { .len = sizeof(request), .opcode = FUSE_INTERRUPT, .unique = id | 1 },
        .arg = { .unique = id },
    };
    struct fuse_buf buf = { .mem = &request, .size = sizeof(request) };

    fuse_session_process_buf(uring->session, &buf);
}

/* Takes one out that is to be looked at. Return: whether there was one. */
static bool next_aged(struct uring_worker *worker, pid_t *ret_tid, uint64_t *ret_id)
{
    struct entry *entry;

    pthread_mutex_lock(&worker->lock);
    entry = LIST_FIRST(&worker->aged);
    if (entry) {
        LIST_REMOVE(entry, fresh_link);
        entry->is_fresh = false;
        entry_drop(entry);
        *ret_tid = entry->tid;
        *ret_id = entry_id(entry);
    }
    pthread_mutex_unlock(&worker->lock);
    return entry;
}

static void look_at(struct uring_worker *worker)
{
    struct entry *entry;
    uint64_t id;
    pid_t tid;

    while (next_aged(worker, &tid, &id)) {
        if (tid > 0 && is_deaf(tid))
            uring_interrupt(worker->uring, id);
    }
    pthread_mutex_lock(&worker->lock);
    if (!LIST_EMPTY(&worker->fresh))
        atomic_store(&worker->uring->has_fresh, true);
    while ((entry = LIST_FIRST(&worker->fresh))) {
        LIST_REMOVE(entry, fresh_link);
        LIST_INSERT_HEAD(&worker->aged, entry, fresh_link);
    }
    pthread_mutex_unlock(&worker->lock);
}

/* Under lock, which is released meanwhile. */
static void go_round(struct uring *uring)
{
    /* Workers are added at the front, and stay as long as we do. */
    struct uring_worker *worker = uring->workers;

    atomic_store(&uring->has_fresh, false);
    pthread_mutex_unlock(&uring->lock);
    for (; worker; worker = worker->next)
        look_at(worker);
    pthread_mutex_lock(&uring->lock);
}

/* Under lock, which is released meanwhile. */
static void wait_for_round(struct uring *uring)
{
    struct timespec end;

    while (!atomic_load(&uring->has_fresh) && !uring->is_ended)
        pthread_cond_wait(&uring->watch, &uring->lock);
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_nsec += ROUND_NS;
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    while (!uring->is_ended && pthread_cond_timedwait(&uring->watch, &uring->lock, &end) == 0)
        ;
}

static void *watch(void *arg)
{
    struct uring *uring = arg;

    pthread_mutex_lock(&uring->lock);
    while (!uring->is_ended) {
        wait_for_round(uring);
        if (!uring->is_quiesced)
            go_round(uring);
    }
    pthread_mutex_unlock(&uring->lock);
    return NULL;
}

void watcher_wake(struct uring *uring)
{
    pthread_mutex_lock(&uring->lock);
    pthread_cond_signal(&uring->watch);
    pthread_mutex_unlock(&uring->lock);
}

int watcher_start(struct uring *uring)
{
    int r = pthread_create(&uring->watcher, NULL, watch, uring);

    uring->has_watcher = r == 0;
    return -r;
}

void watcher_stop(struct uring *uring)
{
    if (!uring->has_watcher)
        return;
    watcher_wake(uring);
    pthread_join(uring->watcher, NULL);
}
