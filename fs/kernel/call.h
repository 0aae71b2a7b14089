/* A request that can turn out to need the answer to a slow question about its caller (inquiry.h): whether the
 * caller descends from a process, through as many ancestors as it likes to have. It is then run again once
 * the answer is known.
 *
 * Whoever is asked to admit a caller calls caller_descends(); where that says CALLER_ASKS it is passed on up
 * to here, nothing having been done yet.
 *
 * Context: call_run() is for handlers; what it runs may come from the inquiries' thread too, and never waits. */
#ifndef IPCFS_FS_CALL_H
#define IPCFS_FS_CALL_H

#include <fuse_lowlevel.h>

#include "caller_descent.h"
#include "inquiry.h"
#include "node.h"

struct call {
    struct inquiry inquiry;
    fuse_req_t req;
    /* Answers the request and returns 0; or CALLER_ASKS, having done nothing. */
    int (*run)(struct call *call);
    struct caller caller;
    struct descents descents;
    /* What the request says, as far as @run needs it: */
    uint64_t ino;
    uint64_t to_ino;
    const char *name; /* NULL, as the next, where there is none */
    const char *to_name;
    size_t size;
    off_t offset;
    unsigned int flags;
    struct fuse_file_info fi;
};

/* Runs @call, whose run and what the request says are set; now or later, which answers @req. */
void call_run(fuse_req_t req, struct call *call);

#endif
