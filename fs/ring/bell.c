/* A message of a bell says that the ring has changed; it is made of `recv`, which goes on after each end of
 * file. What counts is what this file has told: a change that nobody has read yet is readable. */
#include "bell.h"

#include <linux/fuse.h>

#include "core/ring/ring_mbox.h"
#include "fs/kernel/kernel.h"
#include "fs/mailbox/recv.h"

static void bell_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    ring_mbox_last_change(ring_mbox_of_bell(file->mbox));
    recv_read(file, req, size, offset, flags);
}

static void bell_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                       off_t offset, int flags)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    int r = ring_mbox_wake(ring_mbox_of_bell(file->mbox), &ready);

    (void)data;
    (void)offset;
    (void)flags;
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_write(req, size);
    mbox_ready_run(&ready);
}

static bool bell_has_unread(struct file *file)
{
    struct recv_file *recv = (struct recv_file *)file;
    uint64_t seen;

    readers_lock(&recv->readers);
    seen = recv->seen;
    readers_unlock(&recv->readers);
    return recv_has_unread(file) || ring_mbox_last_change(ring_mbox_of_bell(file->mbox)) != seen;
}

static const struct file_ops bell_ops = {
    .open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES,
    .keeps_from_cache = true,
    .events = MBOX_READABLE | MBOX_WRITABLE,
    .read = bell_read,
    .write = bell_write,
    .has_unread = bell_has_unread,
    .close = recv_close,
    .size = sizeof(struct recv_file),
};

int bell_open(struct kernel *kernel, struct mbox *bell, struct file **ret_file)
{
    struct recv_file *recv;
    int r = recv_file_new(kernel, &bell_ops, bell, ret_file);

    if (r < 0)
        return r;
    recv = (struct recv_file *)*ret_file;
    recv->goes_on = true;
    recv->seen = ring_mbox_last_change(ring_mbox_of_bell(bell));
    /* It can be written to at any time: who was told of that whenever somebody looks would poll for ever. */
    (*ret_file)->watch.events = MBOX_READABLE;
    return 0;
}
