/* What the kernel is told of boxes and names without having asked (fs/kernel/notify.h).
 *
 * Context: any thread; never waits. */
#ifndef IPCFS_FS_BOX_NOTICE_H
#define IPCFS_FS_BOX_NOTICE_H

#include "box.h"

/* Tells the kernel that @box, called @name in the directory of slot @parent, is gone. */
void box_tell_deletion(struct box *box, struct node *const *parent, const char *name);

/* Asks the kernel to forget @name in the directory of slot @parent, which is still there. @uid is whose
 * notice it is. */
void box_tell_expiry(struct kernel *kernel, uid_t uid, struct node *const *parent,
                     const char *name);

#endif
