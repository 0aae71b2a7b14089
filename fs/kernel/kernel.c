/* The parts are made in the order in which they need each other, and freed in two steps, with the rooms
 * between: a node or an open file gives back what it holds of a room, and a room that is freed may still leave
 * work to a part. */
#include "kernel.h"

void kernel_init(struct kernel *kernel, struct quota *quota, uint64_t max_bytes)
{
    kernel->quota = quota;
    kernel->max_bytes = max_bytes;
    log_init(&kernel->log);
    deferred_init(&kernel->deferred);
    deferred_init(&kernel->long_work);
    nodes_init(&kernel->nodes, kernel);
    files_init(&kernel->files, kernel, quota, &kernel->nodes, &kernel->deferred);
    listings_init(&kernel->listings);
    locks_init(&kernel->locks, quota, &kernel->deferred);
    inquiries_init(&kernel->inquiries, quota);
    notify_init(&kernel->notify, quota);
    prune_init(&kernel->prune, &kernel->notify);
}

void kernel_set_session(struct kernel *kernel, struct fuse_session *session)
{
    kernel->session = session;
    kernel->backing.session = session;
}

int kernel_start(struct kernel *kernel, bool to_syslog)
{
    int r = log_start(&kernel->log, to_syslog);

    if (r == 0)
        r = deferred_start(&kernel->deferred);
    if (r == 0)
        r = deferred_start(&kernel->long_work);
    if (r == 0)
        r = inquiries_start(&kernel->inquiries);
    if (r == 0)
        r = notify_start(&kernel->notify, fuse_session_fd(kernel->session));
    return r;
}

void kernel_stop(struct kernel *kernel)
{
    deferred_stop(&kernel->long_work);
    deferred_stop(&kernel->deferred);
    log_stop(&kernel->log);
}

void kernel_release_file(struct kernel *kernel, struct file *file)
{
    locks_release(&kernel->locks, file);
    file_release(file);
}

void kernel_let_go(struct kernel *kernel)
{
    struct file *file;

    while ((file = files_first(&kernel->files)))
        kernel_release_file(kernel, file);
    files_deinit(&kernel->files);
    listings_deinit(&kernel->listings);
    locks_deinit(&kernel->locks);
    nodes_deinit(&kernel->nodes);
}

void kernel_deinit(struct kernel *kernel)
{
    prune_deinit(&kernel->prune);
    deferred_deinit(&kernel->long_work);
    deferred_deinit(&kernel->deferred);
    inquiries_deinit(&kernel->inquiries);
    notify_deinit(&kernel->notify);
    log_deinit(&kernel->log);
}
