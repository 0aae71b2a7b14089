#include "places.h"

#include <stdlib.h>

#include "core/base/hash.h"

struct places_user {
    uid_t uid;
    uint64_t n;
    UT_hash_handle hh;
};

static struct places_user *places_find(const struct places *places, uid_t uid)
{
    struct places_user *user;

    HASH_FIND(hh, places->users, &uid, sizeof(uid), user);
    return user;
}

static struct places_user *add(struct places *places, uid_t uid)
{
    struct places_user *user = calloc(1, sizeof(*user));

    if (!user)
        return NULL;
    user->uid = uid;
    HASH_ADD(hh, places->users, uid, sizeof(user->uid), user);
    if (hash_added(user, hh))
        return user;
    free(user);
    return NULL;
}

void places_init(struct places *places)
{
    *places = (struct places){ 0 };
    TAILQ_INIT(&places->entries);
}

void places_take(struct places *places, struct mbox_entry *entry)
{
    uid_t uid = entry->msg->sender.uid;
    struct places_user *user = places_find(places, uid);

    TAILQ_INSERT_TAIL(&places->entries, entry, link);
    places->n++;
    if (!user)
        user = add(places, uid);
    if (user)
        user->n++;
}

struct mbox_entry *places_give_back(struct places *places, uid_t uid)
{
    struct mbox_entry *entry = TAILQ_FIRST(&places->entries);
    struct places_user *user = places_find(places, uid);

    TAILQ_REMOVE(&places->entries, entry, link);
    places->n--;
    if (user && --user->n == 0) {
        HASH_DEL(places->users, user);
        free(user);
    }
    return entry;
}

uint64_t places_count(const struct places *places, uint64_t n_messages)
{
    uint64_t half = n_messages / 2 + n_messages % 2;

    return places->n < half ? places->n : half;
}

uint64_t places_count_for(const struct places *places, uint64_t n_messages, uid_t uid)
{
    uint64_t n = places_count(places, n_messages);

    return n < places->n && places_find(places, uid) ? places->n : n;
}
