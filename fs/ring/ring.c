/* A ring is a box whose messages are in memory that its users share (core/ring/ring_mbox.h). It brings its own
 * `config` and `stat`, and `map` and `bell` beside the files that all boxes have. */
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/kernel/backing.h"
#include "bell.h"
#include "fs/kernel/kernel.h"
#include "fs/mailbox/box_dir.h"
#include "fs/mailbox/box_files.h"
#include "map.h"
#include "fs/mailbox/settings.h"
#include "fs/kernel/text.h"

/* What a ring takes beside its memory: as a mailbox does, and what it shares. */
#define RING_KEPT_BYTES (BOX_KEPT_BYTES + sizeof(struct ring_mbox))

#define ALL_READ 0444
#define ALL_WRITE 0222

struct ring {
    struct box box;
    struct ring_mbox shared;
    struct rings *home;
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

static int ring_make_config(struct file *file, char **ret_text)
{
    char text[RING_CONFIG_MAX];
    int r = ring_mbox_get_config(&ring_of_file(file)->shared, text);

    if (r < 0)
        return r;
    *ret_text = strdup(text);
    return *ret_text ? 0 : -ENOMEM;
}

static int ring_configure(struct file *file, const char *text, size_t n, struct mbox_ready *ready)
{
    return ring_mbox_configure(&ring_of_file(file)->shared, text, n, ready);
}

static void ring_config_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                              off_t offset, int flags)
{
    (void)offset;
    (void)flags;
    settings_write(file, req, data, size, ring_configure);
}

int ring_get_stat(struct mbox *mbox, struct ring_mbox_stat *ret_stat)
{
    return ring_mbox_get_stat(&ring_of(box_of(mbox))->shared, ret_stat);
}

static int ring_make_stat(struct file *file, char **ret_text)
{
    struct ring_mbox_stat stat;
    char missed[48] = "";
    int r = ring_get_stat(file->mbox, &stat);

    if (r < 0)
        return r;
    if (stat.each)
        snprintf(missed, sizeof(missed), "\nmissed=%" PRIu64, stat.n_missed);
    r = asprintf(ret_text,
                 "messages=%" PRIu64 "\nsent=%" PRIu64 "\nreceived=%" PRIu64 "%s"
                 "\nsenders_waiting=%" PRIu64 "\nreceivers_waiting=%" PRIu64
                 "\nproducer_pid=%d\nconsumer_pid=%d\nmap_bytes=%" PRIu64 "\n",
                 stat.n_messages, stat.head, stat.tail, missed, stat.n_senders_waiting,
                 stat.n_receivers_waiting, (int)stat.producer, (int)stat.consumer, stat.n_bytes);
    return r < 0 ? -ENOMEM : 0;
}

static const struct text_ops ring_config_ops = TEXT_OPS(ring_make_config, ring_config_write, NULL);
static const struct text_ops ring_stat_ops = TEXT_OPS(ring_make_stat, NULL, NULL);

/* --- The box --- */

static int admit(struct box *box, const struct caller *caller)
{
    (void)box;
    (void)caller;
    return 0;
}

/* Who found it before the ring was removed may come after: then nobody holds it any more. */
static int open_bell(struct node *node, struct box *box, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    struct mbox *bell = mbox_try_ref(&ring_of(box)->shared.bell);
    int r;

    (void)flags;
    (void)caller;
    if (!bell)
        return -ESTALE;
    r = bell_open(node->kernel, bell, ret_file);
    mbox_unref(bell);
    return r;
}

static int ring_open_config(struct node *node, struct box *box, int flags,
                            const struct caller *caller, struct file **ret_file)
{
    (void)flags;
    (void)caller;
    return text_open(node->kernel, &ring_config_ops, &box->mbox, ret_file);
}

static int ring_open_stat(struct node *node, struct box *box, int flags,
                          const struct caller *caller, struct file **ret_file)
{
    (void)caller;
    if (!file_is_for(flags, O_RDONLY))
        return -EACCES;
    return text_open(node->kernel, &ring_stat_ops, &box->mbox, ret_file);
}

static bool ring_always(struct box *box, const struct caller *caller)
{
    (void)box;
    (void)caller;
    return true;
}

static int lookup_map(struct box *box, struct node **ret_node);

#define FILE_MAP 2

static const struct box_file ring_files[] = {
    { .name = "config",
      .mode = S_IFREG | 0644,
      .shows = BOX_SHOWS_TEXT,
      .ops = BOX_FILE_OPS,
      .open = ring_open_config },
    { .name = "stat",
      .mode = S_IFREG | 0444,
      .shows = BOX_SHOWS_TEXT,
      .ops = BOX_FILE_OPS,
      .open = ring_open_stat },
    [FILE_MAP] = { .name = "map", .mode = S_IFREG | 0600, .lookup = lookup_map },
    { .name = "bell",
      .mode = S_IFREG | 0600,
      .searchers = ALL_READ | ALL_WRITE,
      .is_fresh = ring_always,
      .ops = BOX_FILE_OPS,
      .open = open_bell },
};

static int lookup_map(struct box *box, struct node **ret_node)
{
    struct ring *ring = ring_of(box);
    const struct map_of of = {
        .box = box,
        .file = &ring_files[FILE_MAP],
        .ring = &ring->shared,
        .dir = &ring->home->dir,
        .slot = &ring->map,
    };

    return map_node(&of, ret_node);
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
    box_free(box);
}

static const struct box_kind ring_kind = {
    .size = sizeof(struct ring),
    .files = &box_files,
    .classes = BOX_ANY,
    .own = { ring_files, sizeof(ring_files) / sizeof(ring_files[0]) },
    .admit = admit,
    .counts_for_owner = true,
    .set_owner = set_owner,
    .free = free_ring,
};

/* Return: 0 with a directory, if the memory needs one; a negative errno. */
static int find_home(struct rings *rings, const struct caller *caller, struct ring_home *ret_home)
{
    *ret_home = (struct ring_home){ .dir_fd = -1, .uid = caller->uid, .gid = caller->gid };
    if (backing_works(&rings->mboxes.boxes->kernel->backing) || geteuid() != 0)
        return 0;
    ret_home->dir_fd = ring_dir_obtain(&rings->dir);
    return ret_home->dir_fd < 0 ? ret_home->dir_fd : 0;
}

/* Return: 0 with a ring without memory, charged to @caller; -EDQUOT; -ENOSPC; -ENOMEM. */
static int new_ring(struct rings *rings, mode_t mode, const struct caller *caller,
                    struct ring **ret_ring)
{
    struct kernel *kernel = rings->mboxes.boxes->kernel;
    int r = quota_charge_kept(kernel->quota, caller->uid, RING_KEPT_BYTES, QUOTA_MADE);
    struct box *box;

    if (r < 0)
        return r;
    box = box_new(rings->mboxes.boxes, &ring_kind, mode, mode, caller, 0);
    if (!box) {
        quota_release_kept(kernel->quota, caller->uid, RING_KEPT_BYTES, QUOTA_MADE);
        return -ENOMEM;
    }
    box_adopt_charge(box, caller->uid, RING_KEPT_BYTES);
    box_file_kept(box, &ring_files[FILE_MAP])->mode = map_mode(&kernel->backing);
    *ret_ring = ring_of(box);
    (*ret_ring)->home = rings;
    return 0;
}

/* For struct mboxes. */
static int ring_make(struct mboxes *mboxes, mode_t mode, const struct caller *caller,
                     struct box **ret_box)
{
    struct rings *rings = (struct rings *)mboxes;
    struct mbox_ready nobody = TAILQ_HEAD_INITIALIZER(nobody);
    struct ring_home home;
    struct ring *ring;
    int r = find_home(rings, caller, &home);

    if (r == 0)
        r = new_ring(rings, mode, caller, &ring);
    if (r < 0)
        return r;
    r = ring_mbox_init(&ring->shared, &ring->box.mbox, &rings->waiters, &home);
    if (r < 0) {
        mbox_remove(&ring->box.mbox, true, &nobody);
        mbox_unref(&ring->box.mbox);
        return r;
    }
    *ret_box = &ring->box;
    return 0;
}

void rings_init(struct rings *rings, struct boxes *boxes, mode_t mode, const struct caller *owner)
{
    mboxes_init(&rings->mboxes, boxes, mode, owner, ring_make);
    ring_waiters_init(&rings->waiters, 0);
    ring_dir_init(&rings->dir);
}

void rings_stop(struct rings *rings)
{
    ring_waiters_deinit(&rings->waiters);
}

void rings_deinit(struct rings *rings)
{
    mboxes_deinit(&rings->mboxes);
    ring_dir_deinit(&rings->dir);
}
