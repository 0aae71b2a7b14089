#include "prune.h"

#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs.h"

/* FUSE_NOTIFY_PRUNE and struct fuse_notify_prune_out of <linux/fuse.h>, version 7.45. */
#define NOTIFY_PRUNE 9

struct message {
    struct fuse_out_header header;
    uint32_t n;
    uint32_t padding;
    uint64_t spare;
    uint64_t ids[PRUNE_BATCH];
};

struct pruning {
    struct deferred_work work;
    struct fs *fs;
    struct message message;
};

void prune_init(struct prune *prune)
{
    *prune = (struct prune){ 0 };
    pthread_mutex_init(&prune->lock, NULL);
}

void prune_deinit(struct prune *prune)
{
    pthread_mutex_destroy(&prune->lock);
}

/* A kernel that doesn't know the message refuses it, and all stays as it was. */
static void run(struct deferred_work *work)
{
    struct pruning *pruning = (struct pruning *)work;
    const struct message *message = &pruning->message;
    ssize_t n = write(fuse_session_fd(pruning->fs->session), message, sizeof(*message));

    (void)n;
    free(pruning);
}

/* Without memory for it the kernel is not asked. */
static void ask(struct fs *fs, const uint64_t ids[PRUNE_BATCH])
{
    struct pruning *pruning = calloc(1, sizeof(*pruning));

    if (!pruning)
        return;
    pruning->work.run = run;
    pruning->fs = fs;
    pruning->message.header.len = sizeof(pruning->message);
    pruning->message.header.error = NOTIFY_PRUNE;
    pruning->message.n = PRUNE_BATCH;
    memcpy(pruning->message.ids, ids, sizeof(pruning->message.ids));
    deferred_add(&fs->deferred, &pruning->work);
}

void prune_later(struct fs *fs, uint64_t id)
{
    struct prune *prune = &fs->prune;
    uint64_t ids[PRUNE_BATCH];
    bool is_full;

    pthread_mutex_lock(&prune->lock);
    prune->ids[prune->n++] = id;
    is_full = prune->n == PRUNE_BATCH;
    if (is_full) {
        memcpy(ids, prune->ids, sizeof(ids));
        prune->n = 0;
    }
    pthread_mutex_unlock(&prune->lock);
    if (is_full && fs->session)
        ask(fs, ids);
}
