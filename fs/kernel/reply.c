#include "reply.h"

#include "fs/mount.h"

void reply_result(fuse_req_t req, int result, const char *operation, const char *name)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct fs *fs = fuse_req_userdata(req);

    if (result < 0)
        log_failed(&fs->log, operation, name, -result, ctx->uid, ctx->pid);
    fuse_reply_err(req, -result);
}
