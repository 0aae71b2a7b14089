#include "names.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal.h"

void names_init(struct names *names)
{
    *names = (struct names){ 0 };
    TAILQ_INIT(&names->places);
    pthread_mutex_init(&names->lock, NULL);
}

void names_deinit(struct names *names)
{
    assert(TAILQ_EMPTY(&names->places));
    pthread_mutex_destroy(&names->lock);
}

static struct name *lookup(struct names *names, const char *text)
{
    size_t length = strlen(text);
    unsigned int hash = hash_of(text, length);
    struct name *name;

    HASH_FIND_BYHASHVALUE(hh, names->table[hash_part(hash)], text, length, hash, name);
    return name;
}

/* Enters a name that stands for nothing yet and has no place. Return: 0; -ENAMETOOLONG; -ENOMEM. */
static int names_enter(struct names *names, const char *text, struct name **ret_name)
{
    size_t length = strlen(text);
    unsigned int hash = hash_of(text, length);
    struct name *name;

    if (length > NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    name = calloc(1, sizeof(*name) + length + 1);
    if (!name)
        return -ENOMEM;
    memcpy(name->text, text, length);
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, names->table[hash_part(hash)], name->text, length, hash, name);
    if (!hash_added(name, hh)) {
        free(name);
        return -ENOMEM;
    }
    names->n++;
    *ret_name = name;
    return 0;
}

/* Undoes names_enter(). */
static void unenter(struct names *names, struct name *name)
{
    HASH_DELETE(hh, names->table[hash_part(name->hh.hashv)], name);
    names->n--;
    free(name);
}

static void strike(struct names *names, struct name *name)
{
    TAILQ_REMOVE(&names->places, &name->place, link);
    unenter(names, name);
}

/* Tells the journal what @mbox is called from now on, and at the same moment @other, which may be NULL.
 * Return: 0; -ENOMEM: they are to keep their names. */
static int note_names(struct mbox *mbox, const char *text, struct mbox *other,
                      const char *other_text, struct mbox_ready *ready)
{
    struct mbox_journal *journal = mbox->domain->journal;

    if (!mbox->kept)
        return 0;
    return journal->ops->rename(journal, mbox, text, other, other_text, ready);
}

static void assign(struct name *name, struct mbox *mbox)
{
    name->place.mbox = mbox;
    mbox->name = name;
}

static int add_locked(struct names *names, const char *text, struct mbox *mbox)
{
    struct name *name;
    int r;

    if (lookup(names, text))
        return -EEXIST;
    r = names_enter(names, text, &name);
    if (r < 0)
        return r;
    r = note_names(mbox, text, NULL, NULL, NULL);
    if (r < 0) {
        unenter(names, name);
        return r;
    }
    assign(name, mbox_ref(mbox));
    name->place.seq = ++names->last_seq;
    TAILQ_INSERT_TAIL(&names->places, &name->place, link);
    return 0;
}

int names_add(struct names *names, const char *text, struct mbox *mbox)
{
    int r;

    pthread_mutex_lock(&names->lock);
    r = add_locked(names, text, mbox);
    pthread_mutex_unlock(&names->lock);
    return r;
}

struct mbox *names_find(struct names *names, const char *text)
{
    struct mbox *mbox = NULL;
    struct name *name;

    pthread_mutex_lock(&names->lock);
    name = lookup(names, text);
    if (name)
        mbox = mbox_ref(name->place.mbox);
    pthread_mutex_unlock(&names->lock);
    return mbox;
}

void names_tell(struct names *names, struct mbox *mbox, char ret_text[NAME_BYTES_MAX + 1])
{
    ret_text[0] = '\0';
    pthread_mutex_lock(&names->lock);
    if (mbox->name)
        memcpy(ret_text, mbox->name->text, strlen(mbox->name->text) + 1);
    pthread_mutex_unlock(&names->lock);
}

/* Return: 0 with the entry that @to names, without a place: made where it is new and emptied where it is
 * old; *ret_replaced has lost it then, or is NULL. */
static int make_way(struct names *names, const char *to, struct name **ret_target,
                    struct mbox **ret_replaced, struct mbox_ready *ready)
{
    struct name *target = lookup(names, to);
    int r;

    if (!target)
        return names_enter(names, to, ret_target);
    r = mbox_remove(target->place.mbox, false, ready);
    if (r < 0)
        return r;
    target->place.mbox->name = NULL;
    *ret_replaced = target->place.mbox;
    TAILQ_REMOVE(&names->places, &target->place, link);
    *ret_target = target;
    return 0;
}

/* @target, which has no place, takes that of @source and what it stands for. */
static void replace(struct names *names, struct name *source, struct name *target)
{
    target->place.seq = source->place.seq;
    TAILQ_INSERT_BEFORE(&source->place, &target->place, link);
    assign(target, source->place.mbox);
    strike(names, source);
}

static void exchange(struct name *one, struct name *other)
{
    struct mbox *mbox = one->place.mbox;

    assign(one, other->place.mbox);
    assign(other, mbox);
}

static int rename_locked(struct names *names, const char *from, const char *to,
                         enum names_rename how, struct mbox **ret_replaced,
                         struct mbox_ready *ready)
{
    struct name *source = lookup(names, from);
    struct name *target = lookup(names, to);
    int r;

    if (!source || (how == NAMES_RENAME_EXCHANGE && !target))
        return -ENOENT;
    if (how == NAMES_RENAME_NEW && target)
        return -EEXIST;
    if (source == target)
        return 0;
    if (how == NAMES_RENAME_EXCHANGE) {
        r = note_names(source->place.mbox, to, target->place.mbox, from, ready);
        if (r == 0)
            exchange(source, target);
        return r;
    }
    r = make_way(names, to, &target, ret_replaced, ready);
    if (r < 0)
        return r;
    r = note_names(source->place.mbox, to, NULL, NULL, ready);
    if (r < 0) {
        /* Nobody has the name any more, whoever had it was empty. */
        unenter(names, target);
        return r;
    }
    replace(names, source, target);
    return 0;
}

int names_rename(struct names *names, const char *from, const char *to, enum names_rename how,
                 struct mbox_ready *ready)
{
    struct mbox *replaced = NULL;
    int r;

    pthread_mutex_lock(&names->lock);
    r = rename_locked(names, from, to, how, &replaced, ready);
    pthread_mutex_unlock(&names->lock);
    if (replaced)
        mbox_unref(replaced);
    return r;
}

/* Return: what had the name, whose reference is the caller's now. */
static struct mbox *remove_name(struct names *names, struct name *name)
{
    struct mbox *mbox = name->place.mbox;

    mbox->name = NULL;
    strike(names, name);
    return mbox;
}

int names_remove(struct names *names, const char *text, struct mbox_ready *ready)
{
    struct mbox *removed = NULL;
    struct name *name;
    int r = -ENOENT;

    pthread_mutex_lock(&names->lock);
    name = lookup(names, text);
    if (name)
        r = mbox_remove(name->place.mbox, false, ready);
    if (r == 0)
        removed = remove_name(names, name);
    pthread_mutex_unlock(&names->lock);
    if (removed)
        mbox_unref(removed);
    return r;
}

int names_remove_mbox(struct names *names, struct mbox *mbox, char ret_text[NAME_BYTES_MAX + 1],
                      struct mbox_ready *ready)
{
    struct name *name;

    pthread_mutex_lock(&names->lock);
    name = mbox->name;
    if (name) {
        memcpy(ret_text, name->text, strlen(name->text) + 1);
        remove_name(names, name);
    }
    pthread_mutex_unlock(&names->lock);
    if (!name)
        return -ENOENT;
    /* It may have many messages: not under the lock. */
    mbox_remove(mbox, true, ready);
    mbox_unref(mbox);
    return 0;
}

void names_remove_all(struct names *names, struct mbox_ready *ready)
{
    char text[NAME_BYTES_MAX + 1];
    struct names_cursor cursor;
    struct mbox *mbox;

    names_begin(names, &cursor);
    while ((mbox = names_next(&cursor, text))) {
        names_remove_mbox(names, mbox, text, ready);
        mbox_unref(mbox);
    }
    names_end(&cursor);
}

void names_begin(struct names *names, struct names_cursor *cursor)
{
    *cursor = (struct names_cursor){ .names = names };
    pthread_mutex_lock(&names->lock);
    cursor->last_seq = names->last_seq;
    TAILQ_INSERT_HEAD(&names->places, &cursor->place, link);
    pthread_mutex_unlock(&names->lock);
}

/* Under lock. Return: the place behind @cursor, of a name that it is to visit; NULL: there is none. */
static struct name_place *next_place(struct names_cursor *cursor)
{
    struct name_place *place = TAILQ_NEXT(&cursor->place, link);

    while (place && !place->mbox)
        place = TAILQ_NEXT(place, link);
    return place && place->seq <= cursor->last_seq ? place : NULL;
}

struct mbox *names_next(struct names_cursor *cursor, char ret_text[NAME_BYTES_MAX + 1])
{
    struct names *names = cursor->names;
    struct mbox *mbox = NULL;
    struct name_place *place;

    pthread_mutex_lock(&names->lock);
    place = next_place(cursor);
    if (place) {
        mbox = mbox_ref(place->mbox);
        memcpy(ret_text, mbox->name->text, strlen(mbox->name->text) + 1);
        TAILQ_REMOVE(&names->places, &cursor->place, link);
        TAILQ_INSERT_AFTER(&names->places, place, &cursor->place, link);
    }
    pthread_mutex_unlock(&names->lock);
    return mbox;
}

void names_end(struct names_cursor *cursor)
{
    pthread_mutex_lock(&cursor->names->lock);
    TAILQ_REMOVE(&cursor->names->places, &cursor->place, link);
    pthread_mutex_unlock(&cursor->names->lock);
}

int names_each(struct names *names, int (*visit)(const char *text, struct mbox *mbox, void *arg),
               void *arg)
{
    char text[NAME_BYTES_MAX + 1];
    struct names_cursor cursor;
    struct mbox *mbox;
    int r = 0;

    names_begin(names, &cursor);
    while (r == 0 && (mbox = names_next(&cursor, text))) {
        r = visit(text, mbox, arg);
        mbox_unref(mbox);
    }
    names_end(&cursor);
    return r;
}

size_t names_count(struct names *names)
{
    size_t n;

    pthread_mutex_lock(&names->lock);
    n = names->n;
    pthread_mutex_unlock(&names->lock);
    return n;
}
