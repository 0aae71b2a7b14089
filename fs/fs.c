#include "fs.h"

#include <unistd.h>

int fs_init(struct fs *fs, const struct fs_options *options)
{
    struct caller owner = { .uid = geteuid(), .gid = getegid() };

    *fs = (struct fs){ .max_bytes = options->max_bytes };
    mbox_domain_init(&fs->domain, options->max_bytes, options->uid_bytes);
    names_init(&fs->names);
    nodes_init(&fs->nodes);
    files_init(&fs->files);
    deferred_init(&fs->deferred);
    return tree_init(&fs->tree, fs, &owner);
}

void fs_end_mailboxes(struct fs *fs)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    names_remove_all(&fs->names, &ready);
    mbox_ready_run(&ready);
}

void fs_deinit(struct fs *fs)
{
    fs_end_mailboxes(fs);
    deferred_stop(&fs->deferred);
    files_deinit(&fs->files);
    nodes_deinit(&fs->nodes);
    tree_deinit(&fs->tree);
    names_deinit(&fs->names);
    deferred_deinit(&fs->deferred);
    mbox_domain_deinit(&fs->domain);
}
