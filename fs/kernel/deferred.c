/* The thread takes one piece of work and all completed ops in a round, and holds no lock while it runs them: they
 * may answer the kernel, post, and defer again. */
#include "deferred.h"

#include "core/base/clock.h"

/* So long one thread completes what others wait for, and so many are completed before it looks at the clock. */
#define READY_NS 500000
#define READY_AT_ONCE 16

void deferred_init(struct deferred *deferred)
{
    *deferred = (struct deferred){ 0 };
    pthread_mutex_init(&deferred->lock, NULL);
    pthread_cond_init(&deferred->added, NULL);
    TAILQ_INIT(&deferred->works);
    TAILQ_INIT(&deferred->ready);
}

void deferred_deinit(struct deferred *deferred)
{
    pthread_cond_destroy(&deferred->added);
    pthread_mutex_destroy(&deferred->lock);
}

/* Does one round of what there is. Under lock, which is released meanwhile. */
static void run_some(struct deferred *deferred)
{
    struct deferred_work *work = TAILQ_FIRST(&deferred->works);
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    if (work) {
        TAILQ_REMOVE(&deferred->works, work, link);
        work->queued = false;
    }
    TAILQ_CONCAT(&ready, &deferred->ready, link);
    pthread_mutex_unlock(&deferred->lock);
    mbox_ready_run(&ready);
    if (work)
        work->run(work);
    pthread_mutex_lock(&deferred->lock);
}

static void *deferred_run(void *arg)
{
    struct deferred *deferred = arg;

    pthread_mutex_lock(&deferred->lock);
    for (;;) {
        if (!TAILQ_EMPTY(&deferred->works) || !TAILQ_EMPTY(&deferred->ready))
            run_some(deferred);
        else if (deferred->stopping)
            break;
        else
            pthread_cond_wait(&deferred->added, &deferred->lock);
    }
    pthread_mutex_unlock(&deferred->lock);
    return NULL;
}

int deferred_start(struct deferred *deferred)
{
    int r = pthread_create(&deferred->thread, NULL, deferred_run, deferred);

    deferred->started = r == 0;
    return -r;
}

void deferred_stop(struct deferred *deferred)
{
    if (!deferred->started)
        return;
    pthread_mutex_lock(&deferred->lock);
    deferred->stopping = true;
    pthread_cond_signal(&deferred->added);
    pthread_mutex_unlock(&deferred->lock);
    pthread_join(deferred->thread, NULL);
    deferred->started = false;
}

bool deferred_add(struct deferred *deferred, struct deferred_work *work)
{
    bool added;

    pthread_mutex_lock(&deferred->lock);
    added = !work->queued;
    if (added) {
        work->queued = true;
        TAILQ_INSERT_TAIL(&deferred->works, work, link);
        pthread_cond_signal(&deferred->added);
    }
    pthread_mutex_unlock(&deferred->lock);
    return added;
}

void deferred_complete(struct deferred *deferred, struct mbox_ready *ready)
{
    if (TAILQ_EMPTY(ready))
        return;
    pthread_mutex_lock(&deferred->lock);
    TAILQ_CONCAT(&deferred->ready, ready, link);
    pthread_cond_signal(&deferred->added);
    pthread_mutex_unlock(&deferred->lock);
}

void deferred_run_ready(struct deferred *deferred, struct mbox_ready *ready)
{
    uint64_t began;

    /* As a rule there are one or two. */
    if (mbox_ready_run_some(ready, READY_AT_ONCE) < READY_AT_ONCE)
        return;
    if (!deferred->started) {
        mbox_ready_run(ready);
        return;
    }
    began = clock_now_ns();
    while (mbox_ready_run_some(ready, READY_AT_ONCE) == READY_AT_ONCE &&
           clock_now_ns() - began < READY_NS)
        ;
    deferred_complete(deferred, ready);
}
