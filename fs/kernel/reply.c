/* The one place where a handler's result becomes an errno and, if it is the mount's trouble, a line of the log. */
#include "reply.h"

#include "kernel.h"

void reply_result(fuse_req_t req, int result, const char *operation, const char *name)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct kernel *kernel = fuse_req_userdata(req);

    if (result < 0)
        log_failed(&kernel->log, operation, name, -result, ctx->uid, ctx->pid);
    fuse_reply_err(req, -result);
}
