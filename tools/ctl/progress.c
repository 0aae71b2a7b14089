#include "progress.h"

#include <stdio.h>
#include <unistd.h>

#include "human.h"
#include "util.h"

#define NS_PER_S INT64_C(1000000000)
#define FIRST_NS (2 * NS_PER_S)
#define NEXT_NS (NS_PER_S / 4)

void progress_start(struct progress *progress)
{
    int64_t now = now_ns();

    *progress = (struct progress){
        .is_wanted = isatty(STDERR_FILENO),
        .start_ns = now,
        .last_ns = now,
    };
}

static void progress_show(struct progress *progress, int64_t now)
{
    double seconds = (double)(now - progress->start_ns) / (double)NS_PER_S;
    char messages[HUMAN_MAX];
    char bytes[HUMAN_MAX];
    char rate[HUMAN_MAX];

    human_number((double)progress->n_messages, 1000, messages);
    human_number((double)progress->n_bytes, 1024, bytes);
    human_number((double)progress->n_messages / seconds, 1000, rate);
    fprintf(stderr, "\r%s messages, %s bytes in %.0f s, %s/s\033[K", messages, bytes, seconds,
            rate);
    progress->is_shown = true;
    progress->last_ns = now;
}

void progress_add(struct progress *progress, uint64_t n_messages, uint64_t n_bytes)
{
    int64_t now;

    progress->n_messages += n_messages;
    progress->n_bytes += n_bytes;
    if (!progress->is_wanted)
        return;
    now = now_ns();
    if (now - progress->last_ns >= (progress->is_shown ? NEXT_NS : FIRST_NS))
        progress_show(progress, now);
}

void progress_end(struct progress *progress)
{
    if (!progress->is_shown)
        return;
    progress_show(progress, now_ns());
    fputc('\n', stderr);
    progress->is_shown = false;
}
