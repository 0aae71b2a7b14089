/* As a rule one thread reads. Of several that wait in read(2) the kernel wakes the one that has waited longest, and
 * after an answer there is still something to do for who gave it: so a single caller's next request would wake the
 * other one, on another processor, each time, and that costs more than all the rest of a call. The others rest, and
 * are called when there is work for two: when requests are there already whenever one is looked for, or while a long
 * one is handled. Whoever finds nothing to do rests again.
 *
 * A thread waits in read(2), which nothing but a request or the connection's end gets it out of. So it can be
 * cancelled there and nowhere else. */
#include "transport_dev.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/base/clock.h"

/* A read that takes less has found its request there, if it is a short one. */
#define WAIT_NS 4000

/* So many in a row, and there is work for two; or for one less. */
#define N_FOUND_MAX 8
#define N_WAITED_MAX 2

/* Handling a request of this size takes so long that others should not wait for it. */
#define LONG_BYTES (256 << 10)

struct dev_thread {
    struct dev_loop *loop;
    struct fuse_buf buf;
    unsigned int n_found;  /* requests in a row that were there */
    unsigned int n_waited; /* requests in a row that it has waited for */
    pthread_t thread;
    struct dev_thread *next;
};

void dev_init(struct dev_loop *loop)
{
    pthread_mutex_init(&loop->lock, NULL);
    pthread_cond_init(&loop->called, NULL);
}

void dev_deinit(struct dev_loop *loop)
{
    pthread_cond_destroy(&loop->called);
    pthread_mutex_destroy(&loop->lock);
}

static int receive(struct dev_loop *loop, struct fuse_buf *buf)
{
    int r;

    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    r = fuse_session_receive_buf(loop->session, buf);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return r;
}

static void dev_handle(struct dev_loop *loop, struct fuse_buf *buf)
{
    if (loop->inspect)
        loop->inspect(loop->arg, buf);
    fuse_session_process_buf(loop->session, buf);
}

int dev_serve_one(struct dev_loop *loop, struct fuse_buf *buf)
{
    int r = receive(loop, buf);

    if (r > 0)
        dev_handle(loop, buf);
    return r;
}

/* --- Who reads --- */

/* Has one more thread read, if one rests. */
static void call_another(struct dev_loop *loop)
{
    if (atomic_load_explicit(&loop->n_resting, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&loop->lock);
    if (loop->n_called < loop->n_resting) {
        loop->n_called++;
        pthread_cond_signal(&loop->called);
    }
    pthread_mutex_unlock(&loop->lock);
}

/* Rests until it is called, unless nobody would read then. */
static void dev_rest(struct dev_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    if (loop->n_reading > 1) {
        loop->n_reading--;
        loop->n_resting++;
        while (loop->n_called == 0 && !loop->is_stopping)
            pthread_cond_wait(&loop->called, &loop->lock);
        if (loop->n_called > 0)
            loop->n_called--;
        loop->n_resting--;
        loop->n_reading++;
    }
    pthread_mutex_unlock(&loop->lock);
}

/* Notes whether a request was there, after a read that took @ns. */
static void note(struct dev_thread *thread, uint64_t ns)
{
    if (ns < WAIT_NS) {
        thread->n_found++;
        thread->n_waited = 0;
    } else {
        thread->n_found = 0;
        thread->n_waited++;
    }
}

/* Return: as dev_serve_one. */
static int serve_one(struct dev_thread *thread)
{
    struct dev_loop *loop = thread->loop;
    uint64_t start = clock_now_ns();
    int r = receive(loop, &thread->buf);

    if (r <= 0)
        return r;
    note(thread, clock_now_ns() - start);
    if (thread->n_found >= N_FOUND_MAX || thread->buf.size >= LONG_BYTES) {
        thread->n_found = 0;
        call_another(loop);
    }
    dev_handle(loop, &thread->buf);
    if (thread->n_waited >= N_WAITED_MAX) {
        thread->n_waited = 0;
        dev_rest(loop);
    }
    return r;
}

/* --- Life --- */

static void *dev_run(void *arg)
{
    struct dev_thread *thread = arg;
    int r;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    do
        r = serve_one(thread);
    while (r > 0 || r == -EINTR || r == -EAGAIN);
    thread->loop->ended(thread->loop->arg, r);
    return NULL;
}

static int start_one(struct dev_loop *loop)
{
    struct dev_thread *thread = calloc(1, sizeof(*thread));
    int r;

    if (!thread)
        return -ENOMEM;
    thread->loop = loop;
    pthread_mutex_lock(&loop->lock);
    r = pthread_create(&thread->thread, NULL, dev_run, thread);
    loop->n_reading += r == 0;
    pthread_mutex_unlock(&loop->lock);
    if (r != 0) {
        free(thread);
        return -r;
    }
    thread->next = loop->threads;
    loop->threads = thread;
    return 0;
}

int dev_start(struct dev_loop *loop, unsigned int n)
{
    int r = 0;

    for (unsigned int i = 0; i < n && r == 0; i++)
        r = start_one(loop);
    return loop->threads ? 0 : r;
}

void dev_stop(struct dev_loop *loop)
{
    struct dev_thread *thread;

    pthread_mutex_lock(&loop->lock);
    loop->is_stopping = true;
    pthread_cond_broadcast(&loop->called);
    pthread_mutex_unlock(&loop->lock);
    for (thread = loop->threads; thread; thread = thread->next)
        pthread_cancel(thread->thread);
    while ((thread = loop->threads)) {
        loop->threads = thread->next;
        pthread_join(thread->thread, NULL);
        free(thread->buf.mem);
        free(thread);
    }
}
