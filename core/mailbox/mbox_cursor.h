/* A place in a mailbox's queue for one who looks at its messages in delivery order, some at a time.
 *
 * Whatever is sent, received or removed meanwhile, what was there all the time is met once; what came after the
 * rewinding is not met, so that it ends. What each call
 * costs depends on how many messages it meets, not on how many there are.
 *
 * A cursor is its user's, and stands at a message or at the end. The mailbox moves it on when that message
 * leaves, and to the end when the mailbox is removed. While it is in use its user holds a reference to the
 * mailbox. Zeroed, it stands at the end.
 *
 * Context: each function takes the mailbox's lock, except the last two. One user at a time. */
#ifndef IPCFS_CORE_MBOX_CURSOR_H
#define IPCFS_CORE_MBOX_CURSOR_H

#include "mbox.h"

struct mbox_cursor {
    struct mbox_entry *at; /* under the mailbox's lock: in this one's cursors; NULL: at the end */
    LIST_ENTRY(mbox_cursor) link;
    uint64_t last_seq; /* the mailbox's when it was rewound */
};

/* What was met. */
struct mbox_place {
    uint64_t key; /* greater than those of the messages that are delivered before */
    uint64_t id;
};

/* Goes to the first message. */
void mbox_cursor_rewind(struct mbox *mbox, struct mbox_cursor *cursor);

/* Tells the @n_max messages from here on, and stays. Return: how many there are. */
size_t mbox_cursor_look(struct mbox *mbox, struct mbox_cursor *cursor, struct mbox_place *places,
                        size_t n_max);

/* Goes behind the message of @key, whether it is still there or not. */
void mbox_cursor_pass(struct mbox *mbox, struct mbox_cursor *cursor, uint64_t key);

/* Goes @n messages on. */
void mbox_cursor_skip(struct mbox *mbox, struct mbox_cursor *cursor, size_t n);

/* Is used no more. */
void mbox_cursor_end(struct mbox *mbox, struct mbox_cursor *cursor);

/* For the mailbox, under its lock: @entry is about to leave its queue; or all messages are. */
void mbox_cursors_move_on(struct mbox *mbox, struct mbox_entry *entry);
void mbox_cursors_move_to_end(struct mbox_entry *entry);

#endif
