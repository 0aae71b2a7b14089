/* A read at the start of the file makes the text anew; reads further on go on in the same one. So
 * a reader sees one state, however small its reads, and sees a new one after it has begun again. */
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 512

_Static_assert(TEXT_MAX >= MBOX_LIMITS_TEXT_MAX, "room for the limits");

struct text_file {
    struct file file;
    char text[TEXT_MAX]; /* under file.lock */
    size_t length;
};

/* A poll is always ready, so that text files need no mailbox's readiness. */
static void read_text(struct file *file, fuse_req_t req, size_t size, off_t offset,
                      int (*make)(struct mbox *mbox, char text[TEXT_MAX]))
{
    struct text_file *self = (struct text_file *)file;
    char copy[TEXT_MAX];
    size_t n = 0;
    int r = 0;

    pthread_mutex_lock(&file->lock);
    if (offset == 0) {
        r = make(file->mbox, self->text);
        self->length = r < 0 ? 0 : (size_t)r;
    }
    if ((size_t)offset < self->length) {
        n = self->length - (size_t)offset;
        n = size < n ? size : n;
        memcpy(copy, self->text + offset, n);
    }
    pthread_mutex_unlock(&file->lock);
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_buf(req, copy, n);
}

static int make_config(struct mbox *mbox, char text[TEXT_MAX])
{
    struct mbox_limits limits;
    int r = mbox_get_limits(mbox, &limits);

    return r < 0 ? r : (int)mbox_limits_format(&limits, text);
}

static void config_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    (void)flags;
    read_text(file, req, size, offset, make_config);
}

static void config_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                         off_t offset, int flags)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    int r = mbox_configure(file->mbox, data, size, &ready);

    (void)offset;
    (void)flags;
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_write(req, size);
    mbox_ready_run(&ready);
}

/* Writes @ts as RFC 3339 in UTC with nanoseconds; nothing for never. */
static void format_time(const struct timespec *ts, char text[40])
{
    struct tm tm;
    size_t n;

    text[0] = '\0';
    if (ts->tv_sec == 0 || !gmtime_r(&ts->tv_sec, &tm))
        return;
    n = strftime(text, 40, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, 40 - n, ".%09ldZ", ts->tv_nsec);
}

static int make_stat(struct mbox *mbox, char text[TEXT_MAX])
{
    char last_send[40];
    char last_receive[40];
    struct mbox_stat stat;
    int r = mbox_get_stat(mbox, &stat);

    if (r < 0)
        return r;
    format_time(&stat.last_send, last_send);
    format_time(&stat.last_receive, last_receive);
    return snprintf(text, TEXT_MAX,
                    "messages=%" PRIu64 "\nbytes=%" PRIu64 "\nsent=%" PRIu64 "\nreceived=%" PRIu64
                    "\ndropped=%" PRIu64 "\nrejected=%" PRIu64 "\nsenders_waiting=%" PRIu64
                    "\nreceivers_waiting=%" PRIu64 "\nowner_pid=0\nlast_send=%s\nlast_receive=%s\n",
                    stat.n_messages, stat.n_bytes, stat.n_sent, stat.n_received, stat.n_dropped,
                    stat.n_rejected, stat.n_senders_waiting, stat.n_receivers_waiting, last_send,
                    last_receive);
}

static void stat_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    (void)flags;
    read_text(file, req, size, offset, make_stat);
}

/* Not seekable: with a size of 0 sendfile would find nothing to read. */
#define TEXT_OPEN_FLAGS (FOPEN_DIRECT_IO | FOPEN_NONSEEKABLE | FOPEN_NOFLUSH)

static const struct file_ops config_ops = {
    .open_flags = TEXT_OPEN_FLAGS,
    .read = config_read,
    .write = config_write,
    .size = sizeof(struct text_file),
};

static const struct file_ops stat_ops = {
    .open_flags = TEXT_OPEN_FLAGS,
    .read = stat_read,
    .size = sizeof(struct text_file),
};

int config_open(struct fs *fs, struct mbox *mbox, struct file **ret_file)
{
    return file_new(fs, &config_ops, mbox, ret_file);
}

int stat_open(struct fs *fs, struct mbox *mbox, struct file **ret_file)
{
    return file_new(fs, &stat_ops, mbox, ret_file);
}
