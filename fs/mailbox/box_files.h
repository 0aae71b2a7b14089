/* The table of the files of all boxes: for struct box_kind. */
#ifndef IPCFS_FS_BOX_FILES_H
#define IPCFS_FS_BOX_FILES_H

#include "box.h"

extern const struct box_files box_files;

#endif
