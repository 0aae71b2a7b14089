/* Ids collect until there are as many as one notice carries. Those that are left at the end the kernel forgets
 * with the mount. */
#include "prune.h"

#include <string.h>

#include "notify.h"

void prune_init(struct prune *prune, struct notify *notify)
{
    *prune = (struct prune){ .notify = notify };
    pthread_mutex_init(&prune->lock, NULL);
}

void prune_deinit(struct prune *prune)
{
    pthread_mutex_destroy(&prune->lock);
}

/* Under lock. Return: whether there are enough, and they are in @ids now. */
static bool prune_add(struct prune *prune, uint64_t id, uint64_t ids[PRUNE_BATCH])
{
    prune->ids[prune->n++] = id;
    if (prune->n < PRUNE_BATCH)
        return false;
    memcpy(ids, prune->ids, sizeof(prune->ids));
    prune->n = 0;
    return true;
}

void prune_later(struct prune *prune, uint64_t id)
{
    uint64_t ids[PRUNE_BATCH];
    struct notice *notice;
    bool is_full;

    pthread_mutex_lock(&prune->lock);
    is_full = prune_add(prune, id, ids);
    pthread_mutex_unlock(&prune->lock);
    if (!is_full)
        return;
    /* Several users' files: nobody's directory has to wait for them, for giving up needs none's lock. */
    notice = notice_new(prune->notify, 0);
    notice_add_prune(notice, ids, PRUNE_BATCH);
    notice_give(notice);
}
