/* A text of settings is taken whole or not at all. Rings have settings of their own (fs/ring/ring.c), which are
 * written the same way. */
#include "settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/kernel/text.h"
#include "timestamp.h"

/* No settings are this long. */
#define CONFIG_WRITE_MAX 65536

static int settings_make_config(struct file *file, char **ret_text)
{
    char text[MBOX_LIMITS_TEXT_MAX];
    struct mbox_limits limits;
    int r = mbox_get_limits(file->mbox, &limits);

    if (r < 0)
        return r;
    mbox_limits_format(&limits, text);
    *ret_text = strdup(text);
    return *ret_text ? 0 : -ENOMEM;
}

void settings_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                    int (*configure)(struct file *file, const char *text, size_t n,
                                     struct mbox_ready *ready))
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    int r = -EINVAL;

    /* The kernel would split a longer write, and what comes later could not undo what came before. */
    if (size <= CONFIG_WRITE_MAX)
        r = configure(file, data, size, &ready);
    /* First: what is kept is kept with its new settings when the writer hears of it. */
    mbox_ready_run(&ready);
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_write(req, size);
}

static int settings_configure(struct file *file, const char *text, size_t n,
                              struct mbox_ready *ready)
{
    return mbox_configure(file->mbox, text, n, ready);
}

static void settings_config_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                                  off_t offset, int flags)
{
    (void)offset;
    (void)flags;
    settings_write(file, req, data, size, settings_configure);
}

/* What only a store has something to say to. */
#define KEPT_TEXT_MAX 100

static void make_kept(const struct mbox_stat *stat, char text[KEPT_TEXT_MAX])
{
    text[0] = '\0';
    if (stat->is_kept)
        snprintf(text, KEPT_TEXT_MAX,
                 "\nkept=%" PRIu64 "\nkept_bytes=%" PRIu64 "\nstoring=%" PRIu64, stat->n_kept,
                 stat->n_kept_bytes, stat->n_storing);
}

static int settings_make_stat(struct file *file, char **ret_text)
{
    char last_receive[TIMESTAMP_MAX];
    char last_send[TIMESTAMP_MAX];
    char kept[KEPT_TEXT_MAX];
    struct mbox_stat stat;
    int r = mbox_get_stat(file->mbox, &stat);

    if (r < 0)
        return r;
    make_kept(&stat, kept);
    timestamp_format(&stat.last_send, last_send);
    timestamp_format(&stat.last_receive, last_receive);
    r = asprintf(ret_text,
                 "messages=%" PRIu64 "\nbytes=%" PRIu64 "\nsent=%" PRIu64 "\nreceived=%" PRIu64
                 "\ndropped=%" PRIu64 "\nrejected=%" PRIu64 "\nexpired=%" PRIu64 "\ndead=%" PRIu64
                 "\nleased=%" PRIu64 "\nreserved=%" PRIu64 "%s\nsenders_waiting=%" PRIu64
                 "\nreceivers_waiting=%" PRIu64 "\nowner_pid=%d\nlast_send=%s\nlast_receive=%s\n",
                 stat.n_messages, stat.n_bytes, stat.n_sent, stat.n_received, stat.n_dropped,
                 stat.n_rejected, stat.n_expired, stat.n_dead, stat.n_leased, stat.n_reserved, kept,
                 stat.n_senders_waiting, stat.n_receivers_waiting, (int)stat.owner_pid, last_send,
                 last_receive);
    return r < 0 ? -ENOMEM : 0;
}

static const struct text_ops settings_config_ops = TEXT_OPS(settings_make_config,
                                                            settings_config_write, NULL);
static const struct text_ops settings_stat_ops = TEXT_OPS(settings_make_stat, NULL, NULL);

int config_open(struct kernel *kernel, struct mbox *mbox, struct file **ret_file)
{
    return text_open(kernel, &settings_config_ops, mbox, ret_file);
}

int stat_open(struct kernel *kernel, struct mbox *mbox, struct file **ret_file)
{
    return text_open(kernel, &settings_stat_ops, mbox, ret_file);
}
