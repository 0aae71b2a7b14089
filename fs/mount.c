/* The order in which a mount is made and taken apart. Nodes and files go before the rooms that they are of,
 * and threads before what they work on. */
#include "mount.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/mailbox/box_kept.h"
#include "fs/mailbox/mailbox.h"

static struct mbox *mount_find_dead(struct mbox *mbox, const char *name,
                                    char ret_from[MBOX_NAME_BYTES_MAX + 1])
{
    struct fs *fs = (struct fs *)((char *)mbox->domain - offsetof(struct fs, domain));

    return tree_find_dead(&fs->tree, mbox, name, ret_from);
}

int fs_init(struct fs *fs, const struct fs_options *options)
{
    struct caller owner = { .uid = geteuid(), .gid = getegid() };

    *fs = (struct fs){ 0 };
    mbox_domain_init(&fs->domain, options->max_bytes, options->uid_bytes);
    fs->domain.find_dead = mount_find_dead;
    kernel_init(&fs->kernel, &fs->domain.quota, options->max_bytes);
    fs->kernel.backing.is_wanted = !options->no_passthrough;
    return tree_init(&fs->tree, &fs->kernel, &fs->domain, &owner);
}

static int restore_found(const struct store_found *found, void *arg, struct mbox **ret_mbox)
{
    struct fs *fs = arg;

    switch (found->name.kind) {
    case STORE_KIND_TOPIC:
        return topic_restore(&fs->tree.topics, found, ret_mbox);
    case STORE_KIND_SUBSCRIPTION:
        return topic_restore_subscription(found, ret_mbox);
    case STORE_KIND_MAILBOX:
        break;
    }
    return mailbox_restore(&fs->tree.mailboxes, found, ret_mbox);
}

int fs_open_store(struct fs *fs, const char *path, char why[STORE_WHY_MAX])
{
    int r = store_open(path, box_describe, &fs->store, why);

    if (r < 0)
        return r;
    fs->tree.info.store = fs->store;
    r = store_load(fs->store, &fs->domain, restore_found, fs);
    if (r < 0)
        snprintf(why, STORE_WHY_MAX, "what is kept there can't be made again: %s", strerror(-r));
    return r;
}

int fs_start(struct fs *fs, bool to_syslog)
{
    int r = kernel_start(&fs->kernel, to_syslog);

    if (r == 0 && fs->store)
        r = store_start(fs->store);
    return r < 0 ? r : processes_start(&fs->tree.procs.processes);
}

void fs_end_mailboxes(struct fs *fs)
{
    /* Nobody may soon answer what the kernel may need to know to take a notice. */
    fs->is_stuck = !notify_stop(&fs->kernel.notify);
    fs->domain.is_ending = true;
    /* What goes from here on is not gone from the store. */
    if (fs->store)
        store_end(fs->store);
    tree_end_mailboxes(&fs->tree);
    locks_end_waiting(&fs->kernel.locks);
}

bool fs_stop(struct fs *fs)
{
    if (fs->is_stopped)
        return !fs->is_stuck;
    fs->is_stopped = true;
    fs_end_mailboxes(fs);
    processes_stop(&fs->tree.procs.processes);
    inquiries_stop(&fs->kernel.inquiries);
    rings_stop(&fs->tree.rings);
    expiry_stop(&fs->domain.expiry);
    kernel_stop(&fs->kernel);
    return !fs->is_stuck;
}

void fs_deinit(struct fs *fs)
{
    fs_stop(fs);
    kernel_let_go(&fs->kernel);
    tree_deinit(&fs->tree);
    if (fs->store)
        store_free(fs->store);
    kernel_deinit(&fs->kernel);
    mbox_domain_deinit(&fs->domain);
}
