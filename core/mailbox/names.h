/* The table of names: which mailbox is called what.
 *
 * The table holds one reference to each mailbox in it. Its lock is taken before a mailbox's, and is held
 * for no longer than one name takes, however many there are.
 * Context: any thread, no lock held. */
#ifndef IPCFS_CORE_NAMES_H
#define IPCFS_CORE_NAMES_H

#include "core/base/hash.h"
#include "mbox.h"

#define NAME_BYTES_MAX MBOX_NAME_BYTES_MAX

struct name_place {
    struct mbox *mbox; /* NULL: a cursor is here */
    uint64_t seq;
    TAILQ_ENTRY(name_place) link; /* names->places */
};

/* One entry. */
struct name {
    struct name_place place;
    UT_hash_handle hh;
    char text[];
};

struct names {
    pthread_mutex_t lock;
    /* Under lock: */
    struct name *table[HASH_N_PARTS]; /* by text */
    TAILQ_HEAD(, name_place) places;  /* the oldest first */
    uint64_t last_seq;
    size_t n;
};

/* Somebody who goes through all names, a step at a time: others get the lock in between. */
struct names_cursor {
    struct names *names;
    struct name_place place; /* behind it is what comes next */
    uint64_t last_seq;       /* what is younger is not visited */
};

void names_init(struct names *names);

/* The table is empty. */
void names_deinit(struct names *names);

/* Enters @mbox as @text; the table takes a reference of its own.
 * Return: 0; -EEXIST; -ENAMETOOLONG; -ENOMEM. */
int names_add(struct names *names, const char *text, struct mbox *mbox);

/* Return: the mailbox, with a reference for the caller; NULL when there is none. */
struct mbox *names_find(struct names *names, const char *text);

/* Writes what @mbox is called, nothing where it has no name any more. */
void names_tell(struct names *names, struct mbox *mbox, char ret_text[NAME_BYTES_MAX + 1]);

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

/* Removes every mailbox that there is now, messages or not. */
void names_remove_all(struct names *names, struct mbox_ready *ready);

/* Starts to go through what @names has now, the oldest first. Who is renamed meanwhile is met once, under
 * either name. */
void names_begin(struct names *names, struct names_cursor *cursor);

/* Return: the next mailbox, with a reference for the caller, and its name; NULL: there is none. */
struct mbox *names_next(struct names_cursor *cursor, char ret_text[NAME_BYTES_MAX + 1]);

void names_end(struct names_cursor *cursor);

/* Calls @visit for each mailbox, as a cursor does, until it returns other than 0. Return: what the last
 * visit returned; 0. */
int names_each(struct names *names, int (*visit)(const char *text, struct mbox *mbox, void *arg),
               void *arg);

/* Return: how many mailboxes there are. */
size_t names_count(struct names *names);

#endif
