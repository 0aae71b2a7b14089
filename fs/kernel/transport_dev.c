/* A thread waits in read(2), which nothing but a request or the connection's end gets it out of. So it can be
 * cancelled there and nowhere else. */
#include "transport_dev.h"

#include <errno.h>
#include <stdlib.h>

struct dev_thread {
    struct dev_loop *loop;
    struct fuse_buf buf;
    pthread_t thread;
    struct dev_thread *next;
};

int dev_serve_one(struct dev_loop *loop, struct fuse_buf *buf)
{
    int r;

    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    r = fuse_session_receive_buf(loop->session, buf);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    if (r <= 0)
        return r;
    if (loop->inspect)
        loop->inspect(loop->arg, buf);
    fuse_session_process_buf(loop->session, buf);
    return r;
}

static void *run(void *arg)
{
    struct dev_thread *thread = arg;
    int r;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    do
        r = dev_serve_one(thread->loop, &thread->buf);
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
    r = pthread_create(&thread->thread, NULL, run, thread);
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

    for (thread = loop->threads; thread; thread = thread->next)
        pthread_cancel(thread->thread);
    while ((thread = loop->threads)) {
        loop->threads = thread->next;
        pthread_join(thread->thread, NULL);
        free(thread->buf.mem);
        free(thread);
    }
}
