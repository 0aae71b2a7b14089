/* One epoll, one event at a time: an event's handler may then remove or free any other source.
 *
 * There is one loop in the program, so it stands here and not in an argument. */
#include "loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "log.h"

static struct {
    int epoll_fd;
    bool is_ending;
    struct job *first_job;
    struct job **last_job;
} loop;

void loop_init(void)
{
    loop.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop.last_job = &loop.first_job;
    if (loop.epoll_fd < 0)
        log_die(EXIT_STATUS_FAILED, "epoll: %s", strerror(errno));
}

static int loop_watch_so(struct source *source, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = source };
    int op = source->is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (epoll_ctl(loop.epoll_fd, op, source->fd, &event) < 0)
        return -errno;
    source->is_watched = true;
    return 0;
}

int loop_watch(struct source *source, uint32_t events)
{
    return loop_watch_so(source, events | EPOLLONESHOT);
}

int loop_watch_always(struct source *source, uint32_t events)
{
    return loop_watch_so(source, events);
}

void loop_unwatch(struct source *source)
{
    if (source->is_watched)
        epoll_ctl(loop.epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    source->is_watched = false;
}

void loop_queue(struct job *job)
{
    if (job->is_queued)
        return;
    job->is_queued = true;
    job->next = NULL;
    *loop.last_job = job;
    loop.last_job = &job->next;
}

static void timer_ready(struct source *source)
{
    struct timer *timer = container_of(source, struct timer, source);
    uint64_t n;
    bool expired = read(source->fd, &n, sizeof(n)) == (ssize_t)sizeof(n);

    loop_watch(source, EPOLLIN);
    if (expired)
        timer->expired(timer);
}

int timer_init(struct timer *timer, void (*expired)(struct timer *timer))
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

    if (fd < 0)
        return -errno;
    *timer = (struct timer){ .source = { .fd = fd, .ready = timer_ready }, .expired = expired };
    return loop_watch(&timer->source, EPOLLIN);
}

void timer_set(struct timer *timer, int64_t from_now_ns)
{
    struct itimerspec spec = { .it_value = { from_now_ns / 1000000000, from_now_ns % 1000000000 } };

    timerfd_settime(timer->source.fd, 0, &spec, NULL);
}

void timer_stop(struct timer *timer)
{
    timer_set(timer, 0);
}

void timer_deinit(struct timer *timer)
{
    loop_unwatch(&timer->source);
    close(timer->source.fd);
}

/* Those that stand in the queue now; what they queue comes after the next look at the sources. */
static void loop_run_jobs(void)
{
    struct job *job = loop.first_job;

    loop.first_job = NULL;
    loop.last_job = &loop.first_job;
    while (job && !loop.is_ending) {
        struct job *next = job->next;

        job->is_queued = false;
        job->run(job);
        job = next;
    }
}

void loop_run(void)
{
    while (!loop.is_ending) {
        struct epoll_event event;
        int n;

        loop_run_jobs();
        if (loop.is_ending)
            return;
        n = epoll_wait(loop.epoll_fd, &event, 1, loop.first_job ? 0 : -1);
        if (n > 0) {
            struct source *source = event.data.ptr;

            source->ready(source);
        } else if (n < 0 && errno != EINTR) {
            log_die(EXIT_STATUS_FAILED, "epoll_wait: %s", strerror(errno));
        }
    }
}

void loop_end(void)
{
    loop.is_ending = true;
}
