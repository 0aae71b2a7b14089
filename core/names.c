#include "names.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void names_init(struct names *names)
{
    *names = (struct names){ 0 };
    pthread_mutex_init(&names->lock, NULL);
}

void names_deinit(struct names *names)
{
    assert(!names->table);
    pthread_mutex_destroy(&names->lock);
}

static struct name *lookup(struct names *names, const char *text)
{
    struct name *name;

    HASH_FIND_STR(names->table, text, name);
    return name;
}

/* Enters a name that stands for nothing yet. Return: 0; -ENAMETOOLONG; -ENOMEM. */
static int enter(struct names *names, const char *text, struct name **ret_name)
{
    size_t length = strlen(text);
    struct name *name;

    if (length > NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    name = calloc(1, sizeof(*name) + length + 1);
    if (!name)
        return -ENOMEM;
    memcpy(name->text, text, length);
    HASH_ADD_KEYPTR(hh, names->table, name->text, length, name);
    if (!hash_added(name, hh)) {
        free(name);
        return -ENOMEM;
    }
    *ret_name = name;
    return 0;
}

static void strike(struct names *names, struct name *name)
{
    HASH_DEL(names->table, name);
    free(name);
}

static void assign(struct name *name, struct mbox *mbox)
{
    name->mbox = mbox;
    mbox->name = name;
}

/* The table lets go of @mbox, which has been removed. */
static void drop(struct mbox *mbox)
{
    mbox->name = NULL;
    mbox_unref(mbox);
}

static int add_locked(struct names *names, const char *text, struct mbox *mbox)
{
    struct name *name;
    int r;

    if (lookup(names, text))
        return -EEXIST;
    r = enter(names, text, &name);
    if (r < 0)
        return r;
    assign(name, mbox_ref(mbox));
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
        mbox = mbox_ref(name->mbox);
    pthread_mutex_unlock(&names->lock);
    return mbox;
}

/* Return: 0 with the entry that @to names, made where it is new and emptied where it is old. */
static int make_way(struct names *names, const char *to, struct name **ret_target,
                    struct mbox_ready *ready)
{
    struct name *target = lookup(names, to);
    int r;

    if (!target)
        return enter(names, to, ret_target);
    r = mbox_remove(target->mbox, false, ready);
    if (r < 0)
        return r;
    drop(target->mbox);
    *ret_target = target;
    return 0;
}

static int rename_locked(struct names *names, const char *from, const char *to,
                         enum names_rename how, struct mbox_ready *ready)
{
    struct name *source = lookup(names, from);
    struct name *target = lookup(names, to);
    struct mbox *mbox;
    int r;

    if (!source || (how == NAMES_RENAME_EXCHANGE && !target))
        return -ENOENT;
    if (how == NAMES_RENAME_NEW && target)
        return -EEXIST;
    if (source == target)
        return 0;
    mbox = source->mbox;
    if (how == NAMES_RENAME_EXCHANGE) {
        assign(source, target->mbox);
        assign(target, mbox);
        return 0;
    }
    r = make_way(names, to, &target, ready);
    if (r < 0)
        return r;
    assign(target, mbox);
    strike(names, source);
    return 0;
}

int names_rename(struct names *names, const char *from, const char *to, enum names_rename how,
                 struct mbox_ready *ready)
{
    int r;

    pthread_mutex_lock(&names->lock);
    r = rename_locked(names, from, to, how, ready);
    pthread_mutex_unlock(&names->lock);
    return r;
}

static void remove_name(struct names *names, struct name *name)
{
    drop(name->mbox);
    strike(names, name);
}

int names_remove(struct names *names, const char *text, struct mbox_ready *ready)
{
    struct name *name;
    int r = -ENOENT;

    pthread_mutex_lock(&names->lock);
    name = lookup(names, text);
    if (name)
        r = mbox_remove(name->mbox, false, ready);
    if (r == 0)
        remove_name(names, name);
    pthread_mutex_unlock(&names->lock);
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
        mbox_remove(mbox, true, ready);
        remove_name(names, name);
    }
    pthread_mutex_unlock(&names->lock);
    return name ? 0 : -ENOENT;
}

void names_remove_all(struct names *names, struct mbox_ready *ready)
{
    struct name *name;
    struct name *next;

    pthread_mutex_lock(&names->lock);
    HASH_ITER(hh, names->table, name, next) {
        mbox_remove(name->mbox, true, ready);
        remove_name(names, name);
    }
    pthread_mutex_unlock(&names->lock);
}

int names_each(struct names *names, int (*visit)(const char *text, struct mbox *mbox, void *arg),
               void *arg)
{
    struct name *name;
    struct name *next;
    int r = 0;

    pthread_mutex_lock(&names->lock);
    HASH_ITER(hh, names->table, name, next) {
        r = visit(name->text, name->mbox, arg);
        if (r != 0)
            break;
    }
    pthread_mutex_unlock(&names->lock);
    return r;
}

size_t names_count(struct names *names)
{
    size_t n;

    pthread_mutex_lock(&names->lock);
    n = HASH_COUNT(names->table);
    pthread_mutex_unlock(&names->lock);
    return n;
}
