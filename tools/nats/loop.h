/* The bridge's one thread waits here: for files of the mount, timers, and what the NATS library's threads hand over.
 *
 * A source is embedded in what it belongs to, which owns it and removes it before it goes. All functions are for the
 * loop's own thread, and never wait but for loop_run. */
#ifndef IPCFS_TOOLS_NATS_LOOP_H
#define IPCFS_TOOLS_NATS_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct source {
    int fd; /* not this source's: who embeds it closes it */
    bool is_watched;
    void (*ready)(struct source *source);
};

/* A timer that goes off once; deinit closes it. */
struct timer {
    struct source source;
    void (*expired)(struct timer *timer);
};

/* Something to do before the loop waits again; each at most once in the queue. */
struct job {
    struct job *next;
    bool is_queued;
    void (*run)(struct job *job);
};

void loop_init(void);

/* Waits once for @events (EPOLLIN, EPOLLOUT) of the source's descriptor: it is called once, and watched again by the next
 * call. Return: 0; a negative errno. */
int loop_watch(struct source *source, uint32_t events);
/* As loop_watch, and goes on until loop_unwatch. */
int loop_watch_always(struct source *source, uint32_t events);
void loop_unwatch(struct source *source);

void loop_queue(struct job *job);

/* Return: 0; a negative errno. */
int timer_init(struct timer *timer, void (*expired)(struct timer *timer));
void timer_set(struct timer *timer, int64_t from_now_ns);
void timer_stop(struct timer *timer);
void timer_deinit(struct timer *timer);

/* Runs until loop_end, called by a job or a source. */
void loop_run(void);
void loop_end(void);

#endif
