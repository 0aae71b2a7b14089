/* A room's node has the room as its object, and its lock guards its attributes alone: what is in the room has
 * locks of its own. */
#include "room.h"

void room_init(struct room *room, struct nodes *nodes, mode_t mode, const struct caller *owner)
{
    *room = (struct room){ 0 };
    pthread_mutex_init(&room->lock, NULL);
    attr_init(&room->attr, nodes_new_inos(nodes, ROOM_N_INOS), S_IFDIR | mode, owner->uid,
              owner->gid);
}

void room_deinit(struct room *room)
{
    pthread_mutex_destroy(&room->lock);
}

void room_getattr(struct node *node, struct stat *ret_attr)
{
    struct room *room = node->object;

    pthread_mutex_lock(&room->lock);
    attr_get(&room->attr, ret_attr);
    pthread_mutex_unlock(&room->lock);
    ret_attr->st_nlink = 2;
}

int room_setattr(struct node *node, const struct node_change *change)
{
    struct room *room = node->object;

    pthread_mutex_lock(&room->lock);
    attr_change(&room->attr, change);
    pthread_mutex_unlock(&room->lock);
    return 0;
}

void room_hand_down(struct room *room, struct caller *owner, mode_t *mode)
{
    pthread_mutex_lock(&room->lock);
    attr_hand_down(&room->attr, owner, mode);
    pthread_mutex_unlock(&room->lock);
}

void room_touch(struct room *room)
{
    pthread_mutex_lock(&room->lock);
    attr_touch(&room->attr);
    pthread_mutex_unlock(&room->lock);
}
