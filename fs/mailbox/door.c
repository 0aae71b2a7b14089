/* The first node takes a reference to the mailbox and the last gives it back. That may be the last one of all:
 * then the box goes, which disowns the door, and whoever of the two comes last frees it. */
#include "door.h"

#include <stdlib.h>

struct door *door_new(struct mbox *mbox, const struct box_kind *kind, size_t n_files)
{
    struct door *door = calloc(1, sizeof(*door) + n_files * sizeof(door->file_nodes[0]));

    if (!door)
        return NULL;
    pthread_mutex_init(&door->lock, NULL);
    door->mbox = mbox;
    door->kind = kind;
    door->is_owned = true;
    return door;
}

static void free_door(struct door *door)
{
    pthread_mutex_destroy(&door->lock);
    free(door);
}

bool door_add_node(struct door *door)
{
    bool is_open;

    pthread_mutex_lock(&door->lock);
    is_open = door->mbox;
    if (is_open && door->n_nodes++ == 0)
        mbox_ref(door->mbox);
    pthread_mutex_unlock(&door->lock);
    return is_open;
}

void door_remove_node(struct door *door)
{
    struct mbox *mbox;
    bool is_last;
    bool is_owned;

    pthread_mutex_lock(&door->lock);
    is_last = --door->n_nodes == 0;
    is_owned = door->is_owned;
    mbox = is_last ? door->mbox : NULL;
    pthread_mutex_unlock(&door->lock);
    if (is_last && !is_owned)
        free_door(door);
    /* It may be the last reference: then the box goes, and the door with it. */
    if (mbox)
        mbox_unref(mbox);
}

struct mbox *door_pass(struct door *door)
{
    struct mbox *mbox;

    pthread_mutex_lock(&door->lock);
    mbox = door->mbox ? mbox_ref(door->mbox) : NULL;
    pthread_mutex_unlock(&door->lock);
    return mbox;
}

void door_shut(struct door *door, const struct attr *attr)
{
    struct mbox *mbox = NULL;

    pthread_mutex_lock(&door->lock);
    if (door->n_nodes > 0)
        mbox = door->mbox;
    door->mbox = NULL;
    door->attr = *attr;
    pthread_mutex_unlock(&door->lock);
    /* Not the last one. */
    if (mbox)
        mbox_unref(mbox);
}

void door_disown(struct door *door)
{
    bool is_last;

    pthread_mutex_lock(&door->lock);
    door->is_owned = false;
    is_last = door->n_nodes == 0;
    pthread_mutex_unlock(&door->lock);
    if (is_last)
        free_door(door);
}
