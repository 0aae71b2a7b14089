/* A box's directory as the kernel sees it, and what the nodes of all files in it do.
 *
 * Context: any thread; nothing here waits. */
#ifndef IPCFS_FS_BOX_DIR_H
#define IPCFS_FS_BOX_DIR_H

#include "box.h"

/* Return: 0 with the directory's node, with a lookup more; -ENOENT: the box has been removed; -ENOMEM. */
int box_dir_node(struct box *box, struct node **ret_node);

/* For struct box_file.ops, which says what each returns, of a node whose object is the box's door. */
void box_file_getattr(struct node *node, struct stat *ret_attr);
int box_file_setattr(struct node *node, const struct node_change *change);
void box_file_release(struct node *node);

/* For a file that is opened by box_file.open, which says what it returns. */
int box_file_open(struct node *node, int flags, const struct caller *caller,
                  struct file **ret_file);

/* What all have: a directory adds its own. */
#define BOX_FILE_COMMON_OPS                                                                        \
    .getattr = box_file_getattr, .setattr = box_file_setattr, .release = box_file_release

#define BOX_FILE_OPS                                                                               \
    {                                                                                              \
        BOX_FILE_COMMON_OPS, .open = box_file_open                                                 \
    }

#endif
