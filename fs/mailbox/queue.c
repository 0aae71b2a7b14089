/* A message's file has a node that knows what stat and getfattr tell, but does not hold the message:
 * the kernel may remember nodes long after their messages are gone. An open file does hold it. */
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "box.h"
#include "box_listing.h"
#include "core/mailbox/mbox_cursor.h"
#include "fs/kernel/kernel.h"
#include "fs/kernel/listing.h"
#include "fs/kernel/parked.h"
#include "ids.h"
#include "message_xattr.h"

static uint64_t ino_of(uint64_t id)
{
    return NODE_INO_MESSAGES + (id & ((UINT64_C(1) << NODE_INO_MESSAGE_BITS) - 1));
}

struct entry {
    struct door *door; /* of its mailbox; it counts as a node */
    uint64_t id;
    unsigned int prio;
    struct msg_sender sender;
    struct attr attr;
    size_t size_bytes;
    bool is_call;
};

static void entry_getattr(struct node *node, struct stat *ret_attr)
{
    const struct entry *entry = node->object;

    attr_get(&entry->attr, ret_attr);
    ret_attr->st_size = (off_t)entry->size_bytes;
    ret_attr->st_blocks = (blkcnt_t)((entry->size_bytes + 511) / 512);
}

static void entry_release(struct node *node)
{
    struct entry *entry = node->object;

    door_remove_node(entry->door);
    free(entry);
}

struct message_file {
    struct file file;
    struct msg *msg; /* a reference */
};

static void message_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    /* The answer can bring the file's release before it returns. */
    struct msg *msg = msg_ref(((struct message_file *)file)->msg);
    size_t start = (size_t)offset < msg->size_bytes ? (size_t)offset : msg->size_bytes;
    size_t left = msg->size_bytes - start;

    (void)flags;
    fuse_reply_buf(req, (const char *)msg->data + start, size < left ? size : left);
    msg_unref(msg);
}

static void message_close(struct file *file)
{
    struct msg *msg = ((struct message_file *)file)->msg;

    if (msg)
        msg_let_go(msg);
}

/* A message never changes, so the kernel may keep what it has read. */
static const struct file_ops message_ops = {
    .open_flags = FOPEN_KEEP_CACHE | FOPEN_NOFLUSH,
    .read = message_read,
    .close = message_close,
    .size = sizeof(struct message_file),
};

static int entry_open(struct node *node, int flags, const struct caller *caller,
                      struct file **ret_file)
{
    const struct entry *entry = node->object;
    box_auto *box = box_pass(entry->door);
    struct msg *msg;
    int r;

    if (!file_is_for(flags, O_RDONLY))
        return -EACCES;
    r = box ? box_admit(box, caller) : -ENOENT;
    if (r < 0)
        return r;
    msg = mbox_hold(&box->mbox, entry->id, caller->uid);
    if (!msg)
        return -ENOENT;
    r = file_new(&node->kernel->files, &message_ops, &box->mbox, ret_file);
    if (r < 0)
        msg_let_go(msg);
    else
        ((struct message_file *)*ret_file)->msg = msg;
    return r;
}

/* What is asked of a message while it waits: its node does not hold it. */
struct asked {
    const char *name;
    char **ret_value;
    size_t *ret_size;
    int result;
};

static void answer_value(const struct mbox_entry *entry, void *arg)
{
    struct asked *question = arg;

    question->result = message_xattr_get(entry, question->name, question->ret_value,
                                         question->ret_size);
}

static void answer_names(const struct mbox_entry *entry, void *arg)
{
    struct asked *question = arg;

    question->result = message_xattr_list(entry, MESSAGE_XATTRS_OF_QUEUE, question->ret_value,
                                          question->ret_size);
}

/* Return: whether the message waits, and has been asked. */
static bool ask(const struct entry *entry, struct asked *question,
                void (*answer)(const struct mbox_entry *entry, void *arg))
{
    box_auto *box = box_pass(entry->door);

    return box && mbox_visit(&box->mbox, entry->id, answer, question) == 0;
}

/* Return: what the node knows of the message, which is gone: who sent it. */
static struct msg remembered_msg(const struct entry *entry)
{
    return (struct msg){ .prio = entry->prio, .sender = entry->sender, .is_call = entry->is_call };
}

static int get_from_node(const struct entry *entry, const char *name, char **ret_value,
                         size_t *ret_size)
{
    struct msg msg = remembered_msg(entry);
    const struct mbox_entry remembered = { .msg = &msg };

    return message_xattr_is_sender(name) ? message_xattr_get(&remembered, name, ret_value, ret_size)
                                         : -ENODATA;
}

static int entry_xattr_get(struct node *node, const char *name, char **ret_value, size_t *ret_size)
{
    struct asked question = { name, ret_value, ret_size, 0 };

    if (ask(node->object, &question, answer_value))
        return question.result;
    return get_from_node(node->object, name, ret_value, ret_size);
}

static int entry_xattr_list(struct node *node, char **ret_names, size_t *ret_size)
{
    struct asked question = { NULL, ret_names, ret_size, 0 };
    struct msg msg;
    const struct mbox_entry remembered = { .msg = &msg };

    if (ask(node->object, &question, answer_names))
        return question.result;
    msg = remembered_msg(node->object);
    return message_xattr_list(&remembered, MESSAGE_XATTRS_OF_QUEUE, ret_names, ret_size);
}

static const struct node_ops entry_ops = {
    .getattr = entry_getattr,
    .release = entry_release,
    .open = entry_open,
    .xattr_get = entry_xattr_get,
    .xattr_list = entry_xattr_list,
};

static struct entry *queue_new_entry(struct box *box, const struct box_file *dir,
                                     const struct msg *msg)
{
    struct entry *entry = malloc(sizeof(*entry));
    struct door *door;
    struct stat queue;

    if (!entry || box_add_node(box, &door) < 0) {
        free(entry);
        return NULL;
    }
    box_file_attr(box, dir, &queue);
    *entry = (struct entry){
        .door = door,
        .id = msg->id,
        .prio = msg->prio,
        .sender = msg->sender,
        .size_bytes = msg->size_bytes,
        .is_call = msg->is_call,
    };
    attr_init(&entry->attr, ino_of(msg->id), S_IFREG | 0400, queue.st_uid, queue.st_gid);
    entry->attr.atime = entry->attr.mtime = entry->attr.ctime = msg->arrived;
    return entry;
}

int queue_lookup(struct node *dir, const char *name, struct node **ret_node)
{
    box_auto *box = box_pass(dir->object);
    struct entry *entry;
    struct msg *msg;
    uint64_t id;
    int r = box ? box_check(box) : -ESTALE;

    if (r < 0)
        return r;
    if (!id_parse(name, &id))
        return -ENOENT;
    msg = mbox_find(&box->mbox, id);
    if (!msg)
        return -ENOENT;
    r = -ENOMEM;
    entry = queue_new_entry(box, box_file_of(dir), msg);
    msg_unref(msg);
    if (entry)
        r = node_obtain(&dir->kernel->nodes, &entry_ops, entry, NULL, ret_node);
    if (r < 0 && entry) {
        door_remove_node(entry->door);
        free(entry);
    }
    return r;
}

int queue_opendir(struct node *dir, const struct caller *caller)
{
    box_auto *box = box_pass(dir->object);

    return box ? box_admit(box, caller) : -ENOENT;
}

/* So many are told at once at most. */
#define LISTED_MAX 256

/* How far into a queue one request goes who does not go on where it was. */
#define SKIPPED_MAX 65536

/* An open directory's place in the queue. The offset of a message, as the kernel has it, is how many entries
 * there were up to it. */
struct place {
    struct box_listing listing;
    struct mbox_cursor cursor;
    uint64_t offset;           /* of the last entry before the cursor */
    size_t n_told;             /* messages from there on, the last time */
    uint64_t keys[LISTED_MAX]; /* theirs */
};

static void place_free(struct listing_part *part)
{
    struct place *place = (struct place *)part;

    mbox_cursor_end(place->listing.mbox, &place->cursor);
    box_listing_free(&place->listing);
}

/* Goes behind entry @after. Return: 0; -EINVAL: that is too far from where it was. */
static int go_to(struct place *place, uint64_t after)
{
    if (after > place->offset && after <= place->offset + place->n_told) {
        mbox_cursor_pass(place->listing.mbox, &place->cursor,
                         place->keys[after - place->offset - 1]);
    } else if (after != place->offset || after <= OFFSET_PARENT) {
        if (after > SKIPPED_MAX)
            return -EINVAL;
        mbox_cursor_rewind(place->listing.mbox, &place->cursor);
        if (after > OFFSET_PARENT)
            mbox_cursor_skip(place->listing.mbox, &place->cursor, after - OFFSET_PARENT);
    }
    place->offset = after > OFFSET_PARENT ? after : OFFSET_PARENT;
    place->n_told = 0;
    return 0;
}

static void tell_messages(struct place *place, const struct node_listing *to)
{
    struct mbox_place messages[LISTED_MAX];
    char name[ID_DIGITS + 1];
    size_t n = mbox_cursor_look(place->listing.mbox, &place->cursor, messages, LISTED_MAX);

    for (size_t i = 0; i < n; i++) {
        id_format(messages[i].id, name);
        if (!to->add(to->arg, name, ino_of(messages[i].id), S_IFREG, place->offset + i + 1))
            break;
        place->keys[i] = messages[i].key;
        place->n_told++;
    }
}

int queue_list(struct node *dir, struct listing *listing, uint64_t after,
               const struct node_listing *to)
{
    box_auto *box = box_pass(dir->object);
    struct box_listing *kept;
    struct place *place;
    int r;

    if (after < OFFSET_SELF && !to->add(to->arg, ".", dir->id, S_IFDIR, OFFSET_SELF))
        return 0;
    if (after < OFFSET_PARENT && !to->add(to->arg, "..", NODE_ROOT_ID, S_IFDIR, OFFSET_PARENT))
        return 0;
    /* A removed mailbox has no messages. */
    if (!box)
        return 0;
    r = box_listing_of(listing, &box->mbox, sizeof(*place), place_free, &kept);
    if (r < 0)
        return r;
    place = (struct place *)kept;
    r = go_to(place, after);
    if (r == 0)
        tell_messages(place, to);
    return r;
}

/* A removed mailbox has no messages. */
static int as_missing(int result)
{
    return result == -EIDRM ? -ENOENT : result;
}

/* Return: as mbox_pick; -ENOMEM. */
static int queue_remove_message(struct box *box, struct fuse_req *req, uint64_t id,
                                struct mbox_ready *ready)
{
    struct parked *parked = parked_new_for(&box->mbox, req, &box->boxes->kernel->deferred);
    int r;

    if (!parked)
        return -ENOMEM;
    r = mbox_pick(&box->mbox, id, &parked->op, ready);
    if (r != MBOX_PARKED)
        parked_free(parked);
    return r;
}

int queue_unlink(struct node *dir, struct fuse_req *req, const char *name,
                 const struct caller *caller, struct mbox_ready *ready)
{
    box_auto *box = box_pass(dir->object);
    uint64_t id;
    int r = box ? box_admit(box, caller) : -ENOENT;

    if (r < 0)
        return r;
    if (!id_parse(name, &id))
        return -ENOENT;
    return as_missing(queue_remove_message(box, req, id, ready));
}

static bool owns(struct box *box, const struct box_file *dir, const struct caller *caller)
{
    struct stat attr;

    box_file_attr(box, dir, &attr);
    return caller->uid == 0 || caller->uid == attr.st_uid;
}

/* It is answered when the journal has it: meanwhile the kernel holds the locks of both directories, and lets nobody else
 * move anything from one directory to another. The journal needs none of them, and who is killed waits no longer.
 * Return: as mbox_move. */
static int queue_move_message(struct box *box, struct box *to, struct fuse_req *req, uint64_t id,
                              struct mbox_ready *ready)
{
    struct parked *parked;
    int r;

    if (!box->boxes->domain->journal)
        return mbox_move(&box->mbox, &to->mbox, id, NULL, ready);
    parked = parked_new_for(&to->mbox, req, &box->boxes->kernel->deferred);
    if (!parked)
        return -ENOMEM;
    r = mbox_move(&box->mbox, &to->mbox, id, &parked->op, ready);
    if (r != MBOX_PARKED)
        parked_free(parked);
    return r;
}

/* Moves the message @name from the mailbox of one queue/ to that of another. */
static int move(struct node *dir, struct fuse_req *req, const char *name, struct node *to_dir,
                const struct caller *caller, struct mbox_ready *ready)
{
    box_auto *box = box_pass(dir->object);
    box_auto *to = box_pass(to_dir->object);
    uint64_t id;
    int r;

    if (!box || !to)
        return -ENOENT;
    if (!owns(box, box_file_of(dir), caller) || !owns(to, box_file_of(to_dir), caller))
        return -EPERM;
    r = box_admit(box, caller);
    if (r == 0)
        r = box_admit(to, caller);
    if (r < 0)
        return r;
    if (!id_parse(name, &id))
        return -ENOENT;
    r = box_use(to, caller->uid);
    if (r < 0)
        return r;
    return as_missing(queue_move_message(box, to, req, id, ready));
}

int queue_rename(struct node *dir, struct fuse_req *req, const char *name, struct node *to_dir,
                 const char *to_name, enum names_rename how, const struct caller *caller,
                 struct mbox_ready *ready)
{
    /* Where files are made it becomes one, by copying: mv(1) does that then. */
    if (to_dir->ops != dir->ops && to_dir->ops->create && to_dir->object != dir->object)
        return -EXDEV;
    /* A message has the name it has, and takes nobody's place. */
    if (to_dir->ops != dir->ops || strcmp(name, to_name) != 0 || how == NAMES_RENAME_EXCHANGE)
        return -EPERM;
    return move(dir, req, name, to_dir, caller, ready);
}
