/* The heap is an array: parent (i - 1) / 2. A mailbox knows where it is in it, so that one which goes can be taken out
 * of the middle. Room for a place is taken when a mailbox joins, so that putting it in needs no memory.
 *
 * The timer is a timerfd, read by the thread, and set again by whoever puts something earlier in: a read that
 * waits goes by what was set last. */
#include "expiry.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "core/base/fd.h"

#define NS_PER_S UINT64_C(1000000000)

uint64_t expiry_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

void expiry_init(struct expiry *expiry, bool (*hold)(struct expiry_place *place),
                 void (*look)(struct expiry_place *place))
{
    *expiry = (struct expiry){ .hold = hold, .look = look, .timer_fd = -1 };
    pthread_mutex_init(&expiry->lock, NULL);
}

/* The functions up to take_due are under the lock. */

static uint64_t due_at(const struct expiry *expiry, size_t at)
{
    return expiry->heap[at]->due_ns;
}

static void set_at(struct expiry *expiry, size_t at, struct expiry_place *place)
{
    expiry->heap[at] = place;
    place->at = at;
}

static void swap(struct expiry *expiry, size_t a, size_t b)
{
    struct expiry_place *place = expiry->heap[a];

    set_at(expiry, a, expiry->heap[b]);
    set_at(expiry, b, place);
}

static void sift_up(struct expiry *expiry, size_t at)
{
    while (at > 0 && due_at(expiry, at) < due_at(expiry, (at - 1) / 2)) {
        swap(expiry, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

static void sift_down(struct expiry *expiry, size_t at)
{
    for (;;) {
        size_t least = at;

        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < expiry->n; child++) {
            if (due_at(expiry, child) < due_at(expiry, least))
                least = child;
        }
        if (least == at)
            return;
        swap(expiry, at, least);
        at = least;
    }
}

static void take_out(struct expiry *expiry, struct expiry_place *place)
{
    size_t at = place->at;

    if (place->due_ns == 0)
        return;
    place->due_ns = 0;
    if (at != --expiry->n) {
        set_at(expiry, at, expiry->heap[expiry->n]);
        sift_up(expiry, at);
        sift_down(expiry, at);
    }
}

/* Sets the timer for the first; a time that is over is now. */
static void set_timer(const struct expiry *expiry)
{
    uint64_t due_ns = expiry->is_stopping ? 1 : expiry->n > 0 ? due_at(expiry, 0) : 0;
    struct itimerspec when = {
        .it_value = { .tv_sec = (time_t)(due_ns / NS_PER_S), .tv_nsec = (long)(due_ns % NS_PER_S) },
    };

    timerfd_settime(expiry->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Return: the first whose time has come, held, taken out; NULL: there is none, and the timer is set. */
static struct expiry_place *take_due(struct expiry *expiry)
{
    uint64_t now = expiry_now();

    while (expiry->n > 0 && due_at(expiry, 0) <= now) {
        struct expiry_place *place = expiry->heap[0];

        take_out(expiry, place);
        if (expiry->hold(place))
            return place;
    }
    set_timer(expiry);
    return NULL;
}

static void look_at_due(struct expiry *expiry)
{
    struct expiry_place *place;

    pthread_mutex_lock(&expiry->lock);
    while (!expiry->is_stopping && (place = take_due(expiry))) {
        pthread_mutex_unlock(&expiry->lock);
        expiry->look(place);
        pthread_mutex_lock(&expiry->lock);
    }
    pthread_mutex_unlock(&expiry->lock);
}

static bool is_stopping(struct expiry *expiry)
{
    bool stopping;

    pthread_mutex_lock(&expiry->lock);
    stopping = expiry->is_stopping;
    pthread_mutex_unlock(&expiry->lock);
    return stopping;
}

static void *expiry_run(void *arg)
{
    struct expiry *expiry = arg;
    uint64_t n_times;

    while (!is_stopping(expiry)) {
        if (read(expiry->timer_fd, &n_times, sizeof(n_times)) > 0)
            look_at_due(expiry);
    }
    return NULL;
}

void expiry_stop(struct expiry *expiry)
{
    bool has_thread;

    pthread_mutex_lock(&expiry->lock);
    expiry->is_stopping = true;
    has_thread = expiry->has_thread;
    expiry->has_thread = false;
    if (has_thread)
        set_timer(expiry);
    pthread_mutex_unlock(&expiry->lock);
    if (has_thread)
        pthread_join(expiry->thread, NULL);
}

void expiry_deinit(struct expiry *expiry)
{
    expiry_stop(expiry);
    assert(expiry->n_joined == 0);
    if (expiry->timer_fd >= 0)
        close(expiry->timer_fd);
    free(expiry->heap);
    pthread_mutex_destroy(&expiry->lock);
}

/* Under the lock. Return: 0 with a timer and a thread; a negative errno. */
static int start(struct expiry *expiry)
{
    int r = 0;

    if (expiry->has_thread || expiry->is_stopping)
        return 0;
    if (expiry->timer_fd < 0) {
        r = fd_keep(timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC));
        if (r < 0)
            return r;
        expiry->timer_fd = r;
    }
    r = pthread_create(&expiry->thread, NULL, expiry_run, expiry);
    expiry->has_thread = r == 0;
    return -r;
}

/* Under the lock. Return: 0 with room for one more; -ENOMEM. */
static int expiry_grow(struct expiry *expiry)
{
    size_t n = expiry->n_allocated ? 2 * expiry->n_allocated : 16;
    struct expiry_place **heap;

    if (expiry->n_joined < expiry->n_allocated)
        return 0;
    heap = reallocarray(expiry->heap, n, sizeof(struct expiry_place *));
    if (!heap)
        return -ENOMEM;
    expiry->heap = heap;
    expiry->n_allocated = n;
    return 0;
}

int expiry_join(struct expiry *expiry, struct expiry_place *place)
{
    int r;

    if (place->has_joined)
        return 0;
    pthread_mutex_lock(&expiry->lock);
    r = start(expiry);
    if (r == 0)
        r = expiry_grow(expiry);
    if (r == 0) {
        expiry->n_joined++;
        place->has_joined = true;
    }
    pthread_mutex_unlock(&expiry->lock);
    return r;
}

void expiry_leave(struct expiry *expiry, struct expiry_place *place)
{
    if (!place->has_joined)
        return;
    pthread_mutex_lock(&expiry->lock);
    take_out(expiry, place);
    expiry->n_joined--;
    place->has_joined = false;
    pthread_mutex_unlock(&expiry->lock);
}

void expiry_put(struct expiry *expiry, struct expiry_place *place, uint64_t due_ns)
{
    uint64_t before_ns;

    assert(place->has_joined && due_ns > 0);
    /* Relaxed: where it has just been taken out, it is about to be looked at, under the mailbox's lock, which is held
     * here. */
    before_ns = atomic_load_explicit(&place->due_ns, memory_order_relaxed);
    if (before_ns > 0 && before_ns <= due_ns)
        return;
    pthread_mutex_lock(&expiry->lock);
    if (place->due_ns == 0 || due_ns < place->due_ns) {
        take_out(expiry, place);
        place->due_ns = due_ns;
        set_at(expiry, expiry->n++, place);
        sift_up(expiry, place->at);
        if (place->at == 0 && expiry->has_thread)
            set_timer(expiry);
    }
    pthread_mutex_unlock(&expiry->lock);
}
