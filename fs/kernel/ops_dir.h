/* The handlers of open directories, for struct fuse_lowlevel_ops. Context: a handler; never waits. */
#ifndef IPCFS_FS_OPS_DIR_H
#define IPCFS_FS_OPS_DIR_H

#include <fuse_lowlevel.h>

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                 struct fuse_file_info *fi);
void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

#endif
