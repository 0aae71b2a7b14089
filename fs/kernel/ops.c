/* The FUSE handlers: decode, ask the node or the file, answer once.
 *
 * Errors that are decided here; all others come from the engine as they are (mbox.h, names.h):
 *   EPERM         making, removing or renaming what this directory does not take
 *   ENAMETOOLONG  a name over NAME_BYTES_MAX
 *   EINVAL        a size other than 0 given to a file; unknown rename flags
 *   EACCES        (a node's open) a file opened the wrong way round
 *   EACCES        (process.h) receiving what is another process's
 *   EBUSY         (owner.h) receiving from a mailbox that another process owns
 *
 * No handler waits. Names and attributes are valid for no time at the kernel's, so that each use
 * asks again: a mailbox can go away by itself, and a chown carries other files along. Only the
 * top's rooms are there for ever, and what is in shm/ changes through the kernel alone; and reply/ is
 * where it was for a moment. */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "call.h"
#include "caller.h"
#include "caller_descent.h"
#include "ops_dir.h"
#include "ops_xattr.h"
#include "reply.h"
#include "request.h"

/* The longest WRITE that we ask for; the kernel may be set to send less at once. */
#define MAX_WRITE_BYTES (1U << 20)

static struct file *ops_file_of(const struct fuse_file_info *fi)
{
    return (struct file *)(uintptr_t)fi->fh;
}

/* Return: the file, which knows by now if what it is for has ended. */
static struct file *current_file_of(const struct fuse_file_info *fi)
{
    struct file *file = ops_file_of(fi);

    if (file->notice_end)
        file->notice_end(file);
    return file;
}

static bool is_too_long(const char *name)
{
    return strlen(name) > NAME_BYTES_MAX;
}

/* Answers with @node of @dir, whose lookup goes back if the kernel does not take it. */
static void reply_node(fuse_req_t req, const struct node *dir, struct node *node)
{
    struct kernel *kernel = kernel_of(req);
    struct fuse_entry_param entry;

    node_fill_entry(node, dir, &entry);
    if (fuse_reply_entry(req, &entry) < 0)
        node_forget(&kernel->nodes, entry.ino, 1);
}

/* Return: what the administrator lets one request carry, which libfuse does not tell. */
static size_t request_bytes_max(void)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    size_t n_pages = MAX_WRITE_BYTES / page_bytes;
    FILE *limit = fopen("/proc/sys/fs/fuse/max_pages_limit", "re");
    size_t n;

    if (!limit)
        return n_pages * page_bytes;
    if (fscanf(limit, "%zu", &n) == 1 && n < n_pages)
        n_pages = n;
    fclose(limit);
    return n_pages * page_bytes;
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    struct kernel *kernel = userdata;

    /* Without it an O_TRUNC is a SETATTR, whose answer says again how long `send` is (box.c). */
    fuse_unset_feature_flag(conn, FUSE_CAP_ATOMIC_O_TRUNC);
    fuse_unset_feature_flag(conn, FUSE_CAP_READDIRPLUS);
    /* An io_submit would become a request that no interrupt reaches, and a few of those that wait keep every
     * RELEASE of the mount from coming. */
    fuse_unset_feature_flag(conn, FUSE_CAP_ASYNC_DIO);
    /* Only the kernel changes what it caches, the bytes of a region: a new mtime is no news. */
    fuse_unset_feature_flag(conn, FUSE_CAP_AUTO_INVAL_DATA);
    if (kernel->backing.is_wanted && fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH)) {
        /* Our backing files are of no stacked filesystem. */
        conn->max_backing_stack_depth = 1;
        kernel->backing.state = BACKING_OFFERED;
    }
    if (conn->max_write > request_bytes_max())
        conn->max_write = (unsigned int)request_bytes_max();
    /* A caller's memory that does not start at a page's start takes one page more. */
    kernel->one_write_bytes = conn->max_write - (size_t)sysconf(_SC_PAGESIZE);
}

static int lookup_for(fuse_req_t req, struct node *dir, const char *name, struct node **ret_node)
{
    struct caller caller = caller_of(req);

    return dir->ops->lookup_for(dir, name, &caller, ret_node);
}

/* Answers that @dir has no such name, which the kernel may keep in mind. */
static void reply_absent(fuse_req_t req, const struct node *dir)
{
    const struct fuse_entry_param nothing = { .entry_timeout = NODE_FOREVER_SECONDS };

    if (dir->ops->keeps_names)
        fuse_reply_entry(req, &nothing);
    else
        fuse_reply_err(req, ENOENT);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct node *dir = node_of(req, parent);
    struct node *node;
    int r = -ENOENT;

    if (is_too_long(name))
        r = -ENAMETOOLONG;
    else if (dir->ops->lookup_for)
        r = lookup_for(req, dir, name, &node);
    else if (dir->ops->lookup)
        r = dir->ops->lookup(dir, name, &node);
    if (r == -ENOENT)
        reply_absent(req, dir);
    else if (r < 0)
        reply_result(req, r, "lookup", name);
    else
        reply_node(req, dir, node);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n_lookups)
{
    node_forget(&kernel_of(req)->nodes, ino, n_lookups);
    fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t n, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < n; i++)
        node_forget(&kernel_of(req)->nodes, forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

static void reply_attr(fuse_req_t req, struct node *node)
{
    double seconds = node->ops->attr_seconds ? node->ops->attr_seconds(node) : 0.0;
    struct stat attr;

    node->ops->getattr(node, &attr);
    fuse_reply_attr(req, &attr, seconds);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    reply_attr(req, node_of(req, ino));
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                       struct fuse_file_info *fi)
{
    struct node_change change = { .attr = *attr, .to_set = to_set };
    struct node *node = node_of(req, ino);
    int r = -EPERM;

    (void)fi;
    if ((to_set & FUSE_SET_ATTR_SIZE) && attr->st_size != 0 && !node->ops->sets_size)
        r = -EINVAL;
    else if (node->ops->setattr)
        r = node->ops->setattr(node, &change);
    if (r == 0 && (to_set & FUSE_SET_ATTR_SIZE) && node->ops->drop_privileges)
        node->ops->drop_privileges(node, req);
    if (r < 0)
        reply_result(req, r, "setattr", NULL);
    else
        reply_attr(req, node);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct node *dir = node_of(req, parent);
    struct caller caller = caller_of(req);
    struct node *node;
    int r = -EPERM;

    if (dir->ops->mkdir)
        r = dir->ops->mkdir(dir, name, mode, &caller, &node);
    if (r < 0)
        reply_result(req, r, "mkdir", name);
    else
        reply_node(req, dir, node);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct node *dir = node_of(req, parent);
    int r = -EPERM;

    if (dir->ops->rmdir)
        r = dir->ops->rmdir(dir, name, &ready);
    mbox_ready_run(&ready);
    reply_result(req, r, "rmdir", name);
}

/* Return: 0; -EINVAL for flags that no rename knows. */
static int decode_rename(unsigned int flags, enum names_rename *ret_how)
{
    switch (flags) {
    case 0:
        *ret_how = NAMES_RENAME_REPLACE;
        return 0;
    case RENAME_NOREPLACE:
        *ret_how = NAMES_RENAME_NEW;
        return 0;
    case RENAME_EXCHANGE:
        *ret_how = NAMES_RENAME_EXCHANGE;
        return 0;
    default:
        return -EINVAL;
    }
}

static int run_rename(struct call *call)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct node *dir = node_of(call->req, call->ino);
    struct node *to_dir = node_of(call->req, call->to_ino);
    enum names_rename how;
    int r = decode_rename(call->flags, &how);

    if (r == 0 && dir->ops->rename_for)
        r = dir->ops->rename_for(dir, call->req, call->name, to_dir, call->to_name, how,
                                 &call->caller, &ready);
    else if (r == 0 && dir->ops->rename)
        r = dir->ops->rename(dir, call->name, to_dir, call->to_name, how, &call->caller, &ready);
    else if (r == 0)
        r = -EPERM;
    if (r == CALLER_ASKS)
        return r;
    mbox_ready_run(&ready);
    if (r != MBOX_PARKED)
        reply_result(call->req, r, "rename", call->name);
    return 0;
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
                      const char *to_name, unsigned int flags)
{
    struct call call = {
        .run = run_rename,
        .ino = parent,
        .to_ino = to_parent,
        .name = name,
        .to_name = to_name,
        .flags = flags,
    };

    call_run(req, &call);
}

static int run_unlink(struct call *call)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct node *dir = node_of(call->req, call->ino);
    int r = -EPERM;

    if (dir->ops->unlink_for)
        r = dir->ops->unlink_for(dir, call->req, call->name, &call->caller, &ready);
    else if (dir->ops->unlink)
        r = dir->ops->unlink(dir, call->name, &call->caller, &ready);
    if (r == CALLER_ASKS)
        return r;
    if (r != MBOX_PARKED)
        reply_result(call->req, r, "unlink", call->name);
    mbox_ready_run(&ready);
    return 0;
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct call call = { .run = run_unlink, .ino = parent, .name = name };

    call_run(req, &call);
}

/* What makes files: most directories take none. */
static void refuse_new(fuse_req_t req, const char *name)
{
    fuse_reply_err(req, is_too_long(name) ? ENAMETOOLONG : EPERM);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct node *dir = node_of(req, parent);
    struct caller caller = caller_of(req);
    struct node *node;
    int r;

    (void)rdev;
    if (!dir->ops->mknod) {
        refuse_new(req, name);
        return;
    }
    r = dir->ops->mknod(dir, name, mode, &caller, &node);
    if (r < 0)
        reply_result(req, r, "mknod", name);
    else
        reply_node(req, dir, node);
}

static void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
    struct node *dir = node_of(req, parent);
    struct caller caller = caller_of(req);
    struct node *node;
    int r;

    if (!dir->ops->symlink) {
        refuse_new(req, name);
        return;
    }
    r = dir->ops->symlink(dir, name, link, &caller, &node);
    if (r < 0)
        reply_result(req, r, "symlink", name);
    else
        reply_node(req, dir, node);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct node *node = node_of(req, ino);
    struct caller caller = caller_of(req);
    char target[NODE_TARGET_MAX];
    int r = -EINVAL;

    if (node->ops->readlink)
        r = node->ops->readlink(node, &caller, target);
    if (r < 0)
        reply_result(req, r, "readlink", NULL);
    else
        fuse_reply_readlink(req, target);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct node *dir = node_of(req, parent);
    struct node *node = node_of(req, ino);
    int r;

    if (!dir->ops->link || is_too_long(name)) {
        refuse_new(req, name);
        return;
    }
    r = dir->ops->link(dir, node, name);
    if (r < 0)
        reply_result(req, r, "link", name);
    else
        reply_node(req, dir, node);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    struct node *dir = node_of(req, parent);

    if (dir->ops->create && !is_too_long(name))
        dir->ops->create(dir, req, name, mode, fi);
    else
        refuse_new(req, name);
}

static void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
    struct node *dir = node_of(req, parent);

    if (dir->ops->tmpfile)
        dir->ops->tmpfile(dir, req, mode, fi);
    else
        fuse_reply_err(req, EOPNOTSUPP);
}

static int run_open(struct call *call)
{
    struct node *node = node_of(call->req, call->ino);
    fuse_req_t req = call->req;
    struct file *file = NULL;
    int r = -EPERM;

    if (node->ops->open)
        r = file_charge(&node->kernel->files, req);
    if (r == 0) {
        r = node->ops->open(node, call->fi.flags, &call->caller, &file);
        if (r < 0)
            file_uncharge(&kernel_of(req)->files, req);
    }
    if (r == CALLER_ASKS)
        return r;
    if (r < 0) {
        reply_result(req, r, "open", NULL);
    } else {
        file_set_opener(file, req);
        file_reply_open(file, req, call->ino);
    }
    return 0;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct call call = { .run = run_open, .ino = ino, .fi = *fi };
    struct node *node = node_of(req, ino);

    if (node->ops->open_waiting)
        node->ops->open_waiting(node, req, fi);
    else
        call_run(req, &call);
}

static int run_read(struct call *call)
{
    struct file *file = current_file_of(&call->fi);
    int r = file->ops->admit ? file->ops->admit(file, &call->caller) : 0;

    if (r == CALLER_ASKS)
        return r;
    if (r < 0)
        fuse_reply_err(call->req, -r);
    else
        file->ops->read(file, call->req, call->size, call->offset, call->fi.flags);
    return 0;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    struct call call = { .run = run_read, .ino = ino, .size = size, .offset = offset, .fi = *fi };
    struct file *file = ops_file_of(fi);

    /* The kernel names who reads, but not for its page cache. */
    if (file->ops->keeps_from_cache && fi->lock_owner == 0)
        fuse_reply_err(req, EINVAL);
    else if (file->ops->read)
        call_run(req, &call);
    else
        fuse_reply_err(req, EBADF);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    struct file *file = current_file_of(fi);

    (void)ino;
    if (file->ops->write)
        file->ops->write(file, req, data, size, offset, fi->flags);
    else
        fuse_reply_err(req, EBADF);
}

static void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
                    struct fuse_pollhandle *ph)
{
    (void)ino;
    file_poll(current_file_of(fi), req, ph);
}

static uint64_t inode_number(fuse_req_t req, fuse_ino_t ino)
{
    struct node *node = node_of(req, ino);
    struct stat attr;

    node->ops->getattr(node, &attr);
    return attr.st_ino;
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct file *file = current_file_of(fi);
    struct kernel *kernel = kernel_of(req);

    if (locks_are_there(&kernel->locks))
        locks_close(&kernel->locks, inode_number(req, ino), fi->lock_owner);
    if (file->ops->flush)
        file->ops->flush(file, req);
    else
        fuse_reply_err(req, 0);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct kernel *kernel = kernel_of(req);
    struct file *file = ops_file_of(fi);

    (void)ino;
    fuse_reply_err(req, 0);
    kernel_release_file(kernel, file);
}

static void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int operation)
{
    locks_flock(&kernel_of(req)->locks, ops_file_of(fi), req, inode_number(req, ino),
                fi->lock_owner, operation);
}

static void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
                     int waits)
{
    locks_set(&kernel_of(req)->locks, ops_file_of(fi), req, inode_number(req, ino), fi->lock_owner,
              lock, waits);
}

static void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
    locks_get(&kernel_of(req)->locks, ops_file_of(fi), req, inode_number(req, ino), fi->lock_owner,
              lock);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                         struct fuse_file_info *fi)
{
    struct node *node = node_of(req, ino);
    int r = -EOPNOTSUPP;

    (void)fi;
    if (node->ops->fallocate)
        r = node->ops->fallocate(node, mode, offset, length);
    if (r == 0 && node->ops->drop_privileges)
        node->ops->drop_privileges(node, req);
    reply_result(req, r, "fallocate", NULL);
}

/* Return: where the data or the hole is, of a file that is all data. */
static off_t seek_in_data(struct node *node, off_t offset, int whence)
{
    struct stat attr;

    node->ops->getattr(node, &attr);
    if (offset < 0 || offset >= attr.st_size)
        return -ENXIO;
    return whence == SEEK_DATA ? offset : attr.st_size;
}

/* Only the kernel's SEEK_DATA and SEEK_HOLE come here. */
static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
                     struct fuse_file_info *fi)
{
    struct node *node = node_of(req, ino);
    off_t at = -EOPNOTSUPP;

    (void)fi;
    if (whence != SEEK_DATA && whence != SEEK_HOLE) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    if (node->ops->seek)
        at = node->ops->seek(node, offset, whence);
    if (at == -EOPNOTSUPP)
        at = seek_in_data(node, offset, whence);
    if (at < 0)
        reply_result(req, (int)at, "lseek", NULL);
    else
        fuse_reply_lseek(req, at);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino, off_t offset,
                               struct fuse_file_info *fi, fuse_ino_t to_ino, off_t to_offset,
                               struct fuse_file_info *to_fi, size_t size, int flags)
{
    struct node *node = node_of(req, ino);
    ssize_t n = -EOPNOTSUPP;

    (void)fi;
    (void)to_fi;
    (void)flags;
    if (node->ops->copy)
        n = node->ops->copy(node, offset, node_of(req, to_ino), to_offset, size);
    if (n < 0)
        reply_result(req, (int)n, "copy_file_range", NULL);
    else
        fuse_reply_write(req, (size_t)n);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct kernel *kernel = kernel_of(req);
    unsigned long block = (unsigned long)sysconf(_SC_PAGESIZE);
    uint64_t used = quota_used(kernel->quota);
    /* What was not delivered comes back even where there is no room any more. */
    uint64_t left = used < kernel->max_bytes ? kernel->max_bytes - used : 0;
    struct statvfs st = {
        .f_bsize = block,
        .f_frsize = block,
        .f_blocks = kernel->max_bytes / block,
        .f_bfree = left / block,
        .f_bavail = left / block,
        .f_namemax = NAME_BYTES_MAX,
    };

    (void)ino;
    fuse_reply_statfs(req, &st);
}

const struct fuse_lowlevel_ops kernel_ops = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .mkdir = op_mkdir,
    .rmdir = op_rmdir,
    .rename = op_rename,
    .unlink = op_unlink,
    .mknod = op_mknod,
    .symlink = op_symlink,
    .readlink = op_readlink,
    .link = op_link,
    .create = op_create,
    .tmpfile = op_tmpfile,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .poll = op_poll,
    .flush = op_flush,
    .release = op_release,
    .flock = op_flock,
    .setlk = op_setlk,
    .getlk = op_getlk,
    .fallocate = op_fallocate,
    .lseek = op_lseek,
    .copy_file_range = op_copy_file_range,
    .opendir = ops_opendir,
    .readdir = ops_readdir,
    .releasedir = ops_releasedir,
    .statfs = op_statfs,
    .setxattr = ops_setxattr,
    .getxattr = ops_getxattr,
    .listxattr = ops_listxattr,
    .removexattr = ops_removexattr,
};
