/* The handlers of extended attributes, for struct fuse_lowlevel_ops. Context: a handler; never waits. */
#ifndef IPCFS_FS_OPS_XATTR_H
#define IPCFS_FS_OPS_XATTR_H

#include <fuse_lowlevel.h>

void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                  int flags);
void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);

#endif
