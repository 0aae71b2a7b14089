/* A directory at the top in which mailboxes are made and named: mbox/, and ring/ too.
 *
 * It owns its names, and these a reference to each mailbox. What mkdir makes in it is for its maker to say.
 * Locks: the table's of names is taken before a mailbox's; the room's is a leaf.
 *
 * Context: any thread that holds no lock, where it does not say otherwise; never waits. */
#ifndef IPCFS_FS_MBOXES_H
#define IPCFS_FS_MBOXES_H

#include "box.h"
#include "core/mailbox/names.h"
#include "fs/kernel/room.h"

struct listing;
struct mboxes;

/* Makes what mkdir makes in @mboxes, for @caller, who is charged. One reference, the caller's.
 * Return: 0; -EDQUOT; -ENOSPC; -ENOMEM; or what else it may be short of. */
typedef int mboxes_make(struct mboxes *mboxes, mode_t mode, const struct caller *caller,
                        struct box **ret_box);

struct mboxes {
    struct room room;
    struct names names;
    struct boxes *boxes;
    mboxes_make *make;
};

/* @boxes stays its owner's. Context: before the first request. */
void mboxes_init(struct mboxes *mboxes, struct boxes *boxes, mode_t mode,
                 const struct caller *owner, mboxes_make *make);

/* All names have been removed, and all nodes freed. Context: no request is being answered any more. */
void mboxes_deinit(struct mboxes *mboxes);

/* Ends @box, messages or not, if it is in @mboxes still, and tells the kernel that it is gone.
 * Context: any thread, no lock held. */
void mboxes_remove(struct mboxes *mboxes, struct box *box, struct mbox_ready *ready);

/* For another directory of named boxes; all of them are in @names. */

/* Return: 0 with the node of the box called @name, with a lookup more; -ENOENT; -ENOMEM. */
int mboxes_lookup_in(struct names *names, const char *name, struct node **ret_node);

/* Adds all names. Return: as listing_add. */
int mboxes_list_in(struct names *names, struct listing *listing);

/* Enters @box, a new one, whose reference it takes, under @name; or removes it. Return: 0 with its node, with a lookup
 * more; a negative errno. Context: no lock held. */
int mboxes_enter_in(struct names *names, const char *name, struct box *box, struct node **ret_node);

/* Names in @domain were changed: completes @ready, and has that written, unless that takes long, before it is answered.
 * Context: no lock held. */
void mboxes_note_rename(struct mbox_domain *domain, struct mbox_ready *ready);

/* For the node whose object is mboxes->room. */
extern const struct node_ops mboxes_ops;

#endif
