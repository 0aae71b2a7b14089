/* The files of mailboxes: a new one is a line in this table.
 *
 * A line says the file's name, its mode, which boxes have it, what stat shows of it, and who opens it; what
 * an open file does is in the file that is called after it. Rings and processes bring files of their own
 * beside these (fs/ring/ring.c, fs/proc/procs.c). Inode numbers follow the order of the table. */
#include "box_files.h"

#include <errno.h>
#include <fcntl.h>

#include "box_dir.h"
#include "call.h"
#include "drop.h"
#include "drop_create.h"
#include "lines.h"
#include "owner.h"
#include "queue.h"
#include "recv.h"
#include "reply.h"
#include "send.h"
#include "settings.h"
#include "stream.h"
#include "work.h"

#define ALL_READ 0444
#define ALL_WRITE 0222
#define ALL_SEARCH 0111

static int open_send(struct node *node, struct box *box, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    (void)caller;
    if (!file_is_for(flags, O_WRONLY))
        return -EACCES;
    return send_open(node->kernel, &box->mbox, node->prio, ret_file);
}

static int open_send_lines(struct node *node, struct box *box, int flags,
                           const struct caller *caller, struct file **ret_file)
{
    if (!file_is_for(flags, O_WRONLY))
        return -EACCES;
    return lines_open(node->kernel, &box->mbox, box_file_kept(box, box_file_of(node))->ino, caller,
                      ret_file);
}

static int open_send_json(struct node *node, struct box *box, int flags,
                          const struct caller *caller, struct file **ret_file)
{
    if (!file_is_for(flags, O_WRONLY))
        return -EACCES;
    return lines_open_json(node->kernel, &box->mbox, box_file_kept(box, box_file_of(node))->ino,
                           caller, ret_file);
}

/* Return: 0: @caller may receive with @flags; -EACCES; or as box_admit. */
static int check_receive(struct box *box, int flags, const struct caller *caller)
{
    if (!file_is_for(flags, O_RDONLY))
        return -EACCES;
    return box_admit(box, caller);
}

static int box_open_recv(struct node *node, struct box *box, int flags, const struct caller *caller,
                         struct file **ret_file)
{
    int r = check_receive(box, flags, caller);

    return r < 0 ? r : recv_open(node->kernel, &box->mbox, ret_file);
}

static int box_open_recv_lines(struct node *node, struct box *box, int flags,
                               const struct caller *caller, struct file **ret_file)
{
    int r = check_receive(box, flags, caller);

    return r < 0 ? r : stream_open_lines(node->kernel, &box->mbox, ret_file);
}

static int box_open_recv_json(struct node *node, struct box *box, int flags,
                              const struct caller *caller, struct file **ret_file)
{
    int r = check_receive(box, flags, caller);

    return r < 0 ? r : stream_open_json(node->kernel, &box->mbox, ret_file);
}

static int open_call(struct node *node, struct box *box, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    if (!file_is_for(flags, O_RDWR))
        return -EACCES;
    return call_open(node->kernel, &box->mbox, caller->uid, ret_file);
}

static int open_work(struct node *node, struct box *box, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    int r;

    if (!file_is_for(flags, O_RDWR))
        return -EACCES;
    r = box_admit(box, caller);
    if (r < 0)
        return r;
    return node->prio ? stream_open_work(node->kernel, &box->mbox, ret_file)
                      : work_open(node, box, ret_file);
}

static int open_owner(struct node *node, struct box *box, int flags, const struct caller *caller,
                      struct file **ret_file)
{
    if (file_is_for(flags, O_RDONLY))
        return owner_open(node->kernel, &box->mbox, ret_file);
    return owner_claim(box, caller, ret_file);
}

static int files_open_config(struct node *node, struct box *box, int flags,
                             const struct caller *caller, struct file **ret_file)
{
    (void)flags;
    (void)caller;
    return config_open(node->kernel, &box->mbox, ret_file);
}

static int files_open_stat(struct node *node, struct box *box, int flags,
                           const struct caller *caller, struct file **ret_file)
{
    (void)caller;
    if (!file_is_for(flags, O_RDONLY))
        return -EACCES;
    return stat_open(node->kernel, &box->mbox, ret_file);
}

static bool files_always(struct box *box, const struct caller *caller)
{
    (void)box;
    (void)caller;
    return true;
}

static const struct box_file list[] = {
    { .name = "send",
      .mode = S_IFREG,
      .searchers = ALL_WRITE,
      .classes = BOX_SENT_TO,
      .shows = BOX_SHOWS_SENDING,
      .has_prios = true,
      .is_fresh = files_always,
      .ops = BOX_FILE_OPS,
      .open = open_send },
    { .name = "send.lines",
      .mode = S_IFREG,
      .searchers = ALL_WRITE,
      .classes = BOX_SENT_TO,
      .shows = BOX_SHOWS_SENDING,
      .is_fresh = files_always,
      .ops = BOX_FILE_OPS,
      .open = open_send_lines },
    { .name = "send.json",
      .mode = S_IFREG,
      .searchers = ALL_WRITE,
      .classes = BOX_POSTED,
      .shows = BOX_SHOWS_SENDING,
      .is_fresh = files_always,
      .ops = BOX_FILE_OPS,
      .open = open_send_json },
    { .name = "recv",
      .mode = S_IFREG | 0400,
      .classes = BOX_RECEIVED_FROM,
      .shows = BOX_SHOWS_RECEIVING,
      .ops = BOX_FILE_OPS,
      .open = box_open_recv },
    { .name = "recv.lines",
      .mode = S_IFREG | 0400,
      .classes = BOX_RECEIVED_FROM,
      .shows = BOX_SHOWS_RECEIVING,
      .ops = BOX_FILE_OPS,
      .open = box_open_recv_lines },
    { .name = "recv.json",
      .mode = S_IFREG | 0400,
      .classes = BOX_QUEUES,
      .shows = BOX_SHOWS_RECEIVING,
      .ops = BOX_FILE_OPS,
      .open = box_open_recv_json },
    { .name = "call",
      .mode = S_IFREG,
      .searchers = ALL_READ | ALL_WRITE,
      .classes = BOX_CALLED,
      .shows = BOX_SHOWS_SENDING,
      .is_fresh = files_always,
      .ops = BOX_FILE_OPS,
      .open = open_call },
    { .name = "reply",
      .mode = S_IFDIR | 0700,
      .classes = BOX_CALLED,
      .is_searched = true,
      .ops = { BOX_FILE_COMMON_OPS, .lasts_a_moment = true, .lookup = reply_lookup,
               .opendir = reply_opendir, .list_part = reply_list, .create = reply_create } },
    { .name = "work",
      .mode = S_IFREG | 0600,
      .classes = BOX_QUEUES,
      .shows = BOX_SHOWS_RECEIVING,
      .second_name = "work.json",
      .is_fresh = files_always,
      .ops = { BOX_FILE_COMMON_OPS, .open = box_file_open, .xattr_get = work_xattr_get,
               .xattr_list = work_xattr_list },
      .open = open_work },
    { .name = "drop",
      .mode = S_IFDIR,
      .searchers = ALL_WRITE | ALL_SEARCH,
      .classes = BOX_POSTED,
      .is_fresh = drop_needs_own_dir,
      .ops = { BOX_FILE_COMMON_OPS, .lookup_for = drop_lookup, .create = drop_create,
               .rename = drop_rename, .unlink = drop_unlink } },
    { .name = "queue",
      .mode = S_IFDIR | 0700,
      .classes = BOX_QUEUES,
      .is_searched = true,
      .ops = { BOX_FILE_COMMON_OPS, .lookup = queue_lookup, .opendir = queue_opendir,
               .list_part = queue_list, .unlink_for = queue_unlink, .rename_for = queue_rename } },
    { .name = "owner",
      .mode = S_IFREG | 0644,
      .classes = BOX_OWNED,
      .ops = BOX_FILE_OPS,
      .open = open_owner },
    { .name = "config",
      .mode = S_IFREG | 0644,
      .classes = BOX_QUEUES,
      .shows = BOX_SHOWS_TEXT,
      .ops = BOX_FILE_OPS,
      .open = files_open_config },
    { .name = "stat",
      .mode = S_IFREG | 0444,
      .classes = BOX_QUEUES,
      .shows = BOX_SHOWS_TEXT,
      .ops = BOX_FILE_OPS,
      .open = files_open_stat },
};

const struct box_files box_files = { list, sizeof(list) / sizeof(list[0]) };
