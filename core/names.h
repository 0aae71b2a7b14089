/* The table of names: which mailbox is called what.
 *
 * The table holds one reference to each mailbox in it. Its lock is taken before a mailbox's.
 * Context: any thread, no lock held. */
#ifndef IPCFS_CORE_NAMES_H
#define IPCFS_CORE_NAMES_H

#include "hash.h"
#include "mbox.h"

#define NAME_BYTES_MAX 255

/* One entry. */
struct name {
    struct mbox *mbox;
    UT_hash_handle hh;
    char text[];
};

struct names {
    pthread_mutex_t lock;
    struct name *table; /* under lock: by text */
};

void names_init(struct names *names);

/* The table is empty. */
void names_deinit(struct names *names);

/* Enters @mbox as @text; the table takes a reference of its own.
 * Return: 0; -EEXIST; -ENAMETOOLONG; -ENOMEM. */
int names_add(struct names *names, const char *text, struct mbox *mbox);

/* Return: the mailbox, with a reference for the caller; NULL when there is none. */
struct mbox *names_find(struct names *names, const char *text);

enum names_rename {
    NAMES_RENAME_REPLACE,  /* @to may exist if it is empty; it is removed then */
    NAMES_RENAME_NEW,      /* @to must not exist */
    NAMES_RENAME_EXCHANGE, /* @to exists, and becomes @from */
};

/* Return: 0; -ENOENT: no @from, or for an exchange no @to; -EEXIST; -ENOTEMPTY; -ENAMETOOLONG;
 * -ENOMEM. On failure nothing has changed. */
int names_rename(struct names *names, const char *from, const char *to, enum names_rename how,
                 struct mbox_ready *ready);

/* Removes the mailbox and its name. Return: 0; -ENOENT; -ENOTEMPTY. */
int names_remove(struct names *names, const char *text, struct mbox_ready *ready);

/* Removes @mbox, messages or not, under whatever name it has by now.
 * Return: 0 with the name; -ENOENT: it has none any more. */
int names_remove_mbox(struct names *names, struct mbox *mbox, char ret_text[NAME_BYTES_MAX + 1],
                      struct mbox_ready *ready);

/* Removes every mailbox, messages or not. */
void names_remove_all(struct names *names, struct mbox_ready *ready);

/* Calls @visit for each mailbox, oldest name first, under the table's lock, until it returns
 * other than 0. Return: what the last visit returned; 0. */
int names_each(struct names *names, int (*visit)(const char *text, struct mbox *mbox, void *arg),
               void *arg);

/* Return: how many mailboxes there are. */
size_t names_count(struct names *names);

#endif
