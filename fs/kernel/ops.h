/* The handlers of the kernel's requests. */
#ifndef IPCFS_FS_OPS_H
#define IPCFS_FS_OPS_H

#include <fuse_lowlevel.h>

/* For fuse_session_new(); its userdata is a struct kernel. */
extern const struct fuse_lowlevel_ops kernel_ops;

#endif
