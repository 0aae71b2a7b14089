#include "ring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/kernel/backing.h"
#include "fs/mount.h"
#include "map.h"
#include "fs/mailbox/recv.h"
#include "fs/mailbox/settings.h"
#include "fs/kernel/text.h"

/* What a ring takes beside its memory: as a mailbox does, and what it shares. */
#define RING_KEPT_BYTES (BOX_KEPT_BYTES + sizeof(struct ring_mbox))

struct ring {
    struct box box;
    struct ring_mbox shared;
    struct map *map; /* map.h: the slot */
};

static struct ring *ring_of(struct box *box)
{
    return (struct ring *)((char *)box - offsetof(struct ring, box));
}

static struct ring *ring_of_file(struct file *file)
{
    return ring_of(box_of(file->mbox));
}

/* --- config, stat --- */

static int make_config(struct file *file, char **ret_text)
{
    char text[RING_MBOX_CONFIG_MAX];
    int r = ring_mbox_get_config(&ring_of_file(file)->shared, text);

    if (r < 0)
        return r;
    *ret_text = strdup(text);
    return *ret_text ? 0 : -ENOMEM;
}

static int configure(struct file *file, const char *text, size_t n, struct mbox_ready *ready)
{
    return ring_mbox_configure(&ring_of_file(file)->shared, text, n, ready);
}

static void config_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                         off_t offset, int flags)
{
    (void)offset;
    (void)flags;
    settings_write(file, req, data, size, configure);
}

int ring_get_stat(struct mbox *mbox, struct ring_mbox_stat *ret_stat)
{
    return ring_mbox_get_stat(&ring_of(box_of(mbox))->shared, ret_stat);
}

static int make_stat(struct file *file, char **ret_text)
{
    struct ring_mbox_stat stat;
    int r = ring_get_stat(file->mbox, &stat);

    if (r < 0)
        return r;
    r = asprintf(ret_text,
                 "messages=%" PRIu64 "\nsent=%" PRIu64 "\nreceived=%" PRIu64
                 "\nsenders_waiting=%" PRIu64 "\nreceivers_waiting=%" PRIu64
                 "\nproducer_pid=%d\nconsumer_pid=%d\nmap_bytes=%" PRIu64 "\n",
                 stat.n_messages, stat.head, stat.tail, stat.n_senders_waiting,
                 stat.n_receivers_waiting, (int)stat.producer, (int)stat.consumer, stat.n_bytes);
    return r < 0 ? -ENOMEM : 0;
}

static const struct text_ops config_ops = TEXT_OPS(make_config, config_write, NULL);
static const struct text_ops stat_ops = TEXT_OPS(make_stat, NULL, NULL);

/* --- The box --- */

static int admit(struct box *box, const struct caller *caller)
{
    (void)box;
    (void)caller;
    return 0;
}

/* Who found it before the ring was removed may come after: then nobody holds it any more. */
static int open_bell(struct ring *ring, struct kernel *kernel, struct file **ret_file)
{
    struct mbox *bell = mbox_try_ref(&ring->shared.bell);
    int r;

    if (!bell)
        return -ESTALE;
    r = recv_open_bell(kernel, bell, ret_file);
    mbox_unref(bell);
    return r;
}

static int open_it(struct box *box, struct kernel *kernel, enum box_file file,
                   struct file **ret_file)
{
    switch (file) {
    case BOX_CONFIG:
        return text_open(kernel, &config_ops, &box->mbox, ret_file);
    case BOX_STAT:
        return text_open(kernel, &stat_ops, &box->mbox, ret_file);
    case BOX_BELL:
        return open_bell(ring_of(box), kernel, ret_file);
    default:
        return -EPERM;
    }
}

static int lookup_map(struct box *box, struct kernel *kernel, struct node **ret_node)
{
    struct ring *ring = ring_of(box);

    return map_node(kernel, box, &ring->shared, &ring->map, ret_node);
}

static int set_owner(struct box *box, uid_t uid, gid_t gid)
{
    return ring_mbox_set_owner(&ring_of(box)->shared, uid, gid);
}

static void free_ring(struct box *box)
{
    struct ring *ring = ring_of(box);

    if (box->mbox.backend)
        ring_mbox_deinit(&ring->shared);
    box_deinit(box);
    free(ring);
}

static const struct box_kind ring_kind = {
    .files = BOX_FILES_OF_ALL | BOX_FILE(BOX_MAP) | BOX_FILE(BOX_BELL),
    .admit = admit,
    .open = open_it,
    .lookup_map = lookup_map,
    .counts_for_owner = true,
    .set_owner = set_owner,
    .free = free_ring,
};

/* Return: 0 with a directory, if the memory needs one; a negative errno. */
static int find_home(struct kernel *kernel, const struct caller *caller, struct ring_home *ret_home)
{
    *ret_home = (struct ring_home){ .dir_fd = -1, .uid = caller->uid, .gid = caller->gid };
    if (backing_works(&kernel->backing) || geteuid() != 0)
        return 0;
    ret_home->dir_fd = ring_dir_obtain(&fs_of(kernel)->ring_dir);
    return ret_home->dir_fd < 0 ? ret_home->dir_fd : 0;
}

int ring_new(struct kernel *kernel, mode_t mode, const struct caller *caller, struct box **ret_box)
{
    struct mbox_ready nobody = TAILQ_HEAD_INITIALIZER(nobody);
    struct ring_home home;
    struct ring *ring;
    int r = find_home(kernel, caller, &home);

    if (r < 0)
        return r;
    r = quota_charge_kept(kernel->quota, caller->uid, RING_KEPT_BYTES, QUOTA_MADE);
    if (r < 0)
        return r;
    ring = calloc(1, sizeof(*ring));
    if (!ring) {
        quota_release_kept(kernel->quota, caller->uid, RING_KEPT_BYTES, QUOTA_MADE);
        return -ENOMEM;
    }
    box_init(&ring->box, kernel, &ring_kind, mode, mode, caller,
             nodes_new_inos(&kernel->nodes, 1 + BOX_N_FILES));
    box_adopt_charge(&ring->box, caller->uid, RING_KEPT_BYTES);
    ring->box.files[BOX_MAP].mode = map_mode(kernel);
    r = ring_mbox_init(&ring->shared, &ring->box.mbox, &fs_of(kernel)->ring_waiters, &home);
    if (r < 0) {
        mbox_remove(&ring->box.mbox, true, &nobody);
        mbox_unref(&ring->box.mbox);
        return r;
    }
    *ret_box = &ring->box;
    return 0;
}
