/* A topic has the files that send of a mailbox, and files of its own that receive: to open one of these is to
 * subscribe. What it is to be told, its core says (core/mailbox/topic.h). */
#include "topic.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/mailbox/mbox_keep.h"
#include "fs/kernel/kernel.h"
#include "fs/kernel/text.h"
#include "fs/mailbox/box_dir.h"
#include "fs/mailbox/box_files.h"
#include "fs/mailbox/mailbox.h"
#include "fs/mailbox/recv.h"
#include "fs/mailbox/settings.h"
#include "fs/mailbox/stream.h"
#include "fs/mailbox/timestamp.h"
#include "listener.h"
#include "subscription.h"
#include "topic_box.h"

#define TOPIC_KEPT_BYTES (BOX_KEPT_BYTES + sizeof(struct topic_box) - sizeof(struct box))

#define ALL_READ 0444
#define ALL_WRITE 0222
#define ALL_SEARCH 0111

static struct topic *topic_of_file(struct file *file)
{
    return &topic_box_of(box_of(file->mbox))->topic;
}

/* --- config, stat --- */

static int make_config(struct file *file, char **ret_text)
{
    char text[TOPIC_CONFIG_TEXT_MAX];
    int r = topic_get_config(topic_of_file(file), text);

    if (r < 0)
        return r;
    *ret_text = strdup(text);
    return *ret_text ? 0 : -ENOMEM;
}

static int configure(struct file *file, const char *text, size_t n, struct mbox_ready *ready)
{
    return topic_configure(topic_of_file(file), text, n, ready);
}

static void config_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                         off_t offset, int flags)
{
    (void)offset;
    (void)flags;
    settings_write(file, req, data, size, configure);
}

int topic_box_get_stat(struct mbox *mbox, struct topic_stat *ret_stat)
{
    return topic_get_stat(&topic_box_of(box_of(mbox))->topic, ret_stat);
}

static int make_stat(struct file *file, char **ret_text)
{
    char last[TIMESTAMP_MAX];
    struct topic_stat stat;
    int r = topic_box_get_stat(file->mbox, &stat);

    if (r < 0)
        return r;
    timestamp_format(&stat.last_publication, last);
    r = asprintf(ret_text,
                 "published=%" PRIu64 "\nsubscriptions=%" PRIu64 "\ndelivered=%" PRIu64
                 "\ndropped=%" PRIu64 "\nsenders_waiting=%" PRIu64 "\nlast_send=%s\n",
                 stat.n_published, stat.n_subscriptions, stat.n_delivered, stat.n_dropped,
                 stat.n_senders_waiting, last);
    return r < 0 ? -ENOMEM : 0;
}

static const struct text_ops topic_config_ops = TEXT_OPS(make_config, config_write, NULL);
static const struct text_ops topic_stat_ops = TEXT_OPS(make_stat, NULL, NULL);

/* --- Its files --- */

static int open_config(struct node *node, struct box *box, int flags, const struct caller *caller,
                       struct file **ret_file)
{
    (void)flags;
    (void)caller;
    return text_open(node->kernel, &topic_config_ops, &box->mbox, ret_file);
}

static int open_stat(struct node *node, struct box *box, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    (void)caller;
    if (!file_is_for(flags, O_RDONLY))
        return -EACCES;
    return text_open(node->kernel, &topic_stat_ops, &box->mbox, ret_file);
}

static int subscribe(struct box *box, int flags, const struct caller *caller,
                     listener_open_file *open_file, struct file **ret_file)
{
    int r = -EACCES;

    if (file_is_for(flags, O_RDONLY))
        r = listener_open(topic_box_of(box), caller, open_file, ret_file);
    return r == -EIDRM ? -ENOENT : r;
}

static int topic_open_recv(struct node *node, struct box *box, int flags,
                           const struct caller *caller, struct file **ret_file)
{
    (void)node;
    return subscribe(box, flags, caller, recv_open, ret_file);
}

static int topic_open_recv_lines(struct node *node, struct box *box, int flags,
                                 const struct caller *caller, struct file **ret_file)
{
    (void)node;
    return subscribe(box, flags, caller, stream_open_lines, ret_file);
}

static int topic_open_recv_json(struct node *node, struct box *box, int flags,
                                const struct caller *caller, struct file **ret_file)
{
    (void)node;
    return subscribe(box, flags, caller, stream_open_json, ret_file);
}

static void sub_getattr(struct node *node, struct stat *ret_attr)
{
    box_auto *box = box_pass(node->object);

    box_file_getattr(node, ret_attr);
    if (box)
        ret_attr->st_nlink += names_count(&topic_box_of(box)->subscriptions);
}

static int sub_lookup(struct node *dir, const char *name, struct node **ret_node)
{
    box_auto *box = box_pass(dir->object);
    int r = box ? box_check(box) : -ESTALE;

    return r < 0 ? r : mboxes_lookup_in(&topic_box_of(box)->subscriptions, name, ret_node);
}

static int sub_list(struct node *dir, struct listing *listing)
{
    box_auto *box = box_pass(dir->object);

    return box ? mboxes_list_in(&topic_box_of(box)->subscriptions, listing) : 0;
}

/* An entry came, went or changed its name. */
static void sub_touch(struct box *box)
{
    pthread_mutex_lock(&box->lock);
    attr_touch(box_file_kept(box, topic_box_of(box)->sub));
    pthread_mutex_unlock(&box->lock);
}

static void sub_hand_down(struct box *box, struct caller *owner, mode_t *mode)
{
    pthread_mutex_lock(&box->lock);
    attr_hand_down(box_file_kept(box, topic_box_of(box)->sub), owner, mode);
    pthread_mutex_unlock(&box->lock);
}

static int sub_mkdir(struct node *dir, const char *name, mode_t mode, const struct caller *caller,
                     struct node **ret_node)
{
    box_auto *box = box_pass(dir->object);
    struct caller owner = *caller;
    struct box *made;
    int r;

    if (!box)
        return -ENOENT;
    mode |= S_IFDIR;
    sub_hand_down(box, &owner, &mode);
    r = subscription_make(topic_box_of(box), mode, &owner, &made);
    if (r == 0)
        r = mboxes_enter_in(&topic_box_of(box)->subscriptions, name, made, ret_node);
    if (r == 0)
        sub_touch(box);
    mbox_flush(box->boxes->domain);
    return r == -EIDRM ? -ENOENT : r;
}

static int sub_rmdir(struct node *dir, const char *name, struct mbox_ready *ready)
{
    box_auto *box = box_pass(dir->object);
    int r = box ? names_remove(&topic_box_of(box)->subscriptions, name, ready) : -ENOENT;

    if (r == 0)
        sub_touch(box);
    return r;
}

static int sub_rename(struct node *dir, const char *name, struct node *to_dir, const char *to_name,
                      enum names_rename how, const struct caller *caller, struct mbox_ready *ready)
{
    box_auto *box = box_pass(dir->object);
    int r;

    (void)caller;
    if (to_dir->ops != dir->ops || to_dir->object != dir->object)
        return -EPERM;
    if (!box)
        return -ENOENT;
    r = names_rename(&topic_box_of(box)->subscriptions, name, to_name, how, ready);
    if (r == 0)
        sub_touch(box);
    mboxes_note_rename(box->boxes->domain, ready);
    return r;
}

#define OWN_RECEIVER(its_name, its_open)                                                           \
    {                                                                                              \
        .name = its_name, .mode = S_IFREG, .ops = BOX_FILE_OPS, .open = its_open                   \
    }

enum own_file {
    OWN_RECV,
    OWN_RECV_LINES,
    OWN_RECV_JSON,
    OWN_SUB,
    OWN_CONFIG,
    OWN_STAT,
    N_OWN_FILES,
};

static const struct box_file topic_files[N_OWN_FILES] = {
    [OWN_RECV] = OWN_RECEIVER("recv", topic_open_recv),
    [OWN_RECV_LINES] = OWN_RECEIVER("recv.lines", topic_open_recv_lines),
    [OWN_RECV_JSON] = OWN_RECEIVER("recv.json", topic_open_recv_json),
    [OWN_SUB] = { .name = "sub",
                  .mode = S_IFDIR | S_ISVTX,
                  .ops = { .getattr = sub_getattr,
                           .setattr = box_file_setattr,
                           .release = box_file_release,
                           .lookup = sub_lookup,
                           .list = sub_list,
                           .mkdir = sub_mkdir,
                           .rmdir = sub_rmdir,
                           .rename = sub_rename } },
    [OWN_CONFIG] = { .name = "config",
                     .mode = S_IFREG | 0644,
                     .shows = BOX_SHOWS_TEXT,
                     .ops = BOX_FILE_OPS,
                     .open = open_config },
    [OWN_STAT] = { .name = "stat",
                   .mode = S_IFREG | 0444,
                   .shows = BOX_SHOWS_TEXT,
                   .ops = BOX_FILE_OPS,
                   .open = open_stat },
};

/* --- The box --- */

/* Return: the search bit of each class that has @bits, of 0777 all alike, and may search too. */
static mode_t searchers_with(mode_t mode, mode_t bits)
{
    mode_t having = mode & bits;

    return (having | having >> 1 | having >> 2) & mode & ALL_SEARCH;
}

/* Return: those bits of file @i that follow from the mode of the directory. */
static mode_t bits_that_follow(struct box *box, unsigned int i, mode_t mode)
{
    const struct box_file *file = box_file_at(box->kind, i);

    if (!file)
        return 0;
    if (file >= &topic_files[OWN_RECV] && file <= &topic_files[OWN_RECV_JSON])
        return box_bits_for_searchers(searchers_with(mode, ALL_READ), ALL_READ);
    if (file == &topic_files[OWN_SUB])
        return box_bits_for_searchers(searchers_with(mode, ALL_READ), 0777);
    return box_bits_for_searchers(searchers_with(mode, ALL_WRITE), file->searchers);
}

/* What was changed on a file itself stays, unless it is what changes now. */
static void topic_follow_mode(struct box *box, mode_t before)
{
    for (unsigned int i = 0; i < box_n_files(box->kind); i++) {
        mode_t had = bits_that_follow(box, i, before);
        mode_t has = bits_that_follow(box, i, box->dir.mode);

        if (had != has)
            box->files[i].mode = (box->files[i].mode & ~(had & ~has)) | (has & ~had);
    }
}

static int topic_admit(struct box *box, const struct caller *caller)
{
    (void)box;
    (void)caller;
    return 0;
}

static int topic_set_owner(struct box *box, uid_t uid, gid_t gid)
{
    (void)gid;
    topic_set_uid(&topic_box_of(box)->topic, uid);
    return 0;
}

static void free_topic(struct box *box)
{
    topic_deinit(&topic_box_of(box)->topic);
    names_deinit(&topic_box_of(box)->subscriptions);
    box_free(box);
}

static const struct box_kind topic_kind = {
    .size = sizeof(struct topic_box),
    .files = &box_files,
    .classes = BOX_SENT_TO | BOX_POSTED,
    .own = { topic_files, N_OWN_FILES },
    .admit = topic_admit,
    .counts_for_owner = true,
    .set_owner = topic_set_owner,
    .follow_mode = topic_follow_mode,
    .free = free_topic,
};

/* Makes one whose charge is the caller's to see to. Return: 0; -ENOMEM. */
static int topic_make_for(struct mboxes *mboxes, mode_t mode, const struct caller *owner,
                          struct box **ret_box)
{
    struct box *box = box_new(mboxes->boxes, &topic_kind, mode, 0, owner, 0);
    int r;

    if (!box)
        return -ENOMEM;
    topic_follow_mode(box, 0);
    topic_init(&topic_box_of(box)->topic, &box->mbox, owner->uid);
    topic_box_of(box)->home = &mboxes->names;
    names_init(&topic_box_of(box)->subscriptions);
    topic_box_of(box)->sub = &topic_files[OWN_SUB];
    r = box_keep(box, JOURNAL_TOPIC, NULL);
    if (r < 0)
        return r;
    *ret_box = box;
    return 0;
}

int topic_make(struct mboxes *mboxes, mode_t mode, const struct caller *caller,
               struct box **ret_box)
{
    struct quota *quota = mboxes->boxes->kernel->quota;
    int r = quota_charge_kept(quota, caller->uid, TOPIC_KEPT_BYTES, QUOTA_MADE);

    if (r < 0)
        return r;
    r = topic_make_for(mboxes, mode, caller, ret_box);
    if (r < 0)
        quota_release_kept(quota, caller->uid, TOPIC_KEPT_BYTES, QUOTA_MADE);
    else
        box_adopt_charge(*ret_box, caller->uid, TOPIC_KEPT_BYTES);
    return r;
}

static int configure_as_found(struct mbox *mbox, const char *text, size_t n)
{
    struct mbox_ready nobody = TAILQ_HEAD_INITIALIZER(nobody);

    return topic_configure(&topic_box_of(box_of(mbox))->topic, text, n, &nobody);
}

int topic_restore(struct mboxes *mboxes, const struct store_found *found, struct mbox **ret_mbox)
{
    struct caller owner;
    struct box *box;
    mode_t mode;
    int r;

    mailbox_found_owner(found, &owner, &mode);
    r = topic_make_for(mboxes, mode, &owner, &box);
    if (r == 0)
        r = mailbox_adopt_found(&mboxes->names, box, found, TOPIC_KEPT_BYTES, configure_as_found);
    if (r == 0)
        *ret_mbox = &box->mbox;
    return r;
}

int topic_restore_subscription(const struct store_found *found, struct mbox **ret_mbox)
{
    struct box *topic = found->parent ? box_of(found->parent) : NULL;

    if (!topic || topic->kind != &topic_kind)
        return -EUCLEAN;
    return subscription_restore(topic_box_of(topic), found, ret_mbox);
}

static int end_subscriptions(const char *name, struct mbox *mbox, void *ready)
{
    (void)name;
    names_remove_all(&topic_box_of(box_of(mbox))->subscriptions, ready);
    return 0;
}

void topics_end_all(struct mboxes *mboxes, struct mbox_ready *ready)
{
    names_each(&mboxes->names, end_subscriptions, ready);
    names_remove_all(&mboxes->names, ready);
}
