/* The handlers of open directories. A directory is listed in one of three ways, as its node says: filled into a listing
 * when it is first read (list), from a position on (list_from), or from a place kept in the listing (list_part). */
#include "ops_dir.h"

#include <errno.h>
#include <stdlib.h>

#include "call.h"
#include "caller_descent.h"
#include "reply.h"
#include "request.h"

static int run_opendir(struct call *call)
{
    struct node *dir = node_of(call->req, call->ino);
    struct listing *listing = NULL;
    struct kernel *kernel = kernel_of(call->req);
    int r = dir->ops->opendir ? dir->ops->opendir(dir, &call->caller) : 0;

    if (r == CALLER_ASKS)
        return r;
    if (r == 0)
        r = listing_new(&kernel->listings, kernel->quota, call->caller.uid, &listing);
    if (r < 0) {
        reply_result(call->req, r, "opendir", NULL);
        return 0;
    }
    call->fi.fh = (uintptr_t)listing;
    call->fi.cache_readdir = dir->ops->keeps_names;
    call->fi.keep_cache = dir->ops->keeps_names;
    if (fuse_reply_open(call->req, &call->fi) < 0)
        listing_free(&kernel->listings, listing);
    return 0;
}

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct call call = { .run = run_opendir, .ino = ino, .fi = *fi };

    call_run(req, &call);
}

/* Return: 0 with the listing filled anew. */
static int fill_listing(struct node *dir, struct listing *listing)
{
    int r;

    listing_clear(listing);
    r = listing_add(listing, ".", dir->id, S_IFDIR);
    if (r == 0)
        r = listing_add(listing, "..", NODE_ROOT_ID, S_IFDIR);
    if (r == 0 && dir->ops->list)
        r = dir->ops->list(dir, listing);
    return r;
}

/* A directory that was open before somebody claimed it is not listed to others. */
static int refill(const struct caller *caller, struct node *dir, struct listing *listing)
{
    int r = dir->ops->opendir ? dir->ops->opendir(dir, caller) : 0;

    return r < 0 ? r : fill_listing(dir, listing);
}

/* Return: how many bytes of @buf the entries from @first on take, as many as fit in @size. */
static size_t pack_entries(fuse_req_t req, const struct listing *listing, size_t first, char *buf,
                           size_t size)
{
    size_t used = 0;

    for (size_t i = first; i < listing->n_entries; i++) {
        const struct listing_entry *entry = &listing->entries[i];
        struct stat attr = { .st_ino = entry->ino, .st_mode = entry->type };
        size_t n = fuse_add_direntry(req, buf + used, size - used, listing_name(listing, i), &attr,
                                     (off_t)i + 1);

        if (n > size - used)
            break;
        used += n;
    }
    return used;
}

/* Entries that are being packed as a READDIR's answer. */
struct packing {
    fuse_req_t req;
    char *buf;
    size_t size;
    size_t n_used;
};

static bool pack_one(void *arg, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct packing *packing = arg;
    struct stat attr = { .st_ino = ino, .st_mode = type };
    size_t left = packing->size - packing->n_used;
    size_t n = fuse_add_direntry(packing->req, packing->buf + packing->n_used, left, name, &attr,
                                 (off_t)next);

    if (n > left)
        return false;
    packing->n_used += n;
    return true;
}

/* As pack_entries, of a directory that lists itself. */
static size_t pack_from(fuse_req_t req, struct node *dir, off_t after, char *buf, size_t size)
{
    struct packing packing = { .req = req, .buf = buf, .size = size };
    const struct node_listing to = { .add = pack_one, .arg = &packing };

    dir->ops->list_from(dir, (uint64_t)after, &to);
    return packing.n_used;
}

/* As pack_entries, of a directory that keeps something in the listing, to those whom it admits still. Return: 0;
 * CALLER_ASKS; a negative errno. */
static int pack_part(const struct call *call, struct node *dir, struct listing *listing, char *buf,
                     size_t *ret_n_used)
{
    struct packing packing = { .req = call->req, .buf = buf, .size = call->size };
    const struct node_listing to = { .add = pack_one, .arg = &packing };
    int r = dir->ops->opendir ? dir->ops->opendir(dir, &call->caller) : 0;

    if (r == 0)
        r = dir->ops->list_part(dir, listing, (uint64_t)call->offset, &to);
    *ret_n_used = packing.n_used;
    return r;
}

static int run_readdir(struct call *call)
{
    struct listing *listing = (struct listing *)(uintptr_t)call->fi.fh;
    struct node *dir = node_of(call->req, call->ino);
    char *buf = malloc(call->size);
    size_t n_used = 0;
    int r = buf ? 0 : -ENOMEM;

    if (r == 0 && dir->ops->list_part)
        r = pack_part(call, dir, listing, buf, &n_used);
    else if (r == 0 && dir->ops->list_from)
        n_used = pack_from(call->req, dir, call->offset, buf, call->size);
    else if (r == 0 && call->offset == 0)
        r = refill(&call->caller, dir, listing);
    if (r == 0 && !dir->ops->list_part && !dir->ops->list_from)
        n_used = pack_entries(call->req, listing, (size_t)call->offset, buf, call->size);
    if (r == 0)
        fuse_reply_buf(call->req, buf, n_used);
    else if (r != CALLER_ASKS)
        reply_result(call->req, r, "readdir", NULL);
    free(buf);
    return r == CALLER_ASKS ? r : 0;
}

/* The kernel reads one open directory in one thread at a time. */
void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                 struct fuse_file_info *fi)
{
    struct call call = {
        .run = run_readdir, .ino = ino, .size = size, .offset = offset, .fi = *fi
    };

    call_run(req, &call);
}

void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct listing *listing = (struct listing *)(uintptr_t)fi->fh;

    (void)ino;
    listing_free(&kernel_of(req)->listings, listing);
    fuse_reply_err(req, 0);
}
