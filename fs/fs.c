#include "fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "box.h"

int fs_init(struct fs *fs, const struct fs_options *options)
{
    struct caller owner = { .uid = geteuid(), .gid = getegid() };

    *fs = (struct fs){ .max_bytes = options->max_bytes };
    mbox_domain_init(&fs->domain, options->max_bytes, options->uid_bytes);
    names_init(&fs->names);
    nodes_init(&fs->nodes);
    files_init(&fs->files);
    listings_init(&fs->listings);
    deferred_init(&fs->deferred);
    return tree_init(&fs->tree, fs, &owner);
}

/* What the kernel is to forget: a directory in mbox/. */
struct deletion {
    struct deferred_work work;
    struct fs *fs;
    uint64_t parent;
    uint64_t child;
    char name[];
};

/* First its files: the kernel does not delete a directory with something in it. */
static void tell_deletion(struct deferred_work *work)
{
    struct deletion *deletion = (struct deletion *)work;
    struct fuse_session *session = deletion->fs->session;

    for (unsigned int i = 0; i < BOX_N_FILES; i++) {
        const char *name = box_file_name((enum box_file)i);

        fuse_lowlevel_notify_inval_entry(session, deletion->child, name, strlen(name));
    }
    fuse_lowlevel_notify_delete(session, deletion->parent, deletion->child, deletion->name,
                                strlen(deletion->name));
    free(deletion);
}

/* Without memory for it nobody is told; who looks finds nothing all the same. */
static void announce_deletion(struct fs *fs, struct box *box, const char *name)
{
    uint64_t child = node_slot_id(fs, &box->dir_node);
    size_t name_size = strlen(name) + 1;
    struct deletion *deletion;

    if (child == 0 || !fs->session)
        return;
    deletion = calloc(1, sizeof(*deletion) + name_size);
    if (!deletion)
        return;
    deletion->work.run = tell_deletion;
    deletion->fs = fs;
    deletion->parent = node_slot_id(fs, &fs->tree.mboxes.node);
    deletion->child = child;
    memcpy(deletion->name, name, name_size);
    deferred_add(&fs->deferred, &deletion->work);
}

void fs_remove_box(struct fs *fs, struct box *box, struct mbox_ready *ready)
{
    char name[NAME_BYTES_MAX + 1];

    if (names_remove_mbox(&fs->names, &box->mbox, name, ready) < 0)
        return;
    room_touch(&fs->tree.mboxes);
    announce_deletion(fs, box, name);
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
    listings_deinit(&fs->listings);
    nodes_deinit(&fs->nodes);
    tree_deinit(&fs->tree);
    names_deinit(&fs->names);
    deferred_deinit(&fs->deferred);
    mbox_domain_deinit(&fs->domain);
}
